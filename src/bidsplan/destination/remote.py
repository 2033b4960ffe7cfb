"""A destination in storage: S3, or another URL that fsspec can write to."""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
from contextlib import closing, contextmanager
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from bidsplan.destination.base import Destination, FileState, Listed, Stopped, Writer, missing
from bidsplan.destination.receipt_objects import read_receipts, write_receipts
from bidsplan.destination.strays import inside_source, is_reserved
from bidsplan.errors import (
    ExistingFileError,
    Problem,
    SourceMissingError,
    StorageError,
)
from bidsplan.events import Opened, Warned
from bidsplan.paths import STATE_DIRECTORY, is_marker
from bidsplan.plan.integrity import CheckMethod, best_check
from bidsplan.storage import Object, open_writable
from bidsplan.storage.places import place_of
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.credentials import find_endpoint
from bidsplan.urls import AMAZON, canonical_url, parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Buffer

    from bidsplan.destination.receipts import Receipt
    from bidsplan.plan import Entry
    from bidsplan.storage import Access, Stream, Upload

T = TypeVar("T")

_SMALL = 1 << 20
"""Files up to this size are kept in memory, dozens at a time.

Of larger files, one part is in memory for each of a few.
"""


_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}


class RemoteDestination(Destination):
    """A URL; raises UsageError if it is refused, or can't be written to."""

    whole_up_to = _SMALL
    compares_first = True

    def __init__(self, url: str, access: Access) -> None:
        self.stop = Event()
        self._storage = open_writable(url, access=access.at_destination(), stop=self.stop)
        self.url = self._storage.url
        self._access = access
        self._name = url
        # The listing and the plan are read side by side, so that neither is in memory as a whole.
        # If a listing is out of order, that costs work but no file, since files are never replaced
        # without permission.
        self._listing: Iterator[Object] | None = None
        self._next: Object | None = None
        self._receipts = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._spared: tuple[str, ...] = ()

    def inspect(self, path: str) -> FileState | None:
        """See `Destination.inspect`; raises StorageError if the listing fails."""
        if self._listing is None:
            self._listing = self._storage.list_objects()
            self._next = next(self._listing, None)
        while self._next is not None and self._next.key < path:
            self._next = next(self._listing, None)
        return _state(self._next) if self._next and self._next.key == path else None

    def state(self, path: str) -> FileState | None:
        """See `Destination.state`."""
        found = self._storage.state(path)
        return _state(found) if found else None

    def proof(self, entry: Entry, state: FileState) -> CheckMethod | None:
        """See `Destination.proof`; a file with another tag may still be the planned one."""
        proof = best_check(entry)
        match proof:
            case CheckMethod.CONTENT:
                data = (entry.content or "").encode()
                wanted: str | None = hashlib.md5(data, usedforsecurity=False).hexdigest()
            case CheckMethod.MD5:
                wanted = entry.md5
            case CheckMethod.ETAG_MD5 | CheckMethod.MULTIPART:
                wanted = entry.etag
            case _:
                return None
        return proof if (state.size, state.identity) == (entry.size, wanted) else None

    @contextmanager
    def read(self, path: str, stopping: Callable[[], bool]) -> Iterator[Iterator[bytes]]:
        """See `Destination.read`."""
        try:
            with closing(self._storage.store.stream(path)) as stream:
                yield _chunks(stream, stopping)
        except SourceMissingError as error:
            raise missing(path) from error

    def retried(self, call: Callable[[], T]) -> T:
        """See `Destination.retried`."""
        return self._storage.store.renewing(lambda: retrying()(call))

    @contextmanager
    def writer(
        self, path: str, size: int, *, replace: bool, key: str | None = None
    ) -> Iterator[Writer]:
        """See `Destination.writer`; uploads are not resumed."""
        with self._storage.upload(path, size, replace=replace) as upload:
            try:
                yield RemoteWriter(upload, replace=replace)
            except _UploadError as error:
                raise error.why from error

    def read_receipts(self) -> Iterator[Receipt]:
        """See `Destination.read_receipts`."""
        return read_receipts(self._storage)

    def write_receipts(self, receipts: list[Receipt]) -> None:
        """See `Destination.write_receipts`."""
        write_receipts(self._storage, f"{self._receipts}-{next(self._numbers):04}", receipts)

    def opened(self) -> Opened:
        """See `Destination.opened`."""
        return Opened(url=self._storage.url, endpoint=self._storage.endpoint, written=True)

    def prepare(self) -> None:
        """See `Destination.prepare`."""
        self._storage.prepare()

    def spare(self, roots: Sequence[str], base: str, keep: Sequence[str]) -> None:
        """See `Destination.spare`; no local file is in storage."""
        endpoint = find_endpoint(self._access.at_destination())
        here = place_of(_as_stored(self._name, endpoint), self._access, base)
        below: list[str] = []
        for url in roots:
            root = place_of(_as_stored(url, endpoint), self._access, base)
            if root.service == here.service:
                if here.prefix.startswith(root.prefix):
                    raise inside_source(self.url)
                if root.prefix.startswith(here.prefix):
                    below.append(root.prefix.removeprefix(here.prefix))
        self._spared = tuple(below)

    def list_files(self) -> Iterator[Listed]:
        """See `Destination.list_files`."""
        found = list(self._storage.store.list())
        inner = {
            item.key[: item.key.index(f"/{STATE_DIRECTORY}/") + 1]
            for item in found
            if f"/{STATE_DIRECTORY}/" in item.key
        }
        spared = (*self._spared, *inner)
        for item in found:
            segments = item.key.split("/")
            above = itertools.accumulate(segments, "{}/{}".format)
            # A key that ends in a slash could not even be written with bytes.
            directory = item.key.endswith("/") or is_marker(item.key, item.size)
            if not (directory or item.key.startswith(spared) or any(map(is_reserved, above))):
                yield Listed(item.key, _state(item))

    def remove(self, listed: Listed) -> bool:
        """See `Destination.remove`."""
        size, tag, _ = listed.state
        return self._storage.remove(
            Object(listed.path, size, tag if isinstance(tag, str) else None)
        )

    def finish(self) -> Iterator[Warned]:
        """Abort unfinished uploads; see `Destination.finish`."""
        left = self._storage.close()
        if left:
            what = f"{len(left)} uploads were given up and could not be removed"
            hint = "the storage keeps what was sent of them until they are aborted"
            message, hint = f"{what}, as that of {left[0]}", f"{hint}, as a bucket's rules can"
            yield Warned(problem=Problem(message=message, hint=hint))

    def shorten_timeouts(self) -> None:
        """See `Destination.shorten_timeouts`."""
        self._storage.shorten_timeouts()

    def close(self, *, busy: bool = False) -> None:
        """See `Destination.close`."""
        self._storage.close()


