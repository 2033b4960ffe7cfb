"""Profile and endpoint of S3 as options and variables choose them, and as messages name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from bidsplan.storage.access import Access


_ENDPOINT = re.compile(
    r"(?P<scheme>https?://)([A-Za-z0-9._~%!$&'()*+,;=:-]*@)?"
    r"(?P<rest>([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?)"
)
_LARGEST_PORT = 65_535

Environment = frozenset[tuple[str, str]]

DEFAULT_PROFILE = "the default profile"
_PROFILE_VARIABLES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
"""In the order in which botocore looks at them."""


def profile_in_use(access: Access, environment: Environment) -> str:
    """Name the profile, and the option or variable that chose it."""
    if access.profile is not None:
        own = access.for_destination and access.dest_profile
        option = "--dest-profile" if own else "--profile"
        return f"profile {access.profile!r} of {option}"
    variables = dict(environment)
    for name in _PROFILE_VARIABLES:
        if name in variables:
            return f"profile {variables[name]!r} of {name}"
    return DEFAULT_PROFILE


def endpoint_in_use(access: Access, endpoint: str, environment: Environment) -> str:
    """Name the endpoint, and the option or variable that chose it."""
    if access.endpoint_url is not None:
        own = access.for_destination and access.dest_endpoint_url
        return f"{endpoint} of {'--dest-endpoint-url' if own else '--endpoint-url'}"
    variables = dict(environment)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if name in variables and _plain_endpoint(variables[name]) == endpoint:
            return f"{endpoint} of {name}"
    return endpoint


def checked_endpoint(endpoint: str) -> str:
    """Return an endpoint without user information, which S3 has no use for.

    Raises UsageError, which does not show it, for one that the transports would crash on.
    """
    plain = _plain_endpoint(endpoint)
    if plain is None:
        raise UsageError(
            "the S3 endpoint can't be used: expected http:// or https://, a host, and maybe a port "
            f"and a path; {_suggested_endpoint(endpoint)}check --endpoint-url and AWS_ENDPOINT_URL",
            help_code=HelpCode.CONFIGURATION,
        )
    return plain


def _plain_endpoint(endpoint: str) -> str | None:
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match["port"] or 0) > _LARGEST_PORT:
        return None
    return f"{match['scheme']}{match['rest']}".rstrip("/")


def _suggested_endpoint(text: str) -> str:
    """Suggest how to write an endpoint that lacks its scheme alone, and holds no password."""
    match = _ENDPOINT.fullmatch(f"http://{text}")
    if match is None or match["rest"] != text:
        return ""
    # Servers on ports of their own are mostly those of a laboratory, which have no certificate.
    return f"write {'http' if match['port'] else 'https'}://{text}, or "
