"""Pages of S3's listings, parsed and distrusted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from bidsplan.errors import StorageError
from bidsplan.paths import printable
from bidsplan.storage.headers import bare_etag, listed_version
from bidsplan.storage.objects import Object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_NAMESPACE = re.compile(rb"\A(\s*(?:<\?[^>]*\?>\s*)?<\w+)\s+xmlns=\"[^\"]*\"")
_LARGEST = 2**63 - 1
_LONGEST_SIZE = len(str(_LARGEST))
MOST_ITEMS = 10_000_000
"""Objects and directories that one listing may have."""

MOST_EMPTY = 1000
"""Pages in a row that may be empty; a server that hides many objects sends some."""

_ITEMS = "count(Contents | CommonPrefixes | Version | DeleteMarker)"
_DOUBLED = "boolean(Contents/Key[2] | Contents/Size[2] | Contents/ETag[2])"


class NoListingError(ValueError):
    """An answer can't be read as a page of a listing."""


class Page:
    """One page of a listing.

    Parameters
    ----------
    data : bytes
        As it came.
    what : str
        What was asked for, as messages name it.

    Attributes
    ----------
    kind : str
        What it says it is, such as ``ListBucketResult``.

    Raises
    ------
    NoListingError

    Notes
    -----
    A listing has no declarations, and without them no entity can grow or lead elsewhere. Zero bytes
    would be UTF-16, in which one could hide.
    """

    def __init__(self, data: bytes, what: str) -> None:
        from lxml import etree  # only where something is listed

        self._what = what
        if b"<!" in data or b"\0" in data:
            raise NoListingError("it has declarations")
        parser = etree.XMLParser(
            encoding="utf-8", resolve_entities=False, no_network=True, remove_pis=True
        )
        try:
            # Names are free of namespaces at a tenth of what it costs to rename each.
            self._root: Any = etree.fromstring(_NAMESPACE.sub(rb"\1", data, count=1), parser)
        except etree.XMLSyntaxError as error:
            raise NoListingError(str(error)) from error
        if self._root.tag.startswith("{"):
            for element in self._root.iter(etree.Element):
                element.tag = element.tag.rpartition("}")[2]
        self.kind: str = self._root.tag
        self._quoted = self._root.findtext("EncodingType") == "url"

    def __len__(self) -> int:
        return int(self._root.xpath(_ITEMS))

    @property
    def truncated(self) -> bool:
        """Whether another page follows."""
        return bool(self._root.findtext("IsTruncated") == "true")

    def text(self, name: str) -> str:
        """Give what the page says under a name, or nothing."""
        return self._root.findtext(name) or ""

    def key(self, name: str) -> str:
        """Give a key that the page says under a name, as it is stored."""
        return self._unquoted(self.text(name))

    def _unquoted(self, text: str) -> str:
        return unquote_plus(text) if self._quoted and ("%" in text or "+" in text) else text

    def directories(self) -> Iterator[str]:
        """List the common prefixes."""
        for each in self._root.iterchildren("CommonPrefixes"):
            yield self._unquoted(each.findtext("Prefix") or "")

    def objects(self, skip: int) -> list[Object]:
        """List the page's objects.

        Parameters
        ----------
        skip : int
            How many characters of each key to leave out; a key that has no more is left out.

        Raises
        ------
        StorageError
            Where one has no size that a file could have.
        """
        columns = [self._column(f"Contents/{name}/text()") for name in ("Key", "Size", "ETag")]
        rows: Iterable[tuple[str, str, str | None]] = zip(*columns, strict=False)
        number = int(self._root.xpath("count(Contents)"))
        if {number} != set(map(len, columns)) or self._root.xpath(_DOUBLED):
            # Not every object has one of each.
            rows = (
                (item.findtext("Key") or "", item.findtext("Size") or "0", item.findtext("ETag"))
                for item in self._root.iterchildren("Contents")
            )
        unquoted = ((self._unquoted(key), size, etag) for key, size, etag in rows)
        return [
            Object(key[skip:], self._size(size), bare_etag(etag))
            for key, size, etag in unquoted
            if len(key) > skip
        ]

    def _column(self, path: str) -> list[str]:
        # All at once: half the time that asking each element takes.
        found: list[str] = self._root.xpath(path, smart_strings=False)
        return found

    def latest(self, skip: int) -> Iterator[Object]:
        """List the latest versions, as `objects` does."""
        for item in self._root.iterchildren("Version"):
            key = self._unquoted(item.findtext("Key") or "")
            if item.findtext("IsLatest") == "true" and len(key) > skip:
                size = self._size(item.findtext("Size") or "0")
                etag, version = bare_etag(item.findtext("ETag")), item.findtext("VersionId")
                yield Object(key[skip:], size, etag, listed_version(version))

    def _size(self, text: str) -> int:
        return listed_size(text, self._what)


class Bound:
    """Ends a listing that leads to no end.

    Parameters
    ----------
    what : str
        What is listed, as messages name it.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._items = self._empty = 0
        self._token = ""

    def add(self, items: int, token: str) -> None:
        """Count one page.

        Parameters
        ----------
        items : int
            How many objects and directories it has.
        token : str
            By which the next page is asked for; empty where there is none.

        Raises
        ------
        StorageError
            Where the listing is too long, or the server does not go on with it.
        """
        self._items += items
        self._empty = 0 if items else self._empty + 1
        last, self._token = self._token, token
        if self._items > MOST_ITEMS:
            raise StorageError(
                f"{self._what}: it has more than {MOST_ITEMS:,} objects and directories"
            )
        if self._empty > MOST_EMPTY:
            raise StorageError(f"{self._what}: the server sends empty pages without end")
        if token and token == last:
            raise StorageError(f"{self._what}: the server sends the same page again and again")


def bounded(pages: Iterable[Page], what: str) -> Iterator[Page]:
    """Pass a listing's pages on while they lead to an end, as `Bound` says."""
    bound = Bound(what)
    for page in pages:
        bound.add(len(page), page.text("NextContinuationToken"))
        yield page


def listed_size(text: str, what: str) -> int:
    """Read an object's size, as a listing says it.

    Parameters
    ----------
    what : str
        What is listed, as messages name it.

    Raises
    ------
    StorageError
        Where no file could have it.
    """
    decimal = len(text) <= _LONGEST_SIZE and text.isascii() and text.isdecimal()
    if not decimal or int(text) > _LARGEST:
        shown = printable(text[:_LONGEST_SIZE])
        raise StorageError(f"{what}: an object is said to have {shown!r} bytes")
    return int(text)
