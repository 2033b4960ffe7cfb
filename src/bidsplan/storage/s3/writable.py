"""Writes to S3: small objects at once, and large ones as multipart uploads.

Every request contains the MD5 of its bytes, so that the storage refuses damaged bytes. A multipart
upload is completed only after all its bytes were checked, and is aborted otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from bidsplan import errors
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.storage.headers import bare_etag, is_encrypted, object_of
from bidsplan.storage.http_errors import error_code, write_error
from bidsplan.storage.retry import STOPPING_SECONDS, retrying
from bidsplan.storage.s3.client import read_answer
from bidsplan.storage.s3.store import S3Store
from bidsplan.storage.writable import Upload, WritableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from threading import Event

    from typing_extensions import Buffer

    from bidsplan.storage.objects import Object
    from bidsplan.storage.s3.credentials import Connection


T = TypeVar("T")

PIECE = 8 << 20
"""The bytes of an upload part, and the most bytes of a single request."""

_MOST_PARTS = 10_000
_MIB = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
_README = b"bidsplan keeps its receipts here. Without it, files are compared again.\n"


class S3Writable(WritableStore):
    """A prefix of an S3 bucket, for writing.

    Parameters
    ----------
    path : str
        The path, without slashes at its ends.
    stop : threading.Event
        Set to end waits between attempts.
    """

    def __init__(self, bucket: str, path: str, connection: Connection, stop: Event) -> None:
        # Uploads have their own pool. Otherwise streams of the source could occupy all connections
        # while they wait for an upload.
        connection = replace(connection, jobs=connection.jobs + 1)
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        self.endpoint = connection.endpoint
        self.store = S3Store(bucket, path, connection)
        self.tags_are_digests = True
        self._prefix = f"{path}/" if path else ""
        self._client = self.store.client
        self._stop = stop
        self._within: float | None = None
        self._conditional: bool | None = None
        # Credentials may also be renewed while `prepare` holds the lock.
        self._lock = RLock()
        self._uploads: set[tuple[str, str]] = set()

    def what(self, key: str) -> str:
        """Return an object's name, for messages."""
        return printable(f"{self.url}/{key}")

    def list_objects(self) -> Iterator[Object]:
        """See `WritableStore.list_objects`."""
        return self.store.list()

    def state(self, key: str) -> Object | None:
        """See `WritableStore.state`."""
        found = self.headers(key)
        return None if found is None else object_of(key, found)

    def headers(self, key: str) -> Any:
        """Return an object's headers; None if it does not exist."""

        def head() -> Any:
            # The error is caught here, since an error that retries have seen keeps its arguments in
            # memory.
            try:
                return self._client.head(self._prefix + key)
            except errors.SourceMissingError:
                return None

        return self._patiently(head)

    def prepare(self) -> None:
        """See `WritableStore.prepare`."""
        with self._lock:
            if self._conditional is None:
                self._conditional = self._heeds_conditions()

    def _heeds_conditions(self) -> bool:
        """Write an object twice, to check that the storage refuses the second."""
        key = f"{STATE_DIRECTORY}/README"
        for _ in range(2):
            try:
                self.put(key, _README, replace=False)
            except errors.ExistingFileError:
                return True
            except errors.DestinationError:
                # Some servers refuse a condition that they don't know.
                self.put(key, _README, replace=True)
        return False

    def upload(self, key: str, size: int, *, replace: bool) -> Upload:
        """See `WritableStore.upload`."""
        return _S3Upload(self, key, size, replace=replace)

    def remove(self, found: Object) -> bool:
        """See `WritableStore.remove`."""
        there = self.state(found.key)
        if (
            there is None
            or found.etag is None
            or (there.size, there.etag) != (found.size, found.etag)
        ):
            return False
        try:
            self.send("DELETE", found.key, headers={"If-Match": f'"{found.etag}"'})
        except errors.DestinationError as error:
            # An earlier attempt may have removed the object, and its answer was lost.
            if self.state(found.key) is None:
                return True
            if isinstance(error, errors.ExistingFileError):
                return False
            raise
        return True

    def refuse_other(self, key: str, condition: Mapping[str, str]) -> None:
        """Check for another object first, if the storage ignores conditions."""
        if condition and not self._conditional and self.state(key) is not None:
            raise errors.ExistingFileError(f"{self.what(key)}: an object exists there by now")

    def put(self, key: str, data: Buffer, *, replace: bool) -> None:
        """Write an object with one request."""
        self.send("PUT", key, data, headers={} if replace else {"If-None-Match": "*"})

    def send(
        self,
        method: str,
        key: str,
        body: Buffer = b"",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Any, bytes]:
        """Send bytes with their MD5 and retries, and return the answer."""
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        sent = {"Content-MD5": base64.b64encode(digest).decode(), **(headers or {})}
        options: dict[str, Any] = {"query": query, "headers": sent, "refused": write_error}
        what = self.what(key)

        def ask() -> tuple[Any, bytes]:
            name, within = self._prefix + key, self._within
            answer = self._client.request(method, name, body=body, within=within, **options)
            data = read_answer(answer, what)
            # The answer to completing an upload may begin successfully, and end with an error.
            if b"<Error>" in data:
                raise write_error(500, what, error_code(data))
            return answer.headers, data

        return self._patiently(ask)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call a function with retries, and again with renewed credentials."""
        return self.store.renewing(lambda: self._retried(call))

    def _retried(self, call: Callable[[], T]) -> T:
        # A run that is stopping waits a short time.
        wait = self._stop.wait if self._within is None else lambda s: time.sleep(min(s, 0.2))
        return retrying(within=self._within).copy(sleep=wait)(call)

    def begin_upload(self, key: str) -> str:
        """Begin a multipart upload, and return its id."""
        _, body = self.send("POST", key, query={"uploads": ""})
        match = re.search(rb"<UploadId>([^<]{1,2048})</UploadId>", body)
        if not match:
            raise errors.DestinationError(f"{self.what(key)}: the answer names no upload")
        number = match[1].decode()
        with self._lock:
            self._uploads.add((key, number))
        return number

    def end_upload(self, key: str, number: str) -> None:
        """Forget a multipart upload that was completed or aborted."""
        with self._lock:
            self._uploads.discard((key, number))

    def abort_upload(self, key: str, number: str) -> None:
        """Abort a multipart upload, and remove its parts."""
        # An upload that no longer exists has no remains.
        with suppress(errors.MissingFileError):
            self.send("DELETE", key, query={"uploadId": number})
        self.end_upload(key, number)

    def shorten_timeouts(self) -> None:
        """See `WritableStore.shorten_timeouts`."""
        self._within = STOPPING_SECONDS

    def close(self) -> list[str]:
        """See `WritableStore.close`."""
        self.shorten_timeouts()
        if self._uploads:
            pool = ThreadPoolExecutor(len(self._uploads), thread_name_prefix="bidsplan-abort")
            aborted = [pool.submit(self.abort_upload, *each) for each in list(self._uploads)]
            wait(aborted, STOPPING_SECONDS * 2)
            pool.shutdown(wait=False, cancel_futures=True)
        return sorted(key for key, _ in self._uploads)


class _S3Upload(Upload):
    """An object being written, with one upload part in memory."""

    def __init__(self, store: S3Writable, key: str, size: int, *, replace: bool) -> None:
        self._store = store
        self._key = key
        self._what = store.what(key)
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
            self._number = self._store.begin_upload(self._key)
        query = {"partNumber": str(len(self._parts) + 1), "uploadId": self._number}
        body, self._waiting = self._waiting, bytearray()
        digest = hashlib.md5(body, usedforsecurity=False)
        for _ in range(2):
            headers, _ = self._store.send("PUT", self._key, body, query)
            same = bare_etag(headers.get("ETag")) == digest.hexdigest()
            if same or not _is_digest(headers):
                self._parts.append((headers.get("ETag", ""), digest.digest()))
                return
        # Not every server compares the bytes with the MD5 in the request.
        raise errors.IntegrityError(f"{self._what}: what arrived is not what was sent")

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
            return self._publish(tag, content)
        except errors.IntegrityError:
            if self._parts:
                raise
            return self._publish(tag, content)

    def _wrong_size(self) -> errors.DestinationError:
        return errors.DestinationError(
            f"{self._what}: {self._size} bytes were to come, and {self._taken} came"
        )

    def _publish(self, tag: str, content: str) -> Object:
        """Write the object, and check what is stored."""
        try:
            self._complete()
        except errors.DestinationError:
            # Perhaps an earlier attempt succeeded, and its answer was lost.
            found = self._store.state(self._key)
            if found is None or (found.size, found.etag) != (self._size, tag):
                raise
        headers = self._store.headers(self._key)
        if headers is None:
            raise errors.DestinationError(
                f"{self._what}: it was written, and is not there; run it again"
            )
        found = object_of(self._key, headers)
        if found.size != self._size:
            raise errors.DestinationError(
                f"{self._what}: {self._size} bytes were written, and {found.size} are stored; "
                "another object took its place, or the storage can't be relied on"
            )
        if found.etag != tag and self._store.tags_are_digests and _is_digest(headers):
            self._read_back(found, content)
        return found

    def _complete(self) -> None:
        self._store.refuse_other(self._key, self._condition)
        if self._number is None:
            self._store.send("PUT", self._key, self._waiting, headers=self._condition)
            return
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, (etag, _) in enumerate(self._parts, start=1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._store.send("POST", self._key, body, {"uploadId": self._number}, self._condition)
        self._store.end_upload(self._key, self._number)
        self._number = None

    def _read_back(self, found: Object, content: str) -> None:
        """Read an object with an unexpected tag, to find out whether it is damaged."""
        digest = xxhash.xxh3_128()
        with closing(self._store.store.stream(self._key, etag=found.etag)) as stream:
            for chunk in stream:
                digest.update(chunk)
        if digest.hexdigest() == content:
            self._store.tags_are_digests = False
            return
        self._store.send("DELETE", self._key, headers={"If-Match": f'"{found.etag}"'})
        raise errors.IntegrityError(
            f"{self._what}: what arrived there is not what was sent; it was removed again, so try "
            "again later"
        )

    def abort(self) -> None:
        self._waiting = bytearray()
        number, self._number = self._number, None
        if number is not None:
            # Closing the store tries again, and reports the remains.
            with suppress(errors.StorageError, errors.DestinationError):
                self._store.abort_upload(self._key, number)


def _is_digest(headers: Mapping[str, str]) -> bool:
    """Report whether an answer's tag looks like a digest."""
    tag = bare_etag(headers.get("ETag")) or ""
    return not is_encrypted(headers) and _DIGEST.fullmatch(tag) is not None