class _UploadError(Exception):
    """An upload failed, which is not a fault of the source."""

    def __init__(self, why: StorageError) -> None:
        super().__init__(str(why))
        self.why = why


class RemoteWriter(Writer):
    """A file that is being uploaded."""

    def __init__(self, upload: Upload, *, replace: bool) -> None:
        self._upload = upload
        self._replace = replace
        self._existing: ExistingFileError | None = None

    def write(self, data: Buffer) -> None:
        """See `Writer.write`."""
        try:
            self._upload.write(data)
        except StorageError as error:
            raise _UploadError(error) from error

    def restart(self) -> None:
        """See `Writer.restart`."""
        self._upload.restart()

    def commit(self, content: str, *, replace: bool) -> FileState | None:
        """See `Writer.commit`; only an upload begun for it replaces a file."""
        if self._existing is not None:
            raise self._existing
        try:
            return _state(self._upload.commit(content))
        except ExistingFileError as error:
            if self._replace:
                raise
            self._existing = error
            return None


def _as_stored(url: str, endpoint: str | None) -> str:
    """Return one spelling for all URLs of a bucket, as far as possible."""
    protocol, host, path = parse_url(canonical_url(url))
    service = parse_url(canonical_url(endpoint)).host.rpartition("@")[2] if endpoint else None
    if protocol in {"http", "https"}:
        if re.fullmatch(AMAZON, host) or host == service:
            return f"s3://{path}"
        if found := re.fullmatch(rf"(.+?)\.{AMAZON}", host):
            return f"s3://{found[1]}/{path}"
    return f"{_ALIASES[protocol]}://{host}/{path}" if protocol in _ALIASES else url


def _state(found: Object) -> FileState:
    return FileState(found.size, found.etag)


def _chunks(stream: Stream, stopping: Callable[[], bool]) -> Iterator[bytes]:
    for chunk in stream:
        if stopping():
            raise Stopped
        yield bytes(chunk)
