"""Directories on web servers: listed by the links of their index pages, read by plain requests."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from bidsplan.errors import (
    SourceChangedError,
    SourceMissingError,
    StorageError,
    UnreachableError,
    UsageError,
)
from bidsplan.keys import printable
from bidsplan.storage import network
from bidsplan.storage.base import Store
from bidsplan.storage.http_client import HttpClient, origin
from bidsplan.storage.retrying import retrying
from bidsplan.storage.values import About, Children, Object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bidsplan.storage.access import Access
    from bidsplan.storage.values import Stream

__all__ = ["HttpStore"]

_LARGEST_INDEX = 1 << 26
"""Bytes of one index page that are accepted."""

_ASKED_AT_A_TIME = 8
"""Files of one directory that are asked for their sizes at a time."""

_MODIFIED = "modified "
"""How a tag begins that is a time of modification, since the server gives no entity tag."""

_SETTLED = 60.0
"""Seconds that a time of modification must be past to tell one content from the next, since it is
given in whole seconds (RFC 9110, section 8.8.2.2)."""


class HttpStore(Store):
    """A directory on a web server.

    Parameters
    ----------
    url : str
    access : Access
    """

    def __init__(self, url: str, access: Access) -> None:
        self.url = url.rstrip("/")
        self._root = f"{quote(self.url, safe=_SAFE)}/"
        self._client = HttpClient(access)

    def _what(self, key: str) -> str:
        return printable(f"{self.url}/{key}")

    def _url(self, key: str) -> str:
        return self._root + quote(key, safe="/~")

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        try:
            names = retrying()(self._names, prefix)
        except SourceMissingError:
            return Children((), ())
        files = sorted(name for name in names if not name.endswith("/"))
        with ThreadPoolExecutor(_ASKED_AT_A_TIME, thread_name_prefix="bidsplan-sizes") as pool:
            found = list(pool.map(lambda name: self._asked(prefix + name), files))
        directories = {prefix + name for name in names if name.endswith("/")}
        directories |= {
            f"{prefix}{name}/" for name, each in zip(files, found, strict=True) if each is None
        }
        return Children(
            tuple(each for each in found if each is not None), tuple(sorted(directories))
        )

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        waiting = [prefix]
        while waiting:
            objects, directories = self.children(waiting.pop())
            yield from objects
            waiting += directories

    def _names(self, prefix: str) -> set[str]:
        """Read the names on an index page; those of directories end in a slash."""
        what = f"listing {self._what(prefix)}"
        answer, url = self._client.send("GET", self._url(prefix), what)
        kind = answer.headers.get("Content-Type", "")
        data = network.read_bounded(answer, what, limit=_LARGEST_INDEX)
        if "html" not in kind or len(data) > _LARGEST_INDEX:
            raise StorageError(
                f"{what}: the answer is no index page, but {printable(kind[:60]) or 'untyped'!r}; "
                "a web directory is listed by its server's HTML index"
            )
        return set(_links(data, url))

    def _asked(self, key: str) -> Object | None:
        """Ask for a file's size and tag; None where it turns out to be a directory."""

        def ask() -> tuple[Any, str]:
            answer, url = self._client.send("HEAD", self._url(key), self._what(key))
            answer.drain_conn()
            return answer.headers, url

        headers, url = retrying()(ask)
        if urlsplit(url).path.endswith("/"):
            return None
        size = _length(headers)
        if size is None:
            raise StorageError(
                f"{self._what(key)}: the server does not tell its size; only files whose answers "
                "have a Content-Length can be planned"
            )
        return Object(key, size, _entity_tag(headers))

    def stream(
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        what = self._what(key)
        if version is not None:
            raise UsageError(f"{what}: web servers know no versions")
        if start and etag is None:
            raise StorageError(f"{what}: nothing binds a range of it to the file it is from")
        headers = _conditions(etag) | ({"Range": f"bytes={start}-"} if start else {})
        answer, _ = self._client.send("GET", self._url(key), what, headers)
        try:
            return _Body(answer, what, etag, start)
        except StorageError:
            network.drop(answer)
            raise

    def about(self, key: str, *, etag: str | None = None, version: str | None = None) -> About:  # noqa: ARG002 - see `Store`
        """See `Store.about`: a web server's tag may look like a digest, and be none."""
        return About(etag_is_md5=False)

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:  # noqa: ARG002 - see `Store`
        """See `Store.etag_is_md5`."""
        return False


_SAFE = "%/:?#[]@!$&'()*+,;=~"
"""Characters of a root's URL that stay: those with a meaning, and what is quoted already."""


def _conditions(tag: str | None) -> dict[str, str]:
    if tag is None:
        return {}
    if tag.startswith(_MODIFIED):
        return {"If-Unmodified-Since": tag.removeprefix(_MODIFIED)}
    return {"If-Match": f'"{tag}"'}


def _entity_tag(headers: Mapping[str, str]) -> str | None:
    """Give a strong entity tag without its quotes; a weak one tells no bytes apart."""
    tag = headers.get("ETag") or ""
    strong = len(tag) > 2 and tag[0] == '"' == tag[-1] and tag.isprintable()
    return tag[1:-1] if strong and '"' not in tag[1:-1] and len(tag) <= 1024 else None


def _tag(headers: Mapping[str, str]) -> str | None:
    """Give what binds later requests to the content of an answer; None where nothing does."""
    modified = headers.get("Last-Modified") or ""
    try:
        age = parsedate_to_datetime(headers.get("Date") or "") - parsedate_to_datetime(modified)
        settled = age.total_seconds() >= _SETTLED
    except (ValueError, TypeError, OverflowError):
        settled = False
    return _entity_tag(headers) or (f"{_MODIFIED}{modified}" if settled else None)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length") or ""
    plain = headers.get("Content-Encoding", "identity") == "identity"
    return int(text) if plain and text.isascii() and text.isdecimal() and len(text) < 19 else None


def _links(data: bytes, url: str) -> Iterator[str]:
    """Give the names directly below an index page that it links to."""
    from lxml import etree, html  # noqa: PLC0415 - only where a web directory is listed

    try:
        page = html.document_fromstring(data, base_url=url)
    except (etree.ParserError, ValueError):
        return
    base = urljoin(url, page.xpath("string(//base/@href)"))
    server, above = origin(url), _segments(url)[:-1]
    for link in page.xpath("//a/@href"):
        try:
            target = urljoin(base, link.strip())
            if origin(target) != server:
                continue
        except ValueError:
            # No URL, or one of somebody else.
            continue
        name = _below(_segments(target), above)
        if name:
            yield name


def _segments(url: str) -> list[str]:
    return [unquote(segment, errors="surrogateescape") for segment in urlsplit(url).path.split("/")]


def _below(segments: list[str], above: list[str]) -> str | None:
    """Give the name of a child, with a slash behind a directory's."""
    rest = segments[len(above) :]
    if segments[: len(above)] != above or not rest or rest[0] in {"", ".", ".."}:
        return None
    if "/" in rest[0] or rest[1:] not in ([], [""]):
        return None
    return rest[0] + "/" * (len(rest) - 1)


class _Body:
    """A file's bytes, counted, and the whole of one content or an error."""

    def __init__(self, answer: Any, what: str, tag: str | None, start: int) -> None:  # noqa: ANN401
        self._answer = answer
        self._what = what
        self.etag = _tag(answer.headers)
        if tag is not None and self._differs(tag, resumed=start > 0):
            raise SourceChangedError(f"{what}: it is no longer the file that was listed")
        length = _length(answer.headers)
        self.size = length
        if start:
            self.size = self._whole_size(start, length)
        self._left = length

    def _differs(self, tag: str, *, resumed: bool) -> bool:
        """Compare the answer's tag with the one asked for, since some servers heed no condition."""
        if tag.startswith(_MODIFIED):
            return bool(self._answer.headers.get("Last-Modified") != tag.removeprefix(_MODIFIED))
        found = _entity_tag(self._answer.headers)
        return found != tag if resumed or found is not None else False

    def _whole_size(self, start: int, length: int | None) -> int:
        """Read from the answer's range how long the file is; refuse one that is not as asked."""
        said = self._answer.headers.get("Content-Range") or ""
        size = said.rpartition("/")[2]
        known = size.isascii() and size.isdecimal() and len(size) < 19
        whole = f"bytes {start}-{int(size) - 1}/{size}" if known else ""
        if self._answer.status != 206 or said != whole or length != int(size) - start:
            raise StorageError(f"{self._what}: byte {start} was asked for, and another range came")
        return int(size)

    def __iter__(self) -> Iterator[bytes]:
        try:
            # Where nothing binds a range, breaking off means to begin anew.
            seconds = math.inf if self.etag is None else network.LONGEST_REQUEST
            for chunk in network.body_chunks(self._answer, seconds):
                self._left = None if self._left is None else self._left - len(chunk)
                yield chunk
        except UnreachableError as error:
            raise UnreachableError(f"{self._what}: {error}") from error
        if self._left:
            raise UnreachableError(f"{self._what}: the answer ended {self._left} bytes early")

    def close(self) -> None:
        network.drop(self._answer)
