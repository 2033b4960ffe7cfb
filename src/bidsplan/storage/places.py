"""Identifies a root, however its URL is spelt."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.urls import AMAZON, canonical_url, parse_url

if TYPE_CHECKING:
    from bidsplan.storage.access import Access


OTHER_SERVICES = {
    "gs": ("STORAGE_EMULATOR_HOST", "GOOGLE_BASE_URL"),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
        "AZURE_STORAGE_USE_EMULATOR",
    ),
}
"""Variables that choose the service, or the account, of a bucket."""

_ACCOUNT = r"(?:AccountName|BlobEndpoint|EndpointSuffix)=([^;]*)"
"""The parts of a connection string to Azure that are not secret."""


class Place(NamedTuple):
    """A root's location, equal for all spellings of its URL.

    Parameters
    ----------
    service : tuple of str
        The protocol, and the host, the endpoint and bucket, or the account and container.
    path : str
        The path there. For local roots, it is the real path, without links.
    """

    service: tuple[str, ...]
    path: str

    @property
    def prefix(self) -> str:
        """The start of the place of each object in the root."""
        # The text is short and has no characters that JSON escapes, as there may be a million.
        service = hashlib.sha256("\0".join(self.service).encode()).hexdigest()[:24]
        path = self.path.rstrip("/")
        try:
            path.encode()
        except UnicodeEncodeError:
            # Such a path is written in a special way, so that it can be encoded.
            path = "//" + path.encode(errors="surrogatepass").hex()
        return f"{service}:{path}/" if path or self.service == ("file",) else f"{service}:"


def place_of(url: str, access: Access, base: str | os.PathLike[str]) -> Place:
    """Return a root's location, without any request.

    Parameters
    ----------
    access : Access
        How storage is reached. The endpoint is part of a place in S3.
    base : path
        The directory that a relative local path is relative to.

    Raises
    ------
    UsageError
        If the AWS configuration can't be used.
    """
    protocol, host, path = parse_url(canonical_url(url))
    if protocol == "file":
        real = os.path.join(base, path)  # noqa: PTH118 - compared as text
        # A plan may name any URL; a path that can't exist is refused when it is opened.
        with suppress(ValueError):
            real = os.path.realpath(real)
        return Place(("file",), real)
    if protocol == "s3":
        from bidsplan.storage.s3.credentials import find_endpoint  # for S3 only

        return Place(("s3", _service(find_endpoint(access)), host), path)
    named = [os.environ.get(name, "") for name in OTHER_SERVICES.get(protocol, ())]
    if protocol == "az":
        named += re.findall(_ACCOUNT, os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    return Place((protocol, *named, host.rpartition("@")[2]), path)


def _service(endpoint: str | None) -> str:
    """Return an endpoint without user information; for Amazon, its partition."""
    if endpoint is None:
        return "aws"
    protocol, host, path = parse_url(canonical_url(endpoint))
    host = host.rpartition("@")[2]
    amazon = re.fullmatch(AMAZON, host)
    if amazon is None:
        return f"{protocol}://{host}/{path}".rstrip("/") if host else "unknown"
    from bidsplan.storage.s3.credentials import partition_of  # for S3 only

    return partition_of(amazon["region"] or "")
