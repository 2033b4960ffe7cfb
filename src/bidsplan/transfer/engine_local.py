"""Doing what a plan needs, many entries at a time."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.clashes import Clashes
from bidsplan.destination.directory import destination_error
from bidsplan.destination.place import AtomicWriter
from bidsplan.destination.reading import read_checked
from bidsplan.destination.receipts import ReceiptIndex, ReceiptWriter, make_receipt, no_receipts
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    ExistingFileError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UsageError,
)
from bidsplan.events import Action, Finished, Warned
from bidsplan.paths import printable
from bidsplan.plan.integrity import CheckMethod, VerifyMode, best_check, check_whole
from bidsplan.storage.objects import FetchRequest
from bidsplan.transfer.decide import Decider, Decision
from bidsplan.transfer.download import asks_first, partial_name, write_content
from bidsplan.transfer.engine import Execution
from bidsplan.transfer.jobs import Lane
from bidsplan.transfer.targets import PartialFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from bidsplan.destination.directory import Destination, FileState
    from bidsplan.destination.partial_files import Partial
    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict
    from bidsplan.storage import Access, Store
    from bidsplan.storage.file_state import SourceState
    from bidsplan.transfer.decide import Existing


_SMALL = 4 << 20
"""Bytes up to which an object is read whole, with hundreds of others at a time.

