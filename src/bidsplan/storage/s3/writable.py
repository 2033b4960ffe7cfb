"""Writing to S3: one conditional request for what is small, an upload in parts for what is large.

Every request carries the MD5 of its bytes, so that the storage refuses what was damaged on its way.
An upload in parts is completed only after all of it was checked, and taken back otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from bidsplan.errors import (
    BidsplanError,
    CredentialsError,
    DeniedError,
    DestinationError,
    DiskFullError,
    ExistingFileError,
    IntegrityError,
    MissingFileError,
    SourceMissingError,
    StorageError,
    UnreachableError,
)
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.storage.headers import bare_etag, is_encrypted, object_of
from bidsplan.storage.http_errors import error_code, status_error
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.client import S3Client
from bidsplan.storage.s3.store import S3Store
from bidsplan.storage.writable import HURRIED, Upload, WritableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from threading import Event

    from typing_extensions import Buffer

    from bidsplan.storage.objects import Object
    from bidsplan.storage.s3.credentials import Connection


T = TypeVar("T")

PIECE = 8 << 20
"""Bytes of a part, and the most that are written by one request."""

_MOST_PARTS = 10_000
_MIB = 1 << 20
_FULL = frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
_AGAIN = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "OperationAborted",
        "RequestTimeout",
        "XAmzContentSHA256Mismatch",
    }
)
_DIGEST = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
_ABOUT = b"bidsplan notes here what it brought. Without it, files are compared again.\n"


def _write_error(status: int, what: str, code: str, headers: Any = None) -> BidsplanError:
    """Make the error that a status stands for where something was to be written."""
    said = f"{status} {code}".strip()
    if status == 507 or code in _FULL:
        return DiskFullError(f"{what}: the destination is full ({said})")
    if code in _AGAIN or status == 409:
        return UnreachableError(f"{what}: what was sent did not arrive whole or alone ({said})")
    if status == 412:
        return ExistingFileError(f"{what}: an object stands there by now; it was left alone")
    if code == "NoSuchUpload":
        return MissingFileError(f"{what}: its upload was ended by someone else ({said})")
    if status == 404:
        return DestinationError(f"{what}: there is no such bucket ({said})")
    found = status_error(status, what, code, headers)
    if type(found) is DeniedError:
        return DeniedError(
            f"{what}: writing is denied ({said}); give credentials that may write there"
        )
    if type(found) is StorageError:
        return DestinationError(f"{what}: the destination refused ({said})")
    return found


class S3Writable(WritableStore):
    """A prefix of an S3 bucket that is written to.

    Parameters
    ----------
    path : str
        Without slashes at its ends.
    stop : threading.Event
        Set to end waits between tries.
    """

    def __init__(self, bucket: str, path: str, connection: Connection, stop: Event) -> None:
        # A pool of its own: a stream of the source may hold each of the other's connections, and
        # wait for us to take its bytes.
        connection = replace(connection, jobs=connection.jobs + 1)
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        self.endpoint = connection.endpoint
        self.store = S3Store(bucket, path, connection)
        self.tags_are_digests = True
        self._prefix = f"{path}/" if path else ""
        self._client = S3Client(connection, bucket)
        self._stop = stop
        self._within: float | None = None
        self._conditional: bool | None = None
        self._renewals = 0
        # Renewed credentials are asked for also while it is found out how to write.
        self._lock = RLock()
        self._uploads: set[tuple[str, str]] = set()

    def what(self, key: str) -> str:
        """Name an object, for messages."""
        return printable(f"{self.url}/{key}")

    def standing(self) -> Iterator[Object]:
        """See `WritableStore.standing`."""
        return self.store.list()

    def state(self, key: str) -> Object | None:
        """See `WritableStore.state`."""
        found = self.headers(key)
        return None if found is None else object_of(key, found)

    def headers(self, key: str) -> Any:
        """Give the headers of an object's answer, or None where there is no object."""

        def ask() -> Any:
            # Told here, since an error that retries have seen keeps what it passed in memory.
            try:
                return self._client.head(self._prefix + key)
            except SourceMissingError:
                return None

        return self._patiently(ask)

    def prepare(self) -> None:
        """See `WritableStore.prepare`."""
        with self._lock:
            if self._conditional is None:
                self._conditional = self._find_out()

    def _find_out(self) -> bool:
        """Write a note twice, to see whether the second is refused, as it must be."""
        key = f"{STATE_DIRECTORY}/README"
        for _ in range(2):
            try:
                self.put(key, _ABOUT, replace=False)
            except ExistingFileError:
                return True
            except DestinationError:
                # Some refuse a condition that they don't know.
                self.put(key, _ABOUT, replace=True)
        return False

    def upload(self, key: str, size: int, *, replace: bool) -> Upload:
        """See `WritableStore.upload`."""
        return _S3Upload(self, key, size, replace=replace)

    def remove(self, found: Object) -> bool:
        """See `WritableStore.remove`."""
        there = self.state(found.key)
        if there is None or (there.size, there.etag) != (found.size, found.etag):
            return False
        try:
            self.send("DELETE", found.key, headers={"If-Match": f'"{found.etag}"'})
        except ExistingFileError:
            return False
        return True

    def refuse_other(self, key: str, condition: Mapping[str, str]) -> None:
        """Look before a request whose condition the storage does not heed."""
        if condition and not self._conditional and self.state(key) is not None:
            raise ExistingFileError(f"{self.what(key)}: an object stands there by now")

    def put(self, key: str, data: Buffer, *, replace: bool) -> None:
        """Write an object by one request."""
        self.send("PUT", key, data, headers={} if replace else {"If-None-Match": "*"})

    def send(
        self,
        method: str,
        key: str,
        body: Buffer = b"",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Any, bytes]:
        """Send bytes with their MD5, patiently; give the answer's headers and body."""
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        sent = {"Content-MD5": base64.b64encode(digest).decode(), **(headers or {})}

        def ask() -> tuple[Any, bytes]:
            name, within = self._prefix + key, self._within
            options: dict[str, Any] = {"refused": _write_error, "within": within}
            answer = self._client.write(method, name, query or {}, sent, body, **options)
            # The answer to completing an upload may begin well, and tell of an error at its end.
            if b"<Error>" in answer[1]:
                raise _write_error(500, self.what(key), error_code(answer[1]))
            return answer

        return self._patiently(ask)

    def _patiently(self, call: Callable[[], T]) -> T:
        seen = self._renewals
        try:
            return self._retried(call)
        except CredentialsError:
            if not self._renewed(seen):
                raise
            return self._retried(call)

    def _retried(self, call: Callable[[], T]) -> T:
        return call() if self._within else retrying().copy(sleep=self._stop.wait)(call)

    def _renewed(self, seen: int) -> bool:
        with self._lock:
            if self._renewals == seen and self._client.connection.renew():
                self._renewals += 1
            return self._renewals > seen

    def begin(self, key: str) -> str:
        """Begin an upload in parts, and give its id."""
        _, body = self.send("POST", key, query={"uploads": ""})
        match = re.search(rb"<UploadId>([^<]{1,2048})</UploadId>", body)
        if not match:
            raise DestinationError(f"{self.what(key)}: the answer names no upload")
        number = match[1].decode()
        with self._lock:
            self._uploads.add((key, number))
        return number

    def ended(self, key: str, number: str) -> None:
        """Hear that an upload in parts was completed."""
        with self._lock:
            self._uploads.discard((key, number))

    def take_back(self, key: str, number: str) -> None:
        """End an upload in parts, and remove what was sent of it."""
        # One that is gone already has nothing left.
        with suppress(MissingFileError):
            self.send("DELETE", key, query={"uploadId": number})
        self.ended(key, number)

    def shorten_timeouts(self) -> None:
        """See `WritableStore.shorten_timeouts`."""
        self._within = HURRIED

    def close(self) -> list[str]:
        """See `WritableStore.close`."""
        self.shorten_timeouts()
        if self._uploads:
            pool = ThreadPoolExecutor(len(self._uploads), thread_name_prefix="bidsplan-abort")
            wait([pool.submit(self.take_back, *each) for each in list(self._uploads)], HURRIED * 2)
            pool.shutdown(wait=False, cancel_futures=True)
        return sorted(key for key, _ in self._uploads)


