"""Makes URLs at which web clients can read public objects."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from bidsplan.errors import UnsupportedError, UsageError
from bidsplan.storage.http.answers import quotable
from bidsplan.storage.places import OTHER_SERVICES

if TYPE_CHECKING:
    from bidsplan.storage.access import Access
    from bidsplan.urls import Location


_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""Buckets whose name can be part of a host name; with a dot, no certificate would match."""

_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_ACCOUNT_NAME = "AZURE_STORAGE_ACCOUNT_NAME"


def web_url(location: Location, access: Access) -> str:
    """Return the web URL of a public root.

    Raises
    ------
    UnsupportedError
        If web clients can't read the root. The message says why.
    """
    if location.protocol in {"http", "https"}:
        found = f"{location.protocol}://{location.host}"
    elif location.protocol == "s3":
        found = _s3(location.host, access)
    elif location.protocol == "gs":
        _check_service("gs", "STORAGE_EMULATOR_HOST", "GOOGLE_BASE_URL")
        found = f"https://storage.googleapis.com/{location.host}"
    elif location.protocol == "az":
        found = _azure(location.host)
    else:
        local = location.protocol == "file"
        what = "local directories" if local else f"the protocol {location.protocol!r}"
        raise UnsupportedError(f"web clients can't read {what}")
    return found + quote(f"/{location.path}".rstrip("/"), safe=_safe(location))


def _safe(location: Location) -> str:
    """Return the characters of a path that are not quoted."""
    return quotable if location.protocol in {"http", "https"} else "/~"


def quote_key(key: str) -> str:
    """Quote a key for a URL.

    Examples
    --------
    >>> quote_key("sub-01/a b#1%.txt")
    'sub-01/a%20b%231%25.txt'
    """
    return quote(key, safe="/~")


def _s3(bucket: str, access: Access) -> str:
    from bidsplan.storage.s3.credentials import shown_endpoint  # for S3 only

    endpoint, region = shown_endpoint(access), access.region
    if endpoint is not None:
        return f"{endpoint}/{quote(bucket)}"
    if region is not None and not _REGION.fullmatch(region):
        raise UsageError("the region can't be used: expected a name such as us-east-1")
    host = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    by_host = _HOST_LABEL.fullmatch(bucket)
    return f"https://{bucket}.{host}" if by_host else f"https://{host}/{quote(bucket)}"


def _azure(container: str) -> str:
    names = OTHER_SERVICES["az"]
    _check_service("az", *(name for name in names if name != _ACCOUNT_NAME))
    account = os.environ.get(_ACCOUNT_NAME, "")
    if not _ACCOUNT.fullmatch(account):
        raise UnsupportedError(
            f"the name of the Azure account is not known: {_ACCOUNT_NAME} does not say it"
        )
    return f"https://{account}.blob.core.windows.net/{quote(container)}"


def _check_service(protocol: str, *names: str) -> None:
    """Refuse services whose web addresses are unknown."""
    named = next((name for name in names if os.environ.get(name)), None)
    if named:
        raise UnsupportedError(
            f"{named} names a service for {protocol} URLs whose web addresses are not known"
        )