Larger ones cost less processor time when they are streamed.
"""

_LONG = 1 << 19
"""Bytes whose digest takes so long that it is made in a thread."""

_COMMITS = 10
"""Tries to give a file its path while another one is there and then is not."""

_DIGESTS = frozenset({CheckMethod.SHA256, CheckMethod.MD5, CheckMethod.ETAG_MD5})
"""What shows that bytes are the planned ones, whichever object they came from."""


class _Job(NamedTuple):
    """What one entry needs."""

    entry: Entry
    decision: Decision
    store: Store | None
    way: Lane

    @property
    def size(self) -> int:
        return self.entry.size


class Executor(Execution[_Job]):
    """One materialisation into a directory.

    Parameters
    ----------
    checking, access, base, stopping
        As in `Execution`.
    """

    def __init__(
        self,
        plan: Planned,
        folder: Destination,
        existing: Existing,
        checking: VerifyMode,
        access: Access,
        base: str,
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__(plan, checking, access, base, stopping)
        self._folder = folder
        self._writer = ReceiptWriter(folder)
        self._small_files = AtomicWriter(folder)
        self._clashes = Clashes(plan, folder)
        self._decider = Decider(self._sources, folder, ReceiptIndex(folder), existing)

    def _let_end(self) -> None:
        if self._scheduler:
            self._scheduler.close()

    def _leave_receipts(self) -> Iterator[Event]:
        self._writer.flush()
        if self._writer.trouble:
            yield Warned(problem=no_receipts(self._writer.trouble))

    def _decided(self, entry: Entry) -> _Job | None:
        try:
            decision = self._decider.check_metadata(entry)
            if self._told(entry, decision):
                return None
            self._clashes.refuse(entry)
            return self._job(entry, decision)
        except BidsplanError as error:
            if isinstance(error, UsageError):
                raise
            self._failed(entry, error)
            return None

    def _job(self, entry: Entry, decision: Decision) -> _Job:
        if entry.content is not None:
            return _Job(entry, decision, None, Lane.THREAD)
        store = self._roots.store(entry.root)
        if entry.size > _SMALL:
            return _Job(entry, decision, store, Lane.STREAM)
        fresh = decision.final and decision.action in {Action.FETCH, Action.REPLACE}
        quick = (
            fresh and store.abilities.async_reads and not asks_first(entry, store, self._checking)
        )
        return _Job(entry, decision, store, Lane.ASYNC if quick else Lane.THREAD)

    async def run_async(self, job: _Job) -> bool:
        """See `JobSource.run_async`."""
        entry = job.entry
        assert job.store is not None  # noqa: S101 - for the type checker
        began = time.monotonic()
        try:
            whole = await job.store.whole(self._wanted(entry))
        except StorageError as error:
            if isinstance(error, ThrottledError | UnreachableError):
                self._limit.failed(error)
            # A second try in a thread has what is left of the entry's time.
            self._began[entry.path] = began
            return False
        if entry.version is None and entry.etag and whole.etag not in {None, entry.etag}:
            return False
        data = whole.data
        if entry.size > _LONG and self._scheduler:
            check = functools.partial(check_whole, entry, data, self._checking)
            verdict = await self._scheduler.aside(check)
        else:
            verdict = check_whole(entry, data, self._checking)
        if not verdict.holds or self._stop.is_set():
            return False
        self._limit.succeeded()
        self._limit.slowdowns.took(entry.path, time.monotonic() - began)
        return self._place(job, data, verdict)

    def _wanted(self, entry: Entry) -> FetchRequest:
        digested = self._checking is VerifyMode.FULL and best_check(entry) in _DIGESTS
        return FetchRequest(entry.key, entry.size, entry.etag, entry.version, digested)

    def _place(self, job: _Job, data: Buffer, verdict: Verdict) -> bool:
        entry, action = job.entry, job.decision.action
        try:
            state = self._small_files.place(entry.path, data, replace=action is Action.REPLACE)
        except DestinationError as error:
            self._failed(entry, error)
            return True
        if state is None:
            return False
        self._done(entry, action, verdict, state, arrived=entry.size)
        return True

    def _bring(self, job: _Job) -> None:
        entry, decision = job.entry, job.decision
        if not decision.final:
            read = self._decider.check_content(entry, self._stop.is_set)
            decision = self._read(entry, job.store, read)
        if decision.error is not None:
            raise decision.error
        if decision.verdict is not None and decision.state is not None:
            source_state = self._sources.state(entry)
            self._done(entry, Action.KEEP, decision.verdict, decision.state, source_state)
            return
        action = decision.action
        self._renewing(entry, lambda: self._fetch(job, action))

    def _fetch(self, job: _Job, action: Action) -> None:
        entry = job.entry
        with self._partial(job) as partial:
            before = self._sources.state(entry)
            try:
                verdict = self._receive(job, partial)
            except BidsplanError:
                raise
            except OSError as error:
                raise destination_error(error, printable(entry.path)) from error
            source_state = self._sources.unchanged(entry, before)
            action, state = self._commit(entry, partial, verdict, action)
        self._done(entry, action, verdict, state, source_state)

    def _commit(
        self, entry: Entry, partial: Partial, verdict: Verdict, action: Action
    ) -> tuple[Action, FileState]:
        """Give a partial its path; a file that came to stand there is judged first."""
        for _ in range(_COMMITS):
            replace = action is Action.REPLACE
            landed = self._folder.rename_into_place(partial, entry.path, replace=replace)
            if landed is not None:
                return action, landed
            state = self._folder.state(entry.path)
            if state is None:
                # It is gone again.
                continue
            if self._is_same(entry, state, verdict):
                return Action.KEEP, state
            action = Action.REPLACE
        why = "another file appears there and vanishes again; it was left alone; run it again"
        raise ExistingFileError(f"{printable(entry.path)}: {why}")

    def _partial(self, job: _Job) -> AbstractContextManager[Partial]:
        name = None
        if job.way is Lane.STREAM:
            name = partial_name(job.entry, self._sources.place(job.entry))
        return self._folder.partial() if name is None else self._folder.resumable_partial(name)

    def _is_same(self, entry: Entry, state: FileState, verdict: Verdict) -> bool:
        """Compare what stands there with what came; raise where it must not be replaced."""
        if state.regular:
            found = read_checked(entry, self._folder, self._stop.is_set)
            if found.content == verdict.content:
                return True
            means = f"expected content {verdict.content} (xxh3-128), got {found.content}"
            error = self._decider.differing(entry, means).error
        else:
            error = self._decider.judge(entry, state).error
        if error is not None:
            raise error
        return False

    def _receive(self, job: _Job, partial: Partial) -> Verdict:
        entry = job.entry
        if job.store is not None:
            return self._received(entry, job.store, PartialFile(partial))
        return write_content(
            entry, partial.descriptor, progress=functools.partial(self._moved, entry)
        )

    def _done(
        self,
        entry: Entry,
        action: Action,
        verdict: Verdict,
        state: FileState,
        source_state: SourceState | None = None,
        *,
        arrived: int = 0,
    ) -> None:
        self._breaker.succeeded()
        kept = action is Action.KEEP
        receipt = make_receipt(self._sources, entry, state, verdict, source_state, kept=kept)
        due = self._writer.add(receipt)
        self._ended(Finished(entry=entry, action=action, proof=verdict.proof, bytes=arrived))
        if due and self._scheduler:
            # Waiting for the disk must not hold up the loop.
            self._scheduler.later(self._writer.flush)

    @property
    def noted(self) -> bool:
        """Whether receipts were written."""
        return self._writer.written

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        busy = self._scheduler.close() if self._scheduler else False
        self._writer.flush()
        self._roots.close()
        self._small_files.close()
        self._decider.close()
        self._folder.close(busy=busy)
