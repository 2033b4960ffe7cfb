"""Downloads ranges of one large object side by side, and digests them in order."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from threading import Condition
from typing import TYPE_CHECKING

import xxhash

from bidsplan.destination.base import Stopped
from bidsplan.destination.blocks import BLOCK
from bidsplan.errors import (
    DeniedError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.transfer.answers import changed, check_answer, late, wrong_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from typing_extensions import Buffer

    from bidsplan.destination.blocks import Blocks
    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Checker, Verdict
    from bidsplan.storage import Store, Stream
    from bidsplan.storage.objects import Identity
    from bidsplan.storage.retry import Deadline
    from bidsplan.transfer.session import Progress, Session


LEAST = 32 << 20
"""The smallest object that is fetched by ranges, in bytes."""

_RANGE, _LEAST_RANGE = 16, 2
"""The most and the least blocks of one request."""

_AHEAD = 128
"""The most blocks that all requests together may fetch ahead of the digest."""

_DIGESTED = 4
"""The blocks that are read back from the page cache at a time."""

_ENOUGH = 4 << 20
"""The bytes of a range that must have arrived for a new round of attempts."""

_TURN = 0.2
"""Seconds between two checks whether more connections are allowed."""


class RangesRefusedError(Exception):
    """The storage does not answer range requests correctly."""


class _Part:
    """A range that is being fetched; `position` is the next byte."""

    def __init__(self, start: int, stop: int) -> None:
        self.position = start
        self.stop = stop
        self.digest = xxhash.xxh3_128()


class RangedDownload:
    """Fetches an object's missing blocks over several connections.

    Each answer must be of the same object as the first one. A block counts after all its bytes are
    written and its digest is noted.

    Attributes
    ----------
    arrived, resumed : int
        The bytes that are complete, and how many of them an earlier run fetched.
    """

    def __init__(
        self,
        entry: Entry,
        store: Store,
        blocks: Blocks,
        session: Session,
        progress: Progress,
        deadline: Deadline,
    ) -> None:
        self.arrived = self.resumed = 0
        self._entry = entry
        self._store = store
        self._blocks = blocks
        self._session = session
        self._progress = progress
        self._deadline = deadline
        self._whole = bytearray(blocks.number)
        self._waiting: deque[_Part] = deque()
        self._changed = Condition()
        self._seen: Identity | None = None
        self._workers: list[Future[None]] = []
        self._active = 0
        self._error: BaseException | None = None
        self._over = False

    def resume(self) -> None:
        """Find the blocks of an earlier run; raises RangesRefusedError or Stopped."""
        try:
            for index in self._blocks.begin(self._session.stop.is_set):
                self._whole[index] = True
                length = self._blocks.end_of(index) - index * BLOCK
                self.resumed += length
                self.arrived += length
                self._progress(length, resumed=True)
        except OSError as error:
            # The blocks can't be read, or the disk has no space for a copy.
            raise RangesRefusedError from error
        if self._session.stop.is_set():
            raise Stopped
        self._waiting.extend(self._missing())

    def _missing(self) -> Iterator[_Part]:
        """Yield the ranges of blocks that are missing."""
        first = 0
        while (first := self._whole.find(0, first)) >= 0:
            last = self._whole.find(1, first)
            last = len(self._whole) if last < 0 else last
            yield _Part(first * BLOCK, self._blocks.end_of(last - 1))
            first = last

    def run(self, checker: Checker) -> Verdict:
        """Fetch missing blocks, and digest the whole object.

        Raises
        ------
        RangesRefusedError
            If the object must be fetched with one request.
        OSError, StorageError, Stopped
        """
        # The pool is started only if parts are digested in parallel.
        digesting = ThreadPoolExecutor(_processors(), thread_name_prefix="bidsplan-digest")
        checker.digest_aside(self._read_back, digesting)
        front = 0
        try:
            while front < self._blocks.number:
                self._add_workers()
                front = self._digest(checker, front)
            verdict = checker.verdict()
        finally:
            self._leave()
            digesting.shutdown(cancel_futures=True)
        self._blocks.finish()
        return verdict

    def _read_back(self, start: int, stop: int) -> Buffer:
        if self._session.stop.is_set():
            raise Stopped
        return self._blocks.read(start, stop)

    def _add_workers(self) -> None:
        """Open as many connections as are useful."""
        streams = self._session.limit.streams
        while self._waiting and self._error is None and (self._seen or not self._active):
            if not streams.take(extra=self._active > 0):
                return
            with self._changed:
                self._active += 1
            try:
                self._workers.append(self._session.pool.submit(self._work))
            except RuntimeError as error:
                streams.release()
                # The pool was shut down.
                raise Stopped from error

    def _digest(self, checker: Checker, front: int) -> int:
        """Digest the complete blocks at the front; returns the next number."""
        with self._changed:
            # The first answer also ends the wait, since the other connections wait for it.
            first = self._seen is None
            self._changed.wait_for(
                lambda: self._whole[front] or self._error or (first and self._seen), _TURN
            )
            if self._error is not None:
                raise self._error
            behind = self._whole.find(0, front, front + _DIGESTED)
        if self._session.stop.is_set():
            raise Stopped
        last = min(front + _DIGESTED, self._blocks.number) if behind < 0 else behind
        if last > front:
            checker.update(self._blocks.read(front * BLOCK, self._blocks.end_of(last - 1)))
        return last

    def _leave(self) -> None:
        """Wait until no connection writes any more."""
        self._over = True
        for worker in self._workers:
            if worker.cancel():
                self._session.limit.streams.release()
        wait(self._workers)

    def _work(self) -> None:
        try:
            while (part := self._next()) is not None:
                self._fetch(part)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            with self._changed:
                self._error = self._error or error
        finally:
            self._session.limit.streams.release()
            with self._changed:
                self._active -= 1
                self._changed.notify()

    def _next(self) -> _Part | None:
        with self._changed:
            too_many = self._active > 1 and self._session.limit.streams.excess()
            if self._over or self._error is not None or too_many or not self._waiting:
                return None
            part = self._waiting.popleft()
            blocks = max(_LEAST_RANGE, min(_RANGE, _AHEAD // self._active))
            border = (part.position // BLOCK + blocks) * BLOCK
            if border < part.stop:
                self._waiting.appendleft(_Part(border, part.stop))
                part.stop = border
            return part

    def _fetch(self, part: _Part) -> None:
        """Fetch a range, and reconnect as long as there is progress."""
        while True:
            before = part.position
            try:
                self._session.retrying(self._deadline)(self._read, part)
                return
            except (UnreachableError, ThrottledError) as error:
                if self._deadline.left() <= 0:
                    self._session.limit.slowdowns.late()
                    raise late(self._entry, self.arrived, self._deadline) from error
                if part.position - before < _ENOUGH:
                    raise

    def _read(self, part: _Part) -> None:
        entry = self._entry
        try:
            with closing(
                self._store.stream(
                    entry.key,
                    etag=entry.etag,
                    version=entry.version,
                    start=part.position,
                    stop=part.stop,
                )
            ) as stream:
                self._check(stream, part.position)
                for chunk in stream:
                    self._take(part, chunk)
        except SourceChangedError as error:
            raise changed(entry, self._store, error) from error
        except (UnreachableError, ThrottledError, DeniedError, SourceMissingError):
            raise
        except StorageError as error:
            raise RangesRefusedError from error
        if part.position != part.stop:
            raise wrong_size(entry, f"{part.position} of {part.stop}")

    def _check(self, stream: Stream, start: int) -> None:
        """Refuse an answer of an object other than the first answer's."""
        with self._changed:
            if stream.identity is None:
                raise RangesRefusedError
            # The other connections wait for the first answer, with which theirs are compared.
            check_answer(self._entry, stream, start, self._seen)
            if self._seen is None:
                self._seen = stream.identity
                self._changed.notify()

    def _take(self, part: _Part, chunk: Buffer) -> None:
        view = memoryview(chunk)
        if self._session.stop.is_set() or self._over:
            raise Stopped
        if part.position + view.nbytes > part.stop:
            raise RangesRefusedError
        arrived = view.nbytes
        while view:
            index = part.position // BLOCK
            some = view[: self._blocks.end_of(index) - part.position]
            self._blocks.write(part.position, some)
            part.digest.update(some)
            part.position += some.nbytes
            if part.position == self._blocks.end_of(index):
                self._note(index, part)
            view = view[some.nbytes :]
        self._session.arrived(arrived, self._deadline)
        self._progress(arrived)
        with self._changed:
            self.arrived += arrived
            self._deadline.reached(self.arrived - self.resumed)
        if self._deadline.left() <= 0 and part.position < part.stop:
            raise late(self._entry, self.arrived, self._deadline)

    def _note(self, index: int, part: _Part) -> None:
        self._blocks.note(index, part.digest.digest())
        part.digest = xxhash.xxh3_128()
        with self._changed:
            self._whole[index] = True
            self._changed.notify()


def _processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
