"""Runs a plan's entries: decides, fetches, checks and commits many at a time."""

from __future__ import annotations

import functools
import time
from collections import deque
from typing import TYPE_CHECKING

from bidsplan.destination.base import Discard, Stopped
from bidsplan.destination.receipts import ReceiptWriter, make_receipt
from bidsplan.destination.sources import Sources
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    ExistingFileError,
    RootMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UsageError,
)
from bidsplan.events import Action, Decided, Failed, Finished, Progressed, Resumed, Skipped, Warned
from bidsplan.paths import printable
from bidsplan.plan.integrity import VerifyMode, check_whole
from bidsplan.storage.objects import FetchRequest
from bidsplan.transfer.circuit_breaker import CircuitBreaker
from bidsplan.transfer.concurrency import ConcurrencyLimit
from bidsplan.transfer.decide import Decider, Decision
from bidsplan.transfer.download import asks_first, is_digested, partial_key, receive, tag_is_digest
from bidsplan.transfer.jobs import Job, Lane, Pulled
from bidsplan.transfer.roots import Roots
from bidsplan.transfer.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from bidsplan.destination.base import Destination, FileState, Writer
    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict
    from bidsplan.storage import Access
    from bidsplan.storage.file_state import SourceState
    from bidsplan.transfer.decide import Existing
    from bidsplan.transfer.scheduler import Scheduler

_GLANCES = 256
"""Entries that are looked at in one go, if there is nothing to do for them."""

_MUCH = 512
"""Events that are emitted together."""

_LONG = 1 << 19
"""Bytes whose digest takes so long that it is made in a thread."""

_COMMITS = 10
"""Tries to give a file its path while another one is there and then is not."""


