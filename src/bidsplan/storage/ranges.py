"""Reads ranges of one file, and checks that all are of the same content."""

from __future__ import annotations

import math
import tempfile
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.storage import network, retry
from bidsplan.storage.access import Access
from bidsplan.storage.fsspec_store import file_state, tells_content
from bidsplan.storage.headers import content_length, strong_etag, whole_size
from bidsplan.storage.http import answers
from bidsplan.storage.http.client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.storage.objects import Identity


FIRST = 64 << 10
"""The bytes of the first request: enough for a header, at hardly any additional time."""

_IN_MEMORY = 64 << 20
"""The most bytes of an unidentified file that are kept in memory, and not in a temporary file."""


_LARGEST_AHEAD = 4 << 20
_MANY = 256 << 10
"""Reads of at least these bytes have their own request, without reading ahead."""

_LARGEST = 32 << 20
"""The most bytes of one request, of which there are briefly two copies."""


class ReadAhead:
    """Reads one file by ranges, and keeps a piece of it in memory.

    Bytes at the start, and bytes that follow the last read, are requested in growing pieces. After
    a jump, only the needed bytes are requested.

    Parameters
    ----------
    read : callable
        Returns the bytes between two positions.
    size : int
        The size of the file in bytes.
    first : int
        The size of the first piece in bytes.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, first: int = FIRST) -> None:
        self._read = read
        self._size = size
        self._first = self._ahead = first
        self._held = memoryview(b"")
        self._start = 0

    def some(self, at: int, wanted: int) -> memoryview:
        """Return at most `wanted` bytes at a position in the file."""
        offset = at - self._start
        if 0 <= offset < len(self._held):
            return self._held[offset : offset + wanted]
        follows = offset == len(self._held)
        large = wanted >= _MANY
        length = min(max(wanted, 0 if large or not follows else self._ahead), _LARGEST)
        found = memoryview(self._read(at, min(at + length, self._size)))
        self._ahead = min(2 * self._ahead, _LARGEST_AHEAD) if follows else self._first
        # A large piece is used up at once, and keeping it would cost memory for every open file.
        self._held = found[:0] if large else found
        self._start = at + len(found) if large else at
        return found[:wanted]


class UnboundError(StorageError):
    """An answer does not identify the content of its range."""


class Ranges(ABC):
    """One file's bytes by position.

    Attributes
    ----------
    size : int
        The size of the whole file in bytes. Without a value that identifies the content, the whole
        file is read with one request.
    """

    size: int
    _is_bound = False
    _whole: IO[bytes] | None = None

    def __init__(self, what: str) -> None:
        self._what = what

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes between two positions."""
        data = self._read(start, stop)
        if len(data) != stop - start:
            raise UnreachableError(
                f"{self._what}: expected {stop - start} bytes at {start}, got {len(data)}"
            )
        self._is_bound = True
        return data

    def close(self) -> None:
        """Discard the file's bytes; nothing can be read afterwards."""
        if self._whole is not None:
            self._whole.close()

    def _read(self, start: int, stop: int) -> bytes:
        whole = self._whole
        if whole is None:
            try:
                return self._range(start, stop)
            except UnboundError:
                if self._is_bound:
                    raise
            whole = self._keep(self.whole(), self.size)
        whole.seek(start)
        return whole.read(stop - start)

    def _keep(self, chunks: Iterator[bytes], size: int | None = None) -> IO[bytes]:
        """Keep the whole file in memory, and read ranges from it."""
        whole = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - kept open
        try:
            for chunk in chunks:
                whole.write(chunk)
            if size not in {None, whole.tell()}:
                raise UnreachableError(f"{self._what}: expected {size} bytes, got {whole.tell()}")
        except BaseException:
            whole.close()
            raise
        self.size, self._whole = whole.tell(), whole
        return whole

    @abstractmethod
    def _range(self, start: int, stop: int) -> bytes:
        """Read a range; raises `UnboundError` if its content is not identified."""

    @abstractmethod
    def whole(self) -> Iterator[bytes]:
        """Read the whole file with one request."""

    def _check_range(self, status: int, content_range: str | None, start: int, stop: int) -> None:
        if status != 206 or content_range != f"bytes {start}-{stop - 1}/{self.size}":
            raise UnreachableError(
                f"{self._what}: expected the bytes from {start} to {stop}, and another range came"
            )

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(f"{self._what}: it was changed while it was read")


def open_ranges(fs: Any, path: str, what: str, url: str | None = None) -> Ranges:
    """Open a file for reading by ranges.

    If a URL is given, bidsplan's own client reads it. Raises the errors of the file system.
    """
    if url is not None:
        return _WebRanges(url, what)
    from fsspec.spec import AbstractBufferedFile  # imports for a tenth of a second

    opened = fs.open(path, "rb", block_size=FIRST, cache_type="none")
    if type(opened).__module__.startswith("s3fs"):
        from s3fs.core import S3File  # half a second

        if isinstance(opened, S3File):
            return _S3Ranges(opened, what)
    if isinstance(opened, AbstractBufferedFile) and opened.size is not None:
        # This file system is for object stores, and keeps no connection.
        return _FileRanges(fs, path, what, opened)
    opened.close()
    return _FileRanges(fs, path, what)


