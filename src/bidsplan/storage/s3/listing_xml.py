"""Parses pages of S3 listings, without trusting the server."""

from __future__ import annotations

import re
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from bidsplan.errors import StorageError
from bidsplan.paths import printable
from bidsplan.storage.headers import bare_etag, listed_version
from bidsplan.storage.objects import ArchivedObject, Object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_NAMESPACE = re.compile(rb"\A(\s*(?:<\?[^>]*\?>\s*)?<\w+)\s+xmlns=\"[^\"]*\"")
_LARGEST = 2**63 - 1
_LONGEST_SIZE = len(str(_LARGEST))
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be restored before they can be read."""

_ITEMS = "count(Contents | CommonPrefixes | Version | DeleteMarker)"
_DOUBLED = "boolean(Contents/Key[2] | Contents/Size[2] | Contents/ETag[2])"


class NoListingError(ValueError):
    """An answer can't be parsed as a page of a listing."""


class Page:
    """One page of a listing.

    Parameters
    ----------
    what : str
        The listing's name, for messages.

    Attributes
    ----------
    kind : str
        The name of the page's root element, such as ``ListBucketResult``.

    Raises
    ------
    NoListingError
        If the page can't be parsed.

    Notes
    -----
    Pages with declarations are refused, so no entity can expand or refer to other files. Pages with
    zero bytes are refused too, since they would be UTF-16, in which a declaration could hide.
    """

    def __init__(self, data: bytes, what: str) -> None:
        from lxml import etree  # only if storage is listed

        self._what = what
        if b"<!" in data or b"\0" in data:
            raise NoListingError("it has declarations")
        parser = etree.XMLParser(
            encoding="utf-8", resolve_entities=False, no_network=True, remove_pis=True
        )
        try:
            # Names without namespaces cost a tenth of renaming each element.
            self._root: Any = etree.fromstring(_NAMESPACE.sub(rb"\1", data, count=1), parser)
        except etree.XMLSyntaxError as error:
            raise NoListingError(str(error)) from error
        if self._root.tag.startswith("{"):
            for element in self._root.iter(etree.Element):
                element.tag = element.tag.rpartition("}")[2]
        self.kind: str = self._root.tag
        self._archives = b">GLACIER<" in data or b">DEEP_ARCHIVE<" in data
        self._quoted = self._root.findtext("EncodingType") == "url"

    def __len__(self) -> int:
        return int(self._root.xpath(_ITEMS))

    @property
    def truncated(self) -> bool:
        """Whether another page follows."""
        truncated = self.text("IsTruncated").strip().lower()
        return truncated in {"true", "1"} or (
            not truncated and bool(self.text("NextContinuationToken"))
        )

    @property
    def is_version_1(self) -> bool:
        """Whether the server supports only ListObjects version 1."""
        marker, count = self._root.find("Marker"), self._root.find("KeyCount")
        return marker is not None and count is None and not self.text("NextContinuationToken")

    @cached_property
    def names(self) -> list[list[str]]:
        """The page's keys or latest versions, and its common prefixes."""
        objects = self._columns[0] if self._columns[0] else [item.key for item in self.latest(0)]
        directories = [*self.directories()]
        # Some gateways list a directory's marker both as key and as prefix.
        markers = {*directories, ""}
        return [[key for key in objects if key not in markers], directories]

    def text(self, name: str) -> str:
        """Return the text of an element, or an empty text."""
        return self._root.findtext(name) or ""

    def key(self, name: str) -> str:
        """Return the key in an element, unquoted."""
        return self._unquoted(self.text(name))

    def _unquoted(self, text: str) -> str:
        return unquote_plus(text) if self._quoted and ("%" in text or "+" in text) else text

    def directories(self) -> Iterator[str]:
        """List the common prefixes."""
        for each in self._root.iterchildren("CommonPrefixes"):
            if name := each.findtext("Prefix"):
                yield self._unquoted(name)

    def objects(self, skip: int) -> list[Object]:
        """List the page's objects, with shortened keys.

        A key without further characters is left out. Raises StorageError for impossible sizes.
        """
        keys, sizes, etags, *classes = self._columns
        kinds: Iterable[type[Object]] = repeat(Object)
        if classes:
            kinds = (ArchivedObject if each in _ARCHIVES else Object for each in classes[0])
        return [
            kind(key[skip:], self._size(size), bare_etag(etag))
            for kind, key, size, etag in zip(kinds, keys, sizes, etags, strict=False)
            if len(key) > skip
        ]

    @cached_property
    def _columns(self) -> list[list[Any]]:
        """The keys, sizes, tags and storage classes of the page's objects."""
        fields = ["Key", "Size", "ETag", *(["StorageClass"] if self._archives else [])]
        columns: list[list[Any]] = [self._column(f"Contents/{name}/text()") for name in fields]
        number = int(self._root.xpath("count(Contents)"))
        if {number} != set(map(len, columns)) or self._root.xpath(_DOUBLED):
            # Not every object has all of these elements.
            items = [*self._root.iterchildren("Contents")]
            columns = [[item.findtext(name) for item in items] for name in fields]
            columns[1] = [size or "0" for size in columns[1]]
        columns[0] = [self._unquoted(key or "") for key in columns[0]]
        return columns

    def _column(self, path: str) -> list[str]:
        # All elements are read at once, which takes half the time of reading each.
        found: list[str] = self._root.xpath(path, smart_strings=False)
        return found

    def latest(self, skip: int) -> Iterator[Object]:
        """List the latest versions in the same form as `objects`."""
        for item in self._root.iterchildren("Version"):
            key = self._unquoted(item.findtext("Key") or "")
            if item.findtext("IsLatest") == "true" and len(key) > skip:
                size = self._size(item.findtext("Size") or "0")
                etag, version = bare_etag(item.findtext("ETag")), item.findtext("VersionId")
                yield Object(key[skip:], size, etag, listed_version(version))

    def _size(self, text: str) -> int:
        decimal = len(text) <= _LONGEST_SIZE and text.isascii() and text.isdecimal()
        if not decimal or int(text) > _LARGEST:
            shown = printable(text[:_LONGEST_SIZE])
            raise StorageError(f"{self._what}: an object is said to have {shown!r} bytes")
        return int(text)