class Engine:
    """One run of a plan's entries into a destination, as the `JobSource` of a scheduler.

    Each entry ends in one event: it is finished, failed or skipped.

    Parameters
    ----------
    base : str
        The directory that the plan's relative URLs are relative to.
    stopping : callable
        Asked often whether to stop.
    """

    def __init__(
        self,
        plan: Planned,
        destination: Destination,
        existing: Existing,
        checking: VerifyMode,
        access: Access,
        base: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._entries = iter(plan.entries)
        self._destination = destination
        self._jobs = access.jobs
        self._limit = ConcurrencyLimit(self._jobs, access.limit_rate)
        self._breaker = CircuitBreaker()
        self._stop = destination.stop
        self._stopping = stopping
        self._checking = checking
        self._under_way: dict[str, Entry] = {}
        self._began: dict[str, float] = {}
        self._missing_roots: dict[int, Entry] = {}
        self._events: deque[Event] = deque()
        self._emit = self._events.append
        self._roots = Roots(plan.header.roots, access, base, self._emit)
        self._sources = Sources(plan.header.roots, access, base)
        self.decider = Decider(plan, self._sources, destination, existing)
        self._receipts = ReceiptWriter(destination.write_receipts)
        self._ahead: list[Job] = []
        self._scheduler: Scheduler | None = None

    def run(self) -> Iterator[Event]:
        """Decide in the plan's order, fetch what is needed, and yield what happens."""
        if opened := self._destination.opened():
            yield opened
        while (job := self.pull()) is Pulled.IDLE:
            yield from self._drained()
        if not isinstance(job, Pulled):
            self._ahead.append(job)
            yield from self._worked()
        yield from self._drained()
        if self._breaker.why:
            yield Warned(problem=self._breaker.problem())
        yield from self._limit.slowdowns.events()
        if self._stop.is_set():
            yield from (Skipped(entry=entry) for entry in list(self._under_way.values()))
            yield from (Skipped(entry=entry) for entry in self._entries)
        self._receipts.flush()
        if problem := self._receipts.problem():
            yield Warned(problem=problem)
        yield from self._destination.finish()

    def _worked(self) -> Iterator[Event]:
        from bidsplan.transfer.scheduler import Scheduler  # a no-op run does without asyncio

        self._scheduler = Scheduler(self, self._limit, self._jobs)
        pool = self._scheduler.ranges
        self._session = Session(self._checking, self._limit, pool, self._stop)
        for _ in self._scheduler.slices():
            yield from self._drained()
        if self._stop.is_set():
            # What is under way has some time to end, and to be reported.
            self._destination.shorten_timeouts()
            self._scheduler.close()

    def _drained(self) -> Iterator[Event]:
        while self._events:
            yield self._events.popleft()

    def stopped(self) -> bool:
        """See `JobSource.stopped`."""
        if self._stopping():
            self._stop.set()
        return self._stop.is_set()

    def full(self) -> bool:
        """See `JobSource.full`."""
        return len(self._events) >= _MUCH

    def pull(self) -> Job | Pulled:
        """See `JobSource.pull`."""
        if self._ahead:
            return self._ahead.pop()
        if self.stopped():
            return Pulled.EXHAUSTED
        for _ in range(_GLANCES):
            # Asked for only now, so that those that are never tried can be reported.
            entry = None if self._stop.is_set() else next(self._entries, None)
            if entry is None:
                return Pulled.EXHAUSTED
            job = self._decided(entry)
            if job is not None:
                self._under_way[entry.path] = entry
                return job
        return Pulled.IDLE

    def _decided(self, entry: Entry) -> Job | None:
        """Decide for an entry; returns what is to be done for it, if anything."""
        try:
            decision = self.decider.check_metadata(entry)
        except DestinationError as error:
            self._failed(entry, error)
            return None
        if decision.proof is not None:
            self._emit(Finished(entry=entry, action=decision.action, proof=decision.proof))
            return None
        if decision.error is None:
            self.decider.admit()
        if decision.final:
            self._emit(Decided(entry=entry, action=decision.action))
        try:
            if decision.error is not None:
                raise decision.error
            self.decider.refuse_clash(entry)
            return self._job(entry, decision)
        except UsageError:
            raise
        except BidsplanError as error:
            self._failed(entry, error)
            return None

    def _job(self, entry: Entry, decision: Decision) -> Job:
        if entry.content is not None:
            return Job(entry, decision, None, Lane.THREAD)
        store = self._roots.store(entry.root)
        if entry.size > self._destination.whole_up_to:
            return Job(entry, decision, store, Lane.STREAM)
        fresh = decision.final and decision.action in {Action.FETCH, Action.REPLACE}
        quick = fresh and self._destination.quick and store.abilities.async_reads
        if quick and not asks_first(entry, store, self._checking):
            return Job(entry, decision, store, Lane.ASYNC)
        return Job(entry, decision, store, Lane.THREAD)

    async def run_async(self, job: Job) -> bool:
        """See `JobSource.run_async`."""
        entry, checking = job.entry, self._checking
        assert job.store is not None  # noqa: S101 - for the type checker
        # A second try, here or in a thread, has what is left of the entry's time.
        began = self._began.pop(entry.path, None) or time.monotonic()
        digested = is_digested(entry, checking)
        request = FetchRequest(entry.key, entry.size, entry.etag, entry.version, digested)
        try:
            whole = await job.store.whole(request)
        except StorageError as error:
            if isinstance(error, ThrottledError | UnreachableError):
                self._limit.failed(error)
            self._began[entry.path] = began
            if isinstance(error, ThrottledError) and self._limit.pace.limited:
                raise
            return False
        if entry.version is None and entry.etag and whole.etag not in {None, entry.etag}:
            return False
        data = whole.data
        if entry.size > _LONG and self._scheduler:
            verdict = await self._scheduler.aside(check_whole, entry, data, checking)
        else:
            verdict = check_whole(entry, data, checking)
        if not verdict.holds or self._stop.is_set():
            return False
        self._limit.succeeded()
        self._limit.slowdowns.took(entry.path, time.monotonic() - began)
        return self._write_small(job, data, verdict)

    def _write_small(self, job: Job, data: Buffer, verdict: Verdict) -> bool:
        entry, action = job.entry, job.decision.action
        try:
            write = self._destination.write_small
            state = write(entry.path, data, verdict.content, replace=action is Action.REPLACE)
        except DestinationError as error:
            self._failed(entry, error)
            return True
        if state is None:
            return False
        self._done(entry, action, verdict, state, arrived=entry.size)
        return True

    def run_in_thread(self, job: Job) -> None:
        """See `JobSource.run_in_thread`."""
        try:
            if self._stop.is_set():
                raise Stopped
            self._settle(job)
        except Stopped:
            self._ended(Skipped(entry=job.entry))
        except UsageError:
            raise
        except BidsplanError as error:
            self._failed(job.entry, error)

    def _settle(self, job: Job) -> None:
        """Find out what is left to decide, and do it."""
        entry, decision = job.entry, job.decision
        before = None if decision.final else self._sources.state(entry)
        if not decision.final:
            decision = self._read(job)
        if decision.error is not None:
            raise decision.error
        if decision.verdict is not None and decision.state is not None:
            source_state = self._sources.unchanged(entry, before)
            self._done(entry, Action.KEEP, decision.verdict, decision.state, source_state)
            return
        self._roots.renewing(entry, lambda: self._obtain(job, decision))

    def _read(self, job: Job) -> Decision:
        """Decide by the content of the file that is there."""
        entry, state, store = job.entry, job.decision.state, job.store
        if not self._destination.compares_first:
            # The file may have changed since it was inspected.
            state = self._destination.state(entry.path)
        decision = self.decider.check_content(entry, state, self._stop.is_set)
        if decision.etag_may_not_be_md5 and not self._roots.renewing(
            entry, lambda: store is None or tag_is_digest(entry, store, self._session.checking)
        ):
            decision = Decision(Action.COMPARE, state=state)
        self._emit(Decided(entry=entry, action=decision.action))
        return decision

    def _obtain(self, job: Job, decision: Decision) -> None:
        """Write an entry's file, or compare the one that is there with its source."""
        entry, action, state = job.entry, decision.action, decision.state
        if action is Action.COMPARE and self._destination.compares_first and state is not None:
            before = self._sources.state(entry)
            verdict = self._receive(job, Discard())
            if self.decider.is_same(entry, state, verdict, self._stop.is_set):
                source_state = self._sources.unchanged(entry, before)
                self._done(entry, Action.KEEP, verdict, state, source_state)
                return
            action = Action.REPLACE
        self._write(job, action)

    def _write(self, job: Job, action: Action) -> None:
        entry, key = job.entry, None
        self._breaker.prepare(self._destination)
        before = self._sources.state(entry)
        if job.lane is Lane.STREAM:
            key = partial_key(entry, self._sources.place(entry))
        replace = action is Action.REPLACE
        with self._destination.writer(entry.path, entry.size, replace=replace, key=key) as writer:
            verdict = self._receive(job, writer)
            source_state = self._sources.unchanged(entry, before)
            action, state = self._commit(entry, writer, verdict, action)
        self._done(entry, action, verdict, state, source_state)

    def _receive(self, job: Job, writer: Writer) -> Verdict:
        entry, progress = job.entry, functools.partial(self._moved, job.entry)
        if job.store is not None:
            began = self._began.pop(entry.path, None)
            return receive(entry, job.store, writer, self._session, progress, began)
        data = (entry.content or "").encode()
        writer.write(data)
        progress(len(data))
        return check_whole(entry, data)

    def _commit(
        self, entry: Entry, writer: Writer, verdict: Verdict, action: Action
    ) -> tuple[Action, FileState]:
        """Commit a file to its path; one that appeared there is compared first."""
        for _ in range(_COMMITS):
            replace = action is Action.REPLACE
            committed = writer.commit(verdict.content, replace=replace)
            if committed is not None:
                return action, committed
            state = self._destination.state(entry.path)
            if state is None:
                # It is gone again.
                continue
            if self.decider.is_same(entry, state, verdict, self._stop.is_set):
                return Action.KEEP, state
            action = Action.REPLACE
        why = "another process creates and removes this file; run it again"
        raise ExistingFileError(f"{printable(entry.path)}: {why}")

    def _moved(self, entry: Entry, number: int, *, resumed: bool = False) -> None:
        """Report that bytes have come."""
        if number:
            event = Resumed if resumed else Progressed
            self._emit(event(entry=entry, bytes=number))

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
        due, identity = False, state.identity
        if identity is not None:
            source, kept = self._sources.fingerprint(entry), action is Action.KEEP
            receipt = make_receipt(
                entry.path, state.size, identity, source, verdict, source_state, kept=kept
            )
            due = self._receipts.add(receipt)
        self._ended(Finished(entry=entry, action=action, proof=verdict.proof, bytes=arrived))
        if due and self._scheduler:
            # Waiting for the destination must not hold up the loop.
            self._scheduler.later(self._receipts.flush)

    def _failed(self, entry: Entry, error: BidsplanError) -> None:
        missing = isinstance(error, RootMissingError)
        if missing and self._missing_roots.setdefault(entry.root, entry) is not entry:
            # Reported once for all of a root's files.
            self._ended(Skipped(entry=entry))
            return
        self._ended(Failed(entry=entry, error=error))
        if self._breaker.failed(error):
            self._stop.set()

    def _ended(self, event: Finished | Failed | Skipped) -> None:
        """Report what became of an entry, once."""
        self._under_way.pop(event.entry.path, None)
        self._emit(event)

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        busy = self._scheduler is not None
        try:
            self._destination.shorten_timeouts()
            busy = self._scheduler.close() if self._scheduler else False
            self._receipts.flush()
            self._roots.close()
        finally:
            self._destination.close(busy=busy)