class _S3Ranges(Ranges):
    """Ranges of an s3fs object, whose answers are compared."""

    def __init__(self, opened: Any, what: str) -> None:
        super().__init__(what)
        self._opened = opened
        self.size = int(opened.size)
        self._tag = strong_etag(opened.details.get("ETag"))

    def _range(self, start: int, stop: int) -> bytes:
        if self._tag is None:
            raise UnboundError(f"{self._what}: it has no strong entity tag")
        answer = self._get_object(self._opened.read_kw, Range=f"bytes={start}-{stop - 1}")
        try:
            tag, version = strong_etag(answer.get("ETag")), answer.get("VersionId")
            same_version = self._opened.version_id in {None, version} or version is None
            if tag is None:
                raise UnboundError(f"{self._what}: an answer does not say what it is of")
            if tag != self._tag or not same_version:
                raise self._changed()
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            self._check_range(status, answer.get("ContentRange"), start, stop)
            return b"".join(self._chunks(answer, stop - start))
        finally:
            answer["Body"].close()

    def whole(self) -> Iterator[bytes]:
        """See `Ranges.whole`."""
        answer = self._get_object(self._opened._request_payer_kw)  # noqa: SLF001 - for s3fs's own calls
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        try:
            size = whole_size(status, None, answer.get("ContentLength"), 0, self._what)
            if size not in {None, self.size}:
                raise self._changed()
            yield from self._chunks(answer, self.size)
        finally:
            answer["Body"].close()

    def _get_object(self, *more: Any, **options: str) -> Any:
        opened = self._opened
        if opened.version_id is not None:
            options["VersionId"] = opened.version_id
        return opened._call_s3("get_object", *more, Bucket=opened.bucket, Key=opened.key, **options)  # noqa: SLF001 - as above

    def _chunks(self, answer: Any, most: int) -> Iterator[bytes]:
        """Yield an answer's body, and stop if it is too long."""
        from fsspec.asyn import sync  # loaded with s3fs

        while most >= 0 and (
            chunk := sync(self._opened.fs.loop, answer["Body"].read, network.CHUNK)
        ):
            most -= len(chunk)
            yield chunk


class _WebRanges(Ranges):
    """Ranges of a file on a web server."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(what)
        self._url = quote(url.partition("#")[0], safe=answers.quotable)
        allowed = frozenset({"http"} & {url.partition("://")[0].lower()})
        self._client = HttpClient(Access(allow_protocols=allowed))
        self._identity: Identity | None = None
        self._first = b""
        self._open()

    def _open(self) -> None:
        """Read the first bytes, or the whole file if ranges can't be checked."""
        try:
            answer, url = self._send({"Range": f"bytes=0-{FIRST - 1}"})
        except StorageError as error:
            if type(error) is not StorageError:
                raise
            # The server refuses the range, for example because the file is empty.
            self._keep(self.whole())
            return
        if answer.status == 200:
            self._keep(self._whole_body(answer))
            return
        found = answers.identity(answer.headers, url)
        total = (answer.headers.get("Content-Range") or "").rpartition("/")[2]
        size = content_length({"Content-Length": total})
        if found and size:
            self._identity, self.size, self._is_bound = found, size, True
            self._first = self._body(answer, 0, min(FIRST, size))
        else:
            network.drop(answer)
            self._keep(self.whole())

    def _send(self, headers: dict[str, str]) -> tuple[Any, str]:
        return self._client.send("GET", self._url, self._what, headers)

    def _range(self, start: int, stop: int) -> bytes:
        if stop <= len(self._first):
            return self._first[start:stop]
        tag = self._identity.tag if self._identity else None
        answer, url = self._send(answers.conditions(tag) | {"Range": f"bytes={start}-{stop - 1}"})
        found = answers.identity(answer.headers, url)
        if found == self._identity:
            return self._body(answer, start, stop)
        network.drop(answer)
        if found is not None and self._identity and found.url == self._identity.url:
            raise self._changed()
        raise UnreachableError(f"{self._what}: this range would come from another URL or object")

    def _body(self, answer: Any, start: int, stop: int) -> bytes:
        headers = answer.headers
        try:
            self._check_range(answer.status, headers.get("Content-Range"), start, stop)
            answers.check_not_encoded(headers, self._what)
            length, seconds = content_length(headers), retry.BODY_SECONDS
            return b"".join(network.body_chunks(answer, self._what, seconds, length))
        finally:
            network.drop(answer)

    def whole(self) -> Iterator[bytes]:
        """See `Ranges.whole`."""
        return self._whole_body(self._send({})[0])

    def _whole_body(self, answer: Any) -> Iterator[bytes]:
        try:
            answers.check_not_encoded(answer.headers, self._what)
            yield from network.Body(answer, self._what, 0, None, math.inf)
        finally:
            network.drop(answer)


class _FileRanges(Ranges):
    """Ranges of a file in another file system, whose answers are hidden.

    Before and after each read, the file system is asked whether the file has changed. If it gives
    no value that changes with the content, the whole file is read with one call.
    """

    def __init__(self, fs: Any, path: str, what: str, opened: Any = None) -> None:
        super().__init__(what)
        self._fs, self._path, self._opened = fs, path, opened
        info = fs.info(path)
        self._state = file_state(info)
        if not tells_content(info):
            self._keep(self.whole())
            return
        size = info.get("size") if opened is None else opened.size
        if size is None:
            raise StorageError(f"{what}: its size is unknown, so no range of it can be read")
        self.size = int(size)

    def _range(self, start: int, stop: int) -> bytes:
        if self._opened is None:
            data: bytes = self._fs.cat_file(self._path, start, stop)
        else:
            self._opened.seek(start)
            data = self._opened.read(stop - start)
        if file_state(self._fs.info(self._path)) != self._state:
            raise self._changed()
        return data

    def whole(self) -> Iterator[bytes]:
        """See `Ranges.whole`."""
        yield self._fs.cat_file(self._path)
