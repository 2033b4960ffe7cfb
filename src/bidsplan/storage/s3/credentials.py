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
    """The endpoint, region and credentials for requests to S3.

    Parameters
    ----------
    endpoint : str
        The service's URL. Buckets are addressed by path, since some have names with dots.
    jobs : int
        The most connections to hold open.
    timeout : float
        Seconds after which a connection that sends nothing is closed.
    environment : frozenset of (str, str)
        The variables that botocore reads.
    authorities : tuple of Authority
        Authorities to trust in addition to the system's.
    profile_in_use, endpoint_in_use : str
        As messages name them, with the option or variable that chose them.
    written : bool
        Whether it leads to a destination, which only signed requests reach.
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
    written: bool = False

    @property
    def is_aws(self) -> bool:
        """Whether the service is Amazon S3."""
        return re.fullmatch(AMAZON, urlsplit(self.endpoint).netloc) is not None

    @property
    def host(self) -> str:
        """The endpoint's host, without its port."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def has_token(self) -> bool:
        """Whether requests contain a session token, which is secret."""
        return not self.anonymous and bool(self.credentials().token)

    def in_region(self, region: str) -> Connection | None:
        """Return the connection to the same service in another region.

        Parameters
        ----------
        region : str
            The region in an answer, which is not trusted, since it becomes part of a host name.

        Returns
        -------
        Connection or None
            None if it is the same region, not a region, or one of another partition. Another
            partition's service belongs to someone else, and must not get requests that are signed
            for this one.
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
        """Return the current credentials; temporary ones are refreshed.

        Raises DeniedError if there are no credentials, or they can't be read or sent.
        """
        from botocore.exceptions import BotoCoreError  # loaded with the session

        try:
            found = _session(self.profile, self.environment).get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        except (BotoCoreError, OSError, ValueError, KeyError) as error:
            # The error's text may contain a program's output.
            raise DeniedError(
                f"the AWS credentials of {self.profile_in_use} can't be read "
                f"({type(error).__name__}); check the profile, its credential_process and its "
                "sign-in",
                help_code=HelpCode.NO_CREDENTIALS,
            ) from None
        if frozen is None:
            raise DeniedError(self._none_found(), help_code=HelpCode.NO_CREDENTIALS)
        if not all(map(str.isprintable, filter(None, frozen))):
            raise DeniedError(
                f"the AWS credentials ({self._origin(found)}) have line breaks or other "
                "characters that no request can carry; check the profile and its "
                "credential_process",
                help_code=HelpCode.NO_CREDENTIALS,
            )
        return frozen

    def _none_found(self) -> str:
        """Say that there are no credentials, and what to do."""
        usual = self.profile_in_use == DEFAULT_PROFILE
        why = f"{self.profile_in_use} has no AWS credentials"
        what = "add its keys or its sign-in to the AWS configuration"
        if usual:
            why = f"no AWS credentials were found for signed requests ({self.profile_in_use})"
            what = "set AWS_PROFILE or the like"
        if self.written:
            instead = "name a profile by --dest-profile"
            return f"{why}; requests to the destination are always signed: {what}, or {instead}"
        instead = "ask anonymously (anonymous: true, --anonymous; in Python anon=True)"
        return f"{why}; {what}, or {instead}"

    def denied(self) -> Advice:
        """Return the likely reason why access is denied, with advice."""
        has_path = bool(urlsplit(self.endpoint).path)
        return self._denied()._replace(endpoint=self.endpoint_in_use, endpoint_has_path=has_path)

    def _denied(self) -> Advice:
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
        return Advice(text, HelpCode.DENIED, origin)

    def _origin(self, credentials: Any) -> str:
        """Say where credentials are from."""
        method = getattr(credentials, "method", "")
        if method == "env":
            return "environment variables"
        # Without a profile, a machine's role or a sign-in may provide them.
        named = self.profile_in_use != DEFAULT_PROFILE
        return self.profile_in_use if named or not method else method

    def renew(self) -> bool:
        """Read the credentials again; report whether they have changed."""
        if self.anonymous:
            return False
        before = self.credentials()
        _session.cache_clear()
        return bool(self.credentials() != before)


def partition_of(region: str) -> str:
    """Return a region's AWS partition, in which bucket names are unique.

    Credentials are valid in one partition only.
    """
    found = (name for start, name in _PARTITIONS.items() if region.startswith(start))
    return next(found, "aws")


def _environment() -> Environment:
    """Return the variables that botocore reads, to notice changes."""
    return frozenset(pair for pair in os.environ.items() if pair[0].startswith("AWS_"))


@functools.lru_cache(maxsize=16)
def _session(profile: str | None, _: Environment) -> Any:
    import botocore.session  # imports for a fifth of a second

    return botocore.session.Session(profile=profile)


@functools.lru_cache(maxsize=16)
def _service(
    profile: str | None, region: str | None, endpoint: str | None, environment: Environment
) -> tuple[str, str]:
    """Resolve endpoint and region in the same way as a botocore client."""
    import botocore.exceptions

    try:
        session = _session(profile, environment)
        region = region or session.get_config_variable("region") or "us-east-1"
        if named := endpoint or _endpoint_variable(session):
            # Nothing overrides this endpoint, and a client takes a tenth of a second to find it. A
            # broken AWS configuration does not matter here.
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
        # The error's text may contain a URL with a password, so it must not be the cause of the
        # next error.
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
    """Return the S3 endpoint in the environment, unless it is ignored."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3")


def connect(access: Access, *, anonymous: bool, written: bool = False) -> Connection:
    """Resolve the S3 connection from options, environment and configuration.

    `written` says that the connection leads to a destination. Raises UsageError if the
    configuration can't be used, for example if a profile is missing.
    """
    environment = _environment()
    endpoint, region = _resolve(access, environment)
    authorities = _authorities(access.profile, environment) + named_authorities()
    if endpoint.startswith("https:"):
        # An unreadable file is reported before any request.
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
        written=written,
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
    """Return the certificates that the AWS configuration names."""
    from botocore.exceptions import BotoCoreError  # loaded with the session

    named = [Authority(dict(environment).get("AWS_CA_BUNDLE", ""), "AWS_CA_BUNDLE")]
    # Other code that needs the configuration reports that it is broken.
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
"""Settings by which requests may leave the usual partition."""


def find_endpoint(access: Access) -> str | None:
    """Return the endpoint that `connect` would use, if possible without botocore.

    Raises UsageError if the configuration can't be used.

    Returns
    -------
    str or None
        None for Amazon's own endpoints in the usual partition. The endpoint may contain user
        information, so it must not be written anywhere.
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
    """Return the endpoint of `connect`, without user information.

    Raises UsageError if the configuration can't be used.

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
