"""Directories on web servers: listed by the links of their index pages, read by plain requests."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from bidsplan.errors import SourceMissingError, StorageError, UsageError
from bidsplan.paths import printable
from bidsplan.storage import network, retry
from bidsplan.storage.headers import content_length, range_header, strong_etag
from bidsplan.storage.http import answers
from bidsplan.storage.http.client import HttpClient, origin
from bidsplan.storage.objects import Children, Object, ObjectMetadata
from bidsplan.storage.store import Abilities, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.storage.access import Access
    from bidsplan.storage.objects import Stream


_LARGEST_INDEX = 1 << 26
"""Bytes of one index page that are accepted."""

_SIZE_REQUESTS = 8
"""Requests at a time for the sizes of one directory's files."""


class HttpStore(Store):
    """A directory on a web server."""

    abilities = Abilities(ranges=True)

    def __init__(self, url: str, access: Access) -> None:
        self.url = url.rstrip("/")
        self._root = f"{quote(self.url, safe=answers.quotable)}/"
        self._client = HttpClient(access)

    def _what(self, key: str) -> str:
        return printable(f"{self.url}/{key}")

    def _url(self, key: str) -> str:
        return self._root + quote(key, safe="/~")

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        try:
            names = retry.retrying()(self._names, prefix)
        except SourceMissingError:
            return Children((), ())
        files = sorted(name for name in names if not name.endswith("/"))
        with ThreadPoolExecutor(_SIZE_REQUESTS, thread_name_prefix="bidsplan-sizes") as pool:
            found = list(pool.map(lambda name: self._describe(prefix + name), files))
        directories = {prefix + name for name in names if name.endswith("/")}
        directories.update(each for each in found if isinstance(each, str))
        objects = tuple(each for each in found if isinstance(each, Object))
        return Children(objects, tuple(sorted(directories)))

    def _names(self, prefix: str) -> set[str]:
        """Return the names on an index page; those of directories end in a slash."""
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

    def _describe(self, key: str) -> Object | str:
        """Request a file's size and tag; its key with a slash if it is a directory."""
        answer, url = retry.retrying()(self._client.send, "HEAD", self._url(key), self._what(key))
        answer.drain_conn()
        headers = answer.headers
        if urlsplit(url).path.endswith("/"):
            return f"{key}/"
        size = None if answers.is_encoded(headers) else content_length(headers)
        if size is None:
            raise StorageError(
                f"{self._what(key)}: the server does not state its size; only files whose answers "
                "have a Content-Length can be planned"
            )
        return Object(key, size, strong_etag(headers.get("ETag")))

    def stream(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Stream:
        """See `Store.stream`."""
        what = self._what(key)
        if version is not None:
            raise UsageError(f"{what}: web servers keep no versions")
        if (start or stop) and etag is None:
            raise StorageError(f"{what}: nothing binds a range of it to the file it is from")
        headers = answers.conditions(etag) | range_header(start, stop)
        answer, url = self._client.send("GET", self._url(key), what, headers)
        try:
            answers.check_tag(answer.headers, etag, what)
            answers.check_not_encoded(answer.headers, what)
            found = answers.identity(answer.headers, url)
            # Where nothing binds a range, a body that breaks off is read again from its start.
            seconds = math.inf if found is None else None
            return network.Body(answer, what, start, found, seconds, stop)
        except StorageError:
            network.drop(answer)
            raise

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """See `Store.about`: a web server's tag may look like a digest, and is none."""
        return ObjectMetadata(etag_is_md5=False)

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """See `Store.etag_is_md5`."""
        return False


def _links(data: bytes, url: str) -> Iterator[str]:
    """Yield the names directly below an index page that it links to."""
    from lxml import etree, html  # only where a web directory is listed

    try:
        page = html.document_fromstring(data, base_url=url)
    except (etree.ParserError, ValueError):
        return
    try:
        base = urljoin(url, page.xpath("string(//base/@href)"))
    except ValueError:
        # Like browsers, resolve links against the page itself.
        base = url
    server, above = origin(url), _segments(url)[:-1]
    for link in page.xpath("//a/@href"):
        try:
            target = urljoin(base, link.strip())
            if origin(target) != server:
                continue
        except ValueError:
            # No URL, or one that names no server.
            continue
        name = _below(_segments(target), above)
        if name:
            yield name


def _segments(url: str) -> list[str]:
    return [unquote(segment, errors="surrogateescape") for segment in urlsplit(url).path.split("/")]


def _below(segments: list[str], above: list[str]) -> str | None:
    """Return the name of a direct child, a directory's with a slash; None for anything else."""
    rest = segments[len(above) :]
    if segments[: len(above)] != above or not rest or rest[0] in {"", ".", ".."}:
        return None
    if "/" in rest[0] or rest[1:] not in ([], [""]):
        return None
    return rest[0] + "/" * (len(rest) - 1)