class _S3Upload(Upload):
    """An object on its way, a part in memory at a time."""

    def __init__(self, sink: S3Writable, key: str, size: int, *, replace: bool) -> None:
        self._sink = sink
        self._key = key
        self._size = size
        self._condition = {} if replace else {"If-None-Match": "*"}
        self._piece = max(PIECE, -(-size // (_MOST_PARTS * _MIB)) * _MIB)
        self._number: str | None = None
        self._waiting = bytearray()
        self._taken = 0
        self._parts: list[tuple[str, bytes]] = []

    def write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._taken += len(view)
        if self._taken > self._size:
            raise self._wrong_size()
        while view:
            some = view[: self._piece - len(self._waiting)]
            self._waiting += some
            view = view[len(some) :]
            if len(self._waiting) == self._piece and self._size > self._piece:
                self._send_part()

    def _send_part(self) -> None:
        if self._number is None:
            self._number = self._sink.begin(self._key)
        query = {"partNumber": str(len(self._parts) + 1), "uploadId": self._number}
        body, self._waiting = self._waiting, bytearray()
        digest = hashlib.md5(body, usedforsecurity=False)
        for _ in range(2):
            headers, _ = self._sink.send("PUT", self._key, body, query)
            same = bare_etag(headers.get("ETag")) == digest.hexdigest()
            if same or not _is_digest(headers):
                self._parts.append((headers.get("ETag", ""), digest.digest()))
                return
        # Not every server compares what comes with the MD5 that comes along.
        raise IntegrityError(f"{self._sink.what(self._key)}: what arrived is not what was sent")

    def restart(self) -> None:
        self.abort()
        self._taken = 0
        self._parts = []

    def commit(self, content: str) -> Object:
        if self._taken != self._size:
            raise self._wrong_size()
        if self._number is None:
            tag = hashlib.md5(self._waiting, usedforsecurity=False).hexdigest()
        else:
            if self._waiting:
                self._send_part()
            digests = b"".join(digest for _, digest in self._parts)
            whole = hashlib.md5(digests, usedforsecurity=False).hexdigest()
            tag = f"{whole}-{len(self._parts)}"
        try:
            return self._landed(tag, content)
        except IntegrityError:
            if self._parts:
                raise
            return self._landed(tag, content)

    def _wrong_size(self) -> DestinationError:
        what = self._sink.what(self._key)
        return DestinationError(f"{what}: {self._size} bytes were to come, and {self._taken} came")

    def _landed(self, tag: str, content: str) -> Object:
        try:
            self._finish()
        except DestinationError:
            # Perhaps it was an earlier try that did it, whose answer was lost.
            found = self._sink.state(self._key)
            if found is None or (found.size, found.etag) != (self._size, tag):
                raise
        return self._looked_at(tag, content)

    def _finish(self) -> None:
        self._sink.refuse_other(self._key, self._condition)
        if self._number is None:
            self._sink.send("PUT", self._key, self._waiting, headers=self._condition)
            return
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, (etag, _) in enumerate(self._parts, start=1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._sink.send("POST", self._key, body, {"uploadId": self._number}, self._condition)
        self._sink.ended(self._key, self._number)
        self._number = None

    def _looked_at(self, tag: str, content: str) -> Object:
        """Compare what stands there with what was sent."""
        what, headers = self._sink.what(self._key), self._sink.headers(self._key)
        if headers is None:
            raise DestinationError(f"{what}: it was written, and is not there; run it again")
        found = object_of(self._key, headers)
        if found.size != self._size:
            raise DestinationError(
                f"{what}: {self._size} bytes were written, and {found.size} stand there; another "
                "object took its place, or the storage can't be relied on"
            )
        if found.etag != tag and self._sink.tags_are_digests and _is_digest(headers):
            self._read_back(found, content)
        return found

    def _read_back(self, found: Object, content: str) -> None:
        """Read what has another tag than it should: it is damaged, or its tag is no digest."""
        digest = xxhash.xxh3_128()
        with closing(self._sink.store.stream(self._key, etag=found.etag)) as stream:
            for chunk in stream:
                digest.update(chunk)
        if digest.hexdigest() == content:
            self._sink.tags_are_digests = False
            return
        self._sink.send("DELETE", self._key, headers={"If-Match": f'"{found.etag}"'})
        raise IntegrityError(
            f"{self._sink.what(self._key)}: what arrived there is not what was sent; it was "
            "removed again, so try again later"
        )

    def abort(self) -> None:
        self._waiting = bytearray()
        number, self._number = self._number, None
        if number is not None:
            # Closing the sink tries it once more, and tells of it.
            with suppress(StorageError, DestinationError):
                self._sink.take_back(self._key, number)


def _is_digest(headers: Mapping[str, str]) -> bool:
    """Tell whether an answer's tag looks like a digest, and not like an encrypted object's."""
    tag = bare_etag(headers.get("ETag")) or ""
    return not is_encrypted(headers) and _DIGEST.fullmatch(tag) is not None
