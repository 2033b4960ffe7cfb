"""The places of a plan's files, in the forms of other tools."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bidsplan.errors import UnsupportedError
from bidsplan.storage.open import allowed_location
from bidsplan.storage.web_urls import quote_key, web_url
from bidsplan.urls import AMAZON, OBJECT_STORES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.plan import Entry, Root
    from bidsplan.storage.access import Access
    from bidsplan.urls import Location


_MD5 = re.compile(r"[0-9a-f]{32}")


class Source(NamedTuple):
    """A root, with its kind and address.

    Parameters
    ----------
    signed : bool
        Whether requests must be signed.
    web : str
        The URL for web clients, to which a slash and a quoted key are added. It is empty if web
        clients can't read the root.
    why_not : str or None
        Why web clients can't read the root.
    """

    location: Location
    signed: bool
    web: str
    why_not: str | None

    @property
    def tags_are_md5(self) -> bool:
        """Whether a root's entity tags are MD5s, except multipart ones.

        Objects that are encrypted with their own keys have other tags, but such objects are never
        public.
        """
        return self.location.protocol == "s3" and not self.signed


class Digest(NamedTuple):
    """A digest of a file's content, in hexadecimal."""

    algorithm: str
    value: str


class Sources:
    """A plan's roots, with the user's options and environment applied.

    Raises UrlError if a root's URL is refused.

    Parameters
    ----------
    base : path
        The directory that a relative local path is relative to.

    Attributes
    ----------
    all : tuple of Source
    """

    def __init__(self, roots: Iterable[Root], access: Access, base: str | os.PathLike[str]) -> None:
        self.access = access
        self._base = base
        self.all = tuple(map(self._resolved, roots))

    def of(self, entry: Entry) -> Source:
        """Return the source of an entry; generated entries have none."""
        return self.all[entry.root]

    @cached_property
    def endpoint(self) -> str | None:
        """The S3 endpoint; None for Amazon's own."""
        from bidsplan.storage.s3.credentials import shown_endpoint  # for S3 only

        return shown_endpoint(self.access)

    @cached_property
    def is_amazon(self) -> bool:
        """Whether S3 is Amazon's own."""
        endpoint = self.endpoint
        return endpoint is None or re.fullmatch(AMAZON, urlsplit(endpoint).netloc) is not None

    def url(self, entry: Entry) -> str:
        """Return the URL at which web clients read an entry."""
        version = f"?versionId={quote_key(entry.version)}" if entry.version else ""
        return f"{self.of(entry).web}/{quote_key(entry.key)}{version}"

    def digests(self, entry: Entry) -> list[Digest]:
        """Return the known digests of an entry's content, the strongest first."""
        if entry.content is not None:
            data = entry.content.encode()
            return [
                Digest(name, hashlib.new(name, data, usedforsecurity=False).hexdigest())
                for name in ("sha256", "md5")
            ]
        md5 = entry.md5 or (entry.etag if self.has_md5_tag(entry) else None)
        both = ("sha256", entry.sha256), ("md5", md5)
        return [Digest(name, value) for name, value in both if value]

    def has_md5_tag(self, entry: Entry) -> bool:
        """Report whether an entry's entity tag is assumed to be its MD5."""
        return (
            entry.content is None
            and entry.md5 is None
            and _MD5.fullmatch(entry.etag or "") is not None
            and self.of(entry).tags_are_md5
        )

    def _resolved(self, root: Root) -> Source:
        access = self.access
        location = allowed_location(root.url, access, "URL of a root")
        anonymous = root.anonymous if access.anonymous is None else access.anonymous
        unsigned = access.untrusted or anonymous is not False
        signed = location.protocol in OBJECT_STORES and not unsigned
        if location.protocol == "file":
            real = os.path.realpath(os.path.join(self._base, location.path))  # noqa: PTH118
            location = location._replace(path=real)
        try:
            return Source(location, signed, web_url(location, access), None)
        except UnsupportedError as error:
            return Source(location, signed, "", str(error))
