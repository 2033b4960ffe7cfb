"""Directories on web servers: listed by the links of their index pages, read by plain requests."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from bidsplan.errors import SourceMissingError, StorageError, UsageError
from bidsplan.paths import printable
from bidsplan.storage import network, retry
from bidsplan.storage.headers import compared_etag, content_length, strong_etag, whole_size
from bidsplan.storage.http.answers import (
    check_plain,
    check_tag,
    conditions,
    file_chunks,
    identity,
    is_plain,
    quotable,
)
from bidsplan.storage.http.client import HttpClient, origin
from bidsplan.storage.objects import Children, Object, ObjectMetadata
from bidsplan.storage.retry import retrying
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.storage.access import Access
    from bidsplan.storage.objects import Stream


_LARGEST_INDEX = 1 << 26
"""Bytes of one index page that are accepted."""

_ASKED_AT_A_TIME = 8
"""Files of one directory that are asked for their sizes at a time."""


class HttpStore(Store):
    """A directory on a web server."""

    def __init__(self, url: str, access: Access) -> None:
        self.url = url.rstrip("/")
        self._root = f"{quote(self.url, safe=quotable)}/"
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
        size = content_length(headers) if is_plain(headers) else None
        if size is None:
            raise StorageError(
                f"{self._what(key)}: the server does not tell its size; only files whose answers "
                "have a Content-Length can be planned"
            )
        return Object(key, size, strong_etag(headers.get("ETag")))

    def stream(
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        what = self._what(key)
        if version is not None:
            raise UsageError(f"{what}: web servers know no versions")
        if start and etag is None:
            raise StorageError(f"{what}: nothing binds a range of it to the file it is from")
        headers = conditions(etag) | ({"Range": f"bytes={start}-"} if start else {})
        answer, url = self._client.send("GET", self._url(key), what, headers)
        try:
            check_tag(answer.headers, etag, what)
            return _Body(answer, url, what, start)
        except StorageError:
            network.drop(answer)
            raise

    def about(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
    ) -> ObjectMetadata:
        """See `Store.about`: a web server's tag may look like a digest, and be none."""
        return ObjectMetadata(etag_is_md5=False)

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """See `Store.etag_is_md5`."""
        return False


def _links(data: bytes, url: str) -> Iterator[str]:
    """Give the names directly below an index page that it links to."""
    from lxml import etree, html  # only where a web directory is listed

    try:
        page = html.document_fromstring(data, base_url=url)
    except (etree.ParserError, ValueError):
        return
    try:
        base = urljoin(url, page.xpath("string(//base/@href)"))
    except ValueError:
        # No URL: as browsers do, links are taken for those of the page itself.
        base = url
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

    def __init__(self, answer: Any, url: str, what: str, start: int) -> None:
        self._answer = answer
        self._what = what
        headers = answer.headers
        length, said = check_plain(answer, what), headers.get("Content-Range")
        self.size = whole_size(answer.status, said, length, start, what)
        self.etag = compared_etag(headers.get("ETag"))
        self.identity = identity(headers, url)

    def __iter__(self) -> Iterator[bytes]:
        # Where nothing binds a range, breaking off means to begin anew.
        seconds = math.inf if self.identity is None else retry.BODY_SECONDS
        yield from file_chunks(self._answer, self._what, seconds)

    def close(self) -> None:
        network.drop(self._answer)
