"""Endpoint, region and credentials of S3, resolved as the AWS tools do."""

from __future__ import annotations

import functools
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bidsplan.errors import DeniedError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.storage.certificates import Authorities, Authority, certificates, named_authorities
from bidsplan.storage.http_errors import Advice
from bidsplan.storage.s3.choices import (
    DEFAULT_PROFILE,
    Environment,
    checked_endpoint,
    endpoint_in_use,
    profile_in_use,
)
from bidsplan.urls import AMAZON

if TYPE_CHECKING:
    from bidsplan.storage.access import Access


_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}")
_PARTITIONS = {
    "cn": "aws-cn",
    "us-gov": "aws-us-gov",
    "us-iso": "aws-iso",
    "eu-iso": "aws-iso-e",
    "eusc": "aws-eusc",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """How requests to S3 are made.

    Parameters
    ----------
    endpoint : str
        URL of the service; buckets are addressed by path, as names with dots need.
    jobs : int
        The most connections to hold open.
    timeout : float
        Seconds without a byte after which one is given up.
    environment : frozenset of (str, str)
        The variables that botocore reads.
    authorities : tuple of Authority
        Whose certificates are trusted beside the system's.
    profile_in_use, endpoint_in_use : str
        As messages name them, with the option or variable that chose them.
    """

    endpoint: str
    region: str
    anonymous: bool
    requester_pays: bool
    profile: str | None
    jobs: int
    timeout: float
    environment: Environment = field(repr=False)
    authorities: Authorities = ()
    profile_in_use: str = ""
    endpoint_in_use: str = ""

    @property
    def is_aws(self) -> bool:
        """Whether the service is Amazon's own S3, where a bucket's region decides its endpoint."""
        return re.fullmatch(AMAZON, urlsplit(self.endpoint).netloc) is not None

    @property
    def host(self) -> str:
        """The endpoint's host, without its port."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def has_token(self) -> bool:
        """Whether requests carry a session token, which is a secret of its own."""
        return not self.anonymous and bool(self.credentials().token)

    def in_region(self, region: str) -> Connection | None:
        """Return the connection to the same service in another region.

        Parameters
        ----------
        region : str
            As an answer names it, which is not trusted: it becomes part of a host's name.

        Returns
        -------
        Connection or None
            None where it is the same region, no region at all, or one of another partition, whose
            service is somebody else's and is not sent what is signed for this one.
        """
        if region == self.region or not _WORD.fullmatch(region):
            return None
        if not self.is_aws:
            return replace(self, region=region)
        if not _REGION.fullmatch(region) or partition_of(region) != partition_of(self.region):
            return None
        host = self.host
        labels = host.split(".")
        if self.region in labels:
            host = ".".join(region if label == self.region else label for label in labels)
        else:
            host = f"s3.{region}.{host[host.index('amazonaws.com') :]}"
        return replace(self, region=region, endpoint=f"{self.endpoint.partition(':')[0]}://{host}")

    def credentials(self) -> Any:
        """Return the credentials as they are now; temporary ones are refreshed.

        Raises DeniedError where there are none, or none that can be read or sent.
        """
        from botocore.exceptions import BotoCoreError  # loaded with the session

        try:
            found = _session(self.profile, self.environment).get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        except (BotoCoreError, OSError, ValueError, KeyError) as error:
            # What it says may hold what a program has printed.
            raise DeniedError(
                f"the AWS credentials of {self.profile_in_use} can't be read "
                f"({type(error).__name__}); check the profile, its credential_process and its "
                "sign-in",
                help_code=HelpCode.NO_CREDENTIALS,
            ) from None
        if frozen is None:
            raise DeniedError(
                "no AWS credentials were found for signed requests "
                f"({self.profile_in_use}); set AWS_PROFILE or the like, or ask anonymously "
                "(anonymous: true, --anonymous; in Python anon=True)",
                help_code=HelpCode.NO_CREDENTIALS,
            )
        if not all(map(str.isprintable, filter(None, frozen))):
            raise DeniedError(
                f"the AWS credentials ({self._origin(found)}) have line breaks or other "
                "characters that no request can carry; check the profile and its "
                "credential_process",
                help_code=HelpCode.NO_CREDENTIALS,
            )
        return frozen

    def denied(self) -> Advice:
        """Say what may be the reason where an object or listing is denied, and what to do."""
        if self.anonymous:
            text = (
                "check whether the bucket is public, or give credentials and say 'anonymous: "
                "false' or --signed; if its requesters pay, add --requester-pays"
            )
            if self.requester_pays:
                text = (
                    "--requester-pays needs signed requests: give credentials, and say "
                    "'anonymous: false' or --signed"
                )
            return Advice(text, HelpCode.DENIED_UNSIGNED)
        origin = self._origin(_session(self.profile, self.environment).get_credentials())
        more = "" if self.requester_pays else "; if its requesters pay, add --requester-pays"
        text = f"the credentials in use ({origin}) have no access to it{more}"
        return Advice(text, HelpCode.DENIED, origin, self.endpoint_in_use)

    def _origin(self, credentials: Any) -> str:
        """Say where credentials are from."""
        method = getattr(credentials, "method", "")
        if method == "env":
            return "environment variables"
        # Without a profile, a machine's role or a sign-in may provide them.
        named = self.profile_in_use != DEFAULT_PROFILE
        return self.profile_in_use if named or not method else method

    def renew(self) -> bool:
        """Read credentials anew; report whether they are others now."""
        if self.anonymous:
            return False
        before = self.credentials()
        _session.cache_clear()
        return bool(self.credentials() != before)


def partition_of(region: str) -> str:
    """Return a region's partition of AWS, in which buckets' names are unique.

    Credentials hold in one partition alone.
    """
    found = (name for start, name in _PARTITIONS.items() if region.startswith(start))
    return next(found, "aws")


def _environment() -> Environment:
    """Return the variables that botocore reads, so that a change is noticed."""
    return frozenset(pair for pair in os.environ.items() if pair[0].startswith("AWS_"))


@functools.lru_cache(maxsize=16)
def _session(profile: str | None, _: Environment) -> Any:
    import botocore.session  # takes a fifth of a second

    return botocore.session.Session(profile=profile)


@functools.lru_cache(maxsize=16)
def _service(
    profile: str | None, region: str | None, endpoint: str | None, environment: Environment
) -> tuple[str, str]:
    """Resolve endpoint and region as a client of botocore's does."""
    import botocore.exceptions

    try:
        session = _session(profile, environment)
        region = region or session.get_config_variable("region") or "us-east-1"
        if named := endpoint or _endpoint_variable(session):
            # Nothing overrides it, and a client takes a tenth of a second to say the same. A broken
            # AWS configuration does not matter then.
            return checked_endpoint(named), region
        from botocore import UNSIGNED
        from botocore.config import Config

        client = session.create_client(
            "s3",
            region_name=region,
            endpoint_url=endpoint,
            config=Config(signature_version=UNSIGNED),
        )
    except UsageError:
        raise
    except botocore.exceptions.ProfileNotFound:
        # Only the caller knows what chose the profile.
        raise
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        # What it says may hold a URL with a password, so that it is not the cause of what follows.
        kind = type(error).__name__
    else:
        return client.meta.endpoint_url, client.meta.region_name
    if named := os.environ.get("AWS_ENDPOINT_URL"):
        checked_endpoint(named)
    raise UsageError(
        f"the AWS configuration can't be used ({kind}); check --endpoint-url, --region, "
        "AWS_ENDPOINT_URL and the AWS configuration files",
        help_code=HelpCode.CONFIGURATION,
    )


def _endpoint_variable(session: Any) -> str | None:
    """Return the endpoint of S3 that the environment names, unless it is to be ignored."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3")


def connect(access: Access, *, anonymous: bool) -> Connection:
    """Resolve how S3 is reached, by flags, the environment and the AWS configuration.

    Raises UsageError where the configuration can't be used, as when a profile is missing.
    """
    environment = _environment()
    endpoint, region = _resolve(access, environment)
    authorities = _authorities(access.profile, environment) + named_authorities()
    if endpoint.startswith("https:"):
        # A file that can't be read is reported before anything is requested.
        certificates(authorities)
    endpoint = checked_endpoint(endpoint)
    return Connection(
        endpoint=endpoint,
        region=region,
        anonymous=anonymous,
        requester_pays=access.requester_pays,
        profile=access.profile,
        jobs=access.jobs,
        timeout=access.timeout,
        environment=environment,
        authorities=authorities,
        profile_in_use=profile_in_use(access, environment),
        endpoint_in_use=endpoint_in_use(access, endpoint, environment),
    )


def _resolve(access: Access, environment: Environment) -> tuple[str, str]:
    """Resolve endpoint and region; raises UsageError where there is no such profile."""
    from botocore.exceptions import ProfileNotFound  # as for the session

    try:
        return _service(access.profile, access.region, access.endpoint_url, environment)
    except ProfileNotFound as error:
        raise UsageError(
            "the AWS configuration can't be used: there is no "
            f"{profile_in_use(access, environment)} in its files",
            help_code=HelpCode.CONFIGURATION,
        ) from error


@functools.lru_cache(maxsize=16)
def _authorities(profile: str | None, environment: Environment) -> Authorities:
    """Return what the AWS configuration names, beside the environment's own."""
    from botocore.exceptions import BotoCoreError  # loaded with the session

    named = [Authority(dict(environment).get("AWS_CA_BUNDLE", ""), "AWS_CA_BUNDLE")]
    # Who needs more of a broken configuration reports it.
    with suppress(BotoCoreError):
        configured = _session(profile, environment).get_scoped_config().get("ca_bundle", "")
        named.append(Authority(configured, "ca_bundle of the AWS profile"))
    return tuple(each for each in named if each.path)


_CONFIG_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
_CONFIG_LIMIT = 1 << 20
_OTHER_PARTITION = r"(?:cn|us-gov|us-iso|eu-iso|eusc)[a-z0-9]*-"
_ELSEWHERE = rf"endpoint_url|region\s*=\s*{_OTHER_PARTITION}"
"""Settings that may send requests elsewhere than to the usual partition."""


def find_endpoint(access: Access) -> str | None:
    """Find the endpoint that `connect` would resolve, without botocore where it is not needed.

    Raises UsageError where the configuration can't be used.

    Returns
    -------
    str or None
        None for Amazon's own endpoints in its usual partition. It may hold user information: it
        must not be written anywhere.
    """
    if access.endpoint_url:
        return access.endpoint_url
    region = access.region or os.environ.get("AWS_DEFAULT_REGION") or ""
    if re.match(_OTHER_PARTITION, region) or _is_configured():
        return _resolve(access, _environment())[0]
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def shown_endpoint(access: Access) -> str | None:
    """Return the endpoint that `connect` would resolve, without user information.

    Raises UsageError where it can't be used.

    Returns
    -------
    str or None
        None for Amazon's own endpoints in its usual partition.
    """
    endpoint = find_endpoint(access)
    return None if endpoint is None else checked_endpoint(endpoint)


def _is_configured() -> bool:
    """Report whether an AWS configuration file may name an endpoint."""
    for name, usual in _CONFIG_FILES.items():
        with suppress(OSError, RuntimeError):
            path = Path(os.environ.get(name) or usual).expanduser()
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(_CONFIG_LIMIT + 1)
            if len(text) > _CONFIG_LIMIT or re.search(_ELSEWHERE, text.lower()):
                return True
    return False
