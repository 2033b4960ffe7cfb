"""Directories on web servers, listed by their index pages."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from bidsplan.errors import (
    DeniedError,
    NoIndexError,
    SourceMissingError,
    StorageError,
    UsageError,
)
from bidsplan.paths import printable, unsafe_key
from bidsplan.storage import network, retry
from bidsplan.storage.headers import content_length, range_header, strong_etag
from bidsplan.storage.http import answers
from bidsplan.storage.http.client import HttpClient
from bidsplan.storage.http.index_page import linked_names
from bidsplan.storage.objects import Abilities, Children, Object, ObjectMetadata
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from bidsplan.storage.access import Access
    from bidsplan.storage.objects import Stream


_LARGEST_INDEX = 1 << 26
"""The most bytes of an index page that are accepted."""

_PROBE = "dataset_description.json"
"""A file of every BIDS dataset, which shows that a directory without an index exists."""

_SIZE_REQUESTS = 8
"""The requests at a time for the sizes of a directory's files."""


class HttpStore(Store):
    """A directory on a web server."""

    abilities = Abilities(ranges=True)

    def __init__(self, url: str, access: Access) -> None:
        self.url = url.rstrip("/")
        self._root = f"{quote(self.url, safe=answers.quotable)}/"
        self._client = HttpClient(access)
        self._linked: set[str] = set()

    def _what(self, key: str) -> str:
        return printable(f"{self.url}/{key}")

    def _url(self, key: str) -> str:
        return self._root + quote(key, safe="/~", errors="surrogateescape")

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        try:
            names = retry.retrying()(self._names, prefix)
        except (SourceMissingError, DeniedError) as error:
            self._check_absent(prefix, error)
            return Children((), ())
        # Planning refuses these files by their names, so no request is sent about them.
        unsafe = {name for name in names if unsafe_key(name.removesuffix("/")) is not None}
        names -= unsafe
        files = sorted(name for name in names if not name.endswith("/"))
        limit = retry.current_limit()

        def described(name: str) -> Object | str:
            with retry.limited_by(limit):
                return self._describe(prefix + name)

        with ThreadPoolExecutor(_SIZE_REQUESTS, thread_name_prefix="bidsplan-sizes") as pool:
            found = list(pool.map(described, files))
        directories = {prefix + name for name in names if name.endswith("/")}
        directories.update(each for each in found if isinstance(each, str))
        self._linked |= directories
        objects = [each for each in found if isinstance(each, Object)]
        objects += [Object(prefix + name.removesuffix("/"), 0) for name in unsafe]
        return Children(tuple(sorted(objects)), tuple(sorted(directories)))

    def _check_absent(self, prefix: str, error: StorageError) -> None:
        """Raise an error if a directory exists, or may exist, without index."""
        there = prefix in self._linked
        if not there:
            try:
                self._describe(prefix + _PROBE)
                there = True
            except SourceMissingError:
                pass
            except StorageError:
                raise error from None
        if there:
            raise NoIndexError(
                f"listing {self._what(prefix)}: the server has files there, and shows no index of "
                "them; turn its directory index on, or name a copy of the study that can be listed"
            ) from error
        if isinstance(error, DeniedError):
            raise error

    def _names(self, prefix: str) -> set[str]:
        """Return the names on an index page; directories end in a slash."""
        what, requested = f"listing {self._what(prefix)}", self._url(prefix)
        answer, url = self._client.send("GET", requested, what)
        kind = answer.headers.get("Content-Type", "")
        data = network.read_bounded(answer, what, limit=_LARGEST_INDEX)
        if "html" not in kind or len(data) > _LARGEST_INDEX:
            raise NoIndexError(
                f"{what}: the answer is no index page, but {printable(kind[:60]) or 'untyped'!r}; "
                "a web directory is listed by its server's HTML index"
            )
        return linked_names(data, url, requested, what)

    def _describe(self, key: str) -> Object | str:
        """Request the size and tag of a file, or find a directory."""
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
            # If nothing identifies the content, a body that breaks off is read again from its
            # start.
            seconds = math.inf if found is None else None
            return network.Body(answer, what, start, found, seconds, stop)
        except StorageError:
            network.drop(answer)
            raise

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """See `Store.about`; a web server's tag is not assumed to be a digest."""
        return ObjectMetadata(etag_is_md5=False)

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """See `Store.etag_is_md5`."""
        return False
