"""Reads ranges of a planned file from its source."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from bidsplan.errors import (
    ArchivedError,
    DeniedError,
    RefusedHostError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.paths import printable
from bidsplan.plan.integrity import Checker, CheckMethod, judge_two_reads
from bidsplan.storage.ranges import Ranges, UnboundError
from bidsplan.storage.retry import retrying
from bidsplan.transfer.answers import changed, check_answer, wrong_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Verdict
    from bidsplan.storage import Store
    from bidsplan.storage.file_state import FileVersion
    from bidsplan.storage.objects import Identity


T = TypeVar("T")

# The whole object would have the same error.
_FINAL = (
    *(UnreachableError, ThrottledError, DeniedError, SourceMissingError),
    *(ArchivedError, RefusedHostError),
)


class GeneratedRanges(Ranges):
    """Ranges of a file whose text is in the plan."""

    def __init__(self, content: str) -> None:
        super().__init__("a generated file")
        self._data = content.encode()
        self.size = len(self._data)

    def whole(self) -> Iterator[bytes]:
        """See `Ranges.whole`."""
        yield self._data

    def retried(self, call: Callable[[], T]) -> T:
        """Call a function that reads."""
        return call()

    def _range(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]


class PlannedRanges(Ranges):
    """Ranges of exactly the planned object.

    Each request names the planned entity tag or version, and each answer is compared with it. A
    range that is the whole file is compared with the planned digest. If nothing identifies the
    planned object, for example on a web server without entity tags, the whole file is read once and
    kept.

    `read` retries in the same way as `retrying`. `read` and `whole` raise StorageError if the bytes
    can't be read from the planned object, and IntegrityError if the whole file is not the planned
    one. `whole` raises the latter after its last byte.
    """

    def __init__(self, entry: Entry, store: Store) -> None:
        super().__init__(printable(entry.path))
        self._entry = entry
        self._store = store
        self._seen: Identity | None = None
        self._state: FileVersion | None = None
        self._failed: Verdict | None = None
        self.size = entry.size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes between two positions, with retries."""
        call = super().read
        return self.retried(lambda: call(start, stop))

    def retried(self, call: Callable[[], T]) -> T:
        """Call a function that reads, in several tries if need be."""
        policy = retrying()
        return self._store.renewing(lambda: policy(call))

    def whole(self) -> Iterator[bytes]:
        """Read the whole file with one request, and check it."""
        entry = self._entry
        checker, left = Checker(entry), entry.size
        try:
            with closing(
                self._store.stream(entry.key, etag=entry.etag, version=entry.version)
            ) as stream:
                check_answer(entry, stream, 0, None)
                for chunk in stream:
                    left -= memoryview(chunk).nbytes
                    if left < 0:
                        raise wrong_size(entry, f"more than {entry.size}")
                    checker.update(chunk)
                    yield bytes(chunk)
        except SourceChangedError as error:
            raise changed(entry, self._store, error) from error
        if left:
            raise wrong_size(entry, f"{entry.size - left}")
        self._check(checker)

    def _check(self, checker: Checker) -> None:
        entry, verdict = self._entry, checker.verdict()
        by_tag = verdict.proof is CheckMethod.ETAG_MD5
        if verdict.holds or (by_tag and not self._tag_is_md5()):
            return
        first, self._failed = self._failed, verdict
        if first is None:
            # The next attempt reads the file again, since bytes may be damaged on their way.
            raise UnreachableError(f"{self._what}: the bytes received are not the planned ones")
        judge_two_reads(entry, verdict, None, same=first.content == verdict.content)

    def _tag_is_md5(self) -> bool:
        return self._store.etag_is_md5(self._entry.key, version=self._entry.version)

    def _range(self, start: int, stop: int) -> bytes:
        entry, store = self._entry, self._store
        if (start, stop) == (0, self.size):
            return b"".join(self.whole())
        if (entry.etag or entry.version) and store.abilities.ranges:
            return self._bound_range(start, stop)
        if (state := store.file_version(entry.key)) is not None:
            return self._local_range(start, stop, state)
        raise UnboundError(f"{self._what}: nothing binds a range of it to the planned file")

    def _bound_range(self, start: int, stop: int) -> bytes:
        entry, data = self._entry, bytearray()
        wanted = {"etag": entry.etag, "version": entry.version}
        try:
            with closing(self._store.stream(entry.key, **wanted, start=start, stop=stop)) as stream:
                check_answer(entry, stream, start, self._seen)
                if stream.identity is None:
                    raise UnboundError(f"{self._what}: the answer does not say what it is of")
                for chunk in stream:
                    data += chunk
                    if len(data) > stop - start:
                        raise UnboundError(f"{self._what}: more bytes came than were requested")
                self._seen = stream.identity
        except SourceChangedError as error:
            raise changed(entry, self._store, error) from error
        except _FINAL:
            raise
        except StorageError as error:
            # Perhaps the server does not support range requests.
            raise UnboundError(str(error)) from error
        return bytes(data)

    def _local_range(self, start: int, stop: int, state: FileVersion) -> bytes:
        entry, data = self._entry, bytearray()
        with closing(self._store.stream(entry.key, start=start)) as stream:
            # For a local file, only the size is planned.
            check_answer(entry, stream, 0, None)
            for chunk in stream:
                data += chunk
                if len(data) >= stop - start:
                    break
        if self._state not in {None, state} or self._store.file_version(entry.key) != state:
            raise self._changed()
        self._state = state
        return bytes(data[: stop - start])
