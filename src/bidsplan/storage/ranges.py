"""Ranges of one file, all of the same content: bound to it by what each answer itself says."""

from __future__ import annotations

import math
import tempfile
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.storage import network, retry
from bidsplan.storage.access import Access
from bidsplan.storage.fsspec_store import file_state, tells_content
from bidsplan.storage.headers import content_length, strong_etag, whole_size
from bidsplan.storage.http.answers import conditions, file_chunks, identity, quotable
from bidsplan.storage.http.client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.storage.objects import Identity


FIRST = 64 << 10
"""Bytes of the first request: a header, and no more than a request's own time is worth."""

_IN_MEMORY = 64 << 20
"""Bytes of a file without a validator that wait in memory, and not in a file."""


class Ranges(Protocol):
    """One file's bytes, by their places.

    Attributes
    ----------
    size : int
        Bytes of the whole file.
    """

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Read the bytes from one place to another."""


class _UnboundError(StorageError):
    """An answer does not say which content its range is of."""


class _BoundRanges(ABC):
    """Ranges whose answers name one object; without a name, the whole file by one request."""

    size: int
    _begun = False
    _whole: IO[bytes] | None = None

    def __init__(self, what: str) -> None:
        self._what = what

    def read(self, start: int, stop: int) -> bytes:
        if self._whole is None:
            try:
                data = self._range(start, stop)
            except _UnboundError:
                if self._begun:
                    raise
                self._keep(self._all())
            else:
                self._begun = True
                return data
        assert self._whole is not None  # noqa: S101 - for the type checker
        self._whole.seek(start)
        return self._whole.read(stop - start)

    def _keep(self, chunks: Iterator[bytes]) -> None:
        """Keep all of the file; its ranges are taken from there."""
        whole = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - kept open
        try:
            for chunk in chunks:
                whole.write(chunk)
        except BaseException:
            whole.close()
            raise
        self.size, self._whole = whole.tell(), whole

    @abstractmethod
    def _range(self, start: int, stop: int) -> bytes:
        """Read a range; raises `_UnboundError` where nothing binds it to the others."""

    @abstractmethod
    def _all(self) -> Iterator[bytes]:
        """Read the whole file by one request."""

    def _check_range(self, status: int, said: str | None, start: int, stop: int) -> None:
        if status != 206 or said != f"bytes {start}-{stop - 1}/{self.size}":
            raise UnreachableError(
                f"{self._what}: expected the bytes from {start} to {stop}, and another range came"
            )

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(f"{self._what}: it was changed while it was read")


def open_ranges(fs: Any, path: str, what: str) -> Ranges:
    """Open a file of a file system.

    Parameters
    ----------
    what : str
        As messages name it.

    Raises
    ------
    Exception
        What the file system raises.
    """
    from fsspec.spec import AbstractBufferedFile  # a tenth of a second

    opened = fs.open(path, "rb", block_size=FIRST, cache_type="none")
    if _is_of_s3(opened):
        return _S3Ranges(opened, what)
    if isinstance(opened, AbstractBufferedFile) and opened.size is not None:
        # Of object stores: it holds no connection.
        return _FileRanges(fs, path, what, opened)
    opened.close()
    return _FileRanges(fs, path, what)


def _is_of_s3(opened: Any) -> bool:
    if not type(opened).__module__.startswith("s3fs"):
        return False
    from s3fs.core import S3File  # half a second

    return isinstance(opened, S3File)


class _S3Ranges(_BoundRanges):
    """Ranges of an object that s3fs opened; s3fs itself compares none of the answers."""

    def __init__(self, opened: Any, what: str) -> None:
        super().__init__(what)
        self._opened = opened
        self.size = int(opened.size)
        self._tag = strong_etag(opened.details.get("ETag"))

    def _range(self, start: int, stop: int) -> bytes:
        if self._tag is None:
            raise _UnboundError(f"{self._what}: it has no strong entity tag")
        answer = self._asked(self._opened.read_kw, Range=f"bytes={start}-{stop - 1}")
        chunks = self._chunks(answer, start, stop)
        try:
            tag = strong_etag(answer.get("ETag"))
            if tag is None:
                raise _UnboundError(f"{self._what}: an answer does not say what it is of")
            if tag != self._tag or not self._is_version(answer.get("VersionId")):
                raise self._changed()
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            self._check_range(status, answer.get("ContentRange"), start, stop)
            return b"".join(chunks)
        finally:
            answer["Body"].close()

    def _is_version(self, found: str | None) -> bool:
        wanted = self._opened.version_id
        return wanted is None or found in {None, wanted}

    def _all(self) -> Iterator[bytes]:
        answer = self._asked(self._opened._request_payer_kw)  # noqa: SLF001 - for s3fs's own calls
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        try:
            size = whole_size(status, None, answer.get("ContentLength"), 0, self._what)
            if size not in {None, self.size}:
                raise self._changed()
            yield from self._chunks(answer, 0, self.size)
        finally:
            answer["Body"].close()

    def _asked(self, *more: Any, **asked: str) -> Any:
        opened = self._opened
        if opened.version_id is not None:
            asked["VersionId"] = opened.version_id
        return opened._call_s3("get_object", *more, Bucket=opened.bucket, Key=opened.key, **asked)  # noqa: SLF001 - as above

    def _chunks(self, answer: Any, start: int, stop: int) -> Iterator[bytes]:
        from fsspec.asyn import sync  # loaded with s3fs

        left = size = stop - start
        while chunk := sync(self._opened.fs.loop, answer["Body"].read, network.CHUNK):
            left -= len(chunk)
            yield chunk
            if left < 0:
                break
        if left:
            raise UnreachableError(
                f"{self._what}: expected {size} bytes at {start}, got {size - left}"
            )


def open_web_ranges(url: str, what: str) -> Ranges:
    """Open a file of a web server.

    Parameters
    ----------
    url : str
        Of the protocol https or http.
    what : str
        As messages name it.

    Raises
    ------
    StorageError
    """
    return _WebRanges(url, what)


class _WebRanges(_BoundRanges):
    """Ranges of a file of a web server, whose redirects are followed as `HttpClient` does."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(what)
        self._url = quote(url.partition("#")[0], safe=quotable)
        allowed = frozenset({"http"} & {url.partition("://")[0].lower()})
        self._client = HttpClient(Access(allow_protocols=allowed))
        self._identity: Identity | None = None
        self._first = b""
        self._open()

    def _open(self) -> None:
        """Take the first bytes, or all of it where the server has nothing to bind ranges by."""
        try:
            answer, url = self._sent({"Range": f"bytes=0-{FIRST - 1}"})
        except StorageError as error:
            if type(error) is not StorageError:
                raise
            # It has something against the range, such as that the file is empty.
            self._keep(self._all())
            return
        if answer.status == 200:
            self._keep(self._whole_of(answer))
            return
        found = identity(answer.headers, url)
        total = (answer.headers.get("Content-Range") or "").rpartition("/")[2]
        size = content_length({"Content-Length": total})
        if found is None or not size:
            network.drop(answer)
            self._keep(self._all())
            return
        self._identity, self.size, self._begun = found, size, True
        self._first = self._taken(answer, 0, min(FIRST, size))

    def _sent(self, headers: dict[str, str]) -> tuple[Any, str]:
        return self._client.send("GET", self._url, self._what, headers)

    def _range(self, start: int, stop: int) -> bytes:
        if stop <= len(self._first):
            return self._first[start:stop]
        tag = self._identity.tag if self._identity else None
        answer, url = self._sent(conditions(tag) | {"Range": f"bytes={start}-{stop - 1}"})
        found = identity(answer.headers, url)
        if found == self._identity:
            return self._taken(answer, start, stop)
        network.drop(answer)
        if found is not None and self._identity and found.url == self._identity.url:
            raise self._changed()
        raise UnreachableError(f"{self._what}: a piece of it would come from another place")

    def _taken(self, answer: Any, start: int, stop: int) -> bytes:
        try:
            said = answer.headers.get("Content-Range")
            self._check_range(answer.status, said, start, stop)
            return b"".join(file_chunks(answer, self._what, retry.BODY_SECONDS))
        finally:
            network.drop(answer)

    def _all(self) -> Iterator[bytes]:
        return self._whole_of(self._sent({})[0])

    def _whole_of(self, answer: Any) -> Iterator[bytes]:
        try:
            whole_size(answer.status, None, None, 0, self._what)
            yield from file_chunks(answer, self._what, math.inf)
        finally:
            network.drop(answer)


class _FileRanges:
    """Ranges of a file of any other file system, whose answers can't be looked at.

    The file system is asked before and after whether the file is the same; where it tells nothing
    that would change with the content, the whole file is read by one call.
    """

    def __init__(
        self,
        fs: Any,
        path: str,
        what: str,
        opened: Any = None,
    ) -> None:
        self._fs = fs
        self._path = path
        self._what = what
        self._opened = opened
        info = fs.info(path)
        self._state = file_state(info)
        self._whole: bytes | None = None
        if not tells_content(info):
            self._whole = fs.cat_file(path)
        size = info.get("size") if opened is None else opened.size
        size = len(self._whole) if self._whole is not None else size
        if size is None:
            raise StorageError(f"{what}: its size is not to be had, so no piece of it either")
        self.size = int(size)

    def read(self, start: int, stop: int) -> bytes:
        if self._whole is not None:
            return self._whole[start:stop]
        if self._opened is None:
            data: bytes = self._fs.cat_file(self._path, start, stop)
        else:
            self._opened.seek(start)
            data = self._opened.read(stop - start)
        if file_state(self._fs.info(self._path)) != self._state:
            raise SourceChangedError(f"{self._what}: it was changed while it was read")
        return data
