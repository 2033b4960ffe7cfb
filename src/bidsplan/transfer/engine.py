"""Runs a plan's entries: decides, fetches, checks and commits them."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from bidsplan.destination.base import Discard, Stopped
from bidsplan.destination.sources import Sources
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    ExistingFileError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UsageError,
)
from bidsplan.events import Action, Decided, Finished, Skipped, Warned
from bidsplan.paths import printable
from bidsplan.plan.integrity import check_whole
from bidsplan.storage.objects import FetchRequest
from bidsplan.transfer.concurrency import ConcurrencyLimit
from bidsplan.transfer.decide import Decider, Decision
from bidsplan.transfer.download import is_digested, partial_key, receive, tag_is_digest
from bidsplan.transfer.jobs import Job, Lane, Pulled
from bidsplan.transfer.outcomes import Outcomes
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
    from bidsplan.transfer.options import Options
    from bidsplan.transfer.scheduler import Scheduler

_GLANCES = 256
"""The most entries to check in one call of `pull`, if none of them needs work."""

_LONG = 1 << 19
"""Files of at least these bytes are digested in a thread."""

_COMMITS = 10
"""Attempts to move a file to its path while another file appears and disappears there."""


class Engine:
    """One run of a plan's entries, as the `JobSource` of a scheduler.

    There is one final event for each entry: finished, failed or skipped.

    Parameters
    ----------
    base : str
        The directory that the plan's relative URLs are relative to.
    stopping : callable
        Called often; returns whether to stop.
    """

    def __init__(
        self,
        plan: Planned,
        destination: Destination,
        options: Options,
        access: Access,
        base: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._entries = iter(plan.entries)
        self._destination = destination
        self._jobs = access.jobs
        self._limit = ConcurrencyLimit(self._jobs, access.limit_rate)
        self._stop = destination.stop
        self._stopping = stopping
        self._checking = options.checking
        self._began: dict[str, float] = {}
        self._sources = Sources(plan.header.roots, access, base)
        self._outcomes = Outcomes(destination, self._sources)
        self._emit = self._outcomes.emit
        self._roots = Roots(plan.header.roots, access, base, self._emit)
        self.decider = Decider(plan, self._sources, destination, options.existing, options.whole)
        self._outcomes.times_wrong = self.decider.times_wrong
        self._cache = options.open_cache(destination, plan)
        self._ahead: list[Job] = []
        self._scheduler: Scheduler | None = None

    def run(self) -> Iterator[Event]:
        """Decide in the plan's order, fetch files, and yield events."""
        if opened := self._destination.opened():
            yield opened
        while (job := self.pull()) is Pulled.IDLE:
            yield from self._outcomes.drained()
        if not isinstance(job, Pulled):
            self._ahead.append(job)
            yield from self._worked()
        yield from self._outcomes.drained()
        if self._outcomes.breaker.why:
            yield Warned(problem=self._outcomes.breaker.problem())
        yield from self._limit.slowdowns.events()
        if self._stop.is_set():
            yield from self._outcomes.skipped()
            yield from (Skipped(entry=entry) for entry in self._entries)
        self._outcomes.flush()
        yield from self._outcomes.problems()
        if self._cache:
            yield from (Warned(problem=problem) for problem in self._cache.finish())
        yield from self._destination.finish()

    def _worked(self) -> Iterator[Event]:
        from bidsplan.transfer.scheduler import Scheduler  # not loaded by runs with nothing to do

        self._scheduler = Scheduler(self, self._limit, self._jobs)
        self._outcomes.later = self._scheduler.later
        pool = self._scheduler.ranges
        self._session = Session(self._checking, self._limit, pool, self._stop)
        for _ in self._scheduler.slices():
            yield from self._outcomes.drained()
        if self._stop.is_set():
            # Running jobs have some time to end, and are then reported.
            self._destination.shorten_timeouts()
            self._scheduler.close()

    def stopped(self) -> bool:
        """See `JobSource.stopped`."""
        if self._stopping():
            self._stop.set()
        return self._stop.is_set()

    def full(self) -> bool:
        """See `JobSource.full`."""
        return self._outcomes.full()

    def pull(self) -> Job | Pulled:
        """See `JobSource.pull`."""
        if self._ahead:
            return self._ahead.pop()
        if self.stopped():
            return Pulled.EXHAUSTED
        for _ in range(_GLANCES):
            # Entries are iterated only now, so that those that are never tried can be reported.
            entry = None if self._stop.is_set() else next(self._entries, None)
            if entry is None:
                return Pulled.EXHAUSTED
            job = self._decided(entry)
            if job is not None:
                self._outcomes.begin(entry)
                return job
        return Pulled.IDLE

    def _decided(self, entry: Entry) -> Job | None:
        """Decide about an entry, and return the job for it, if any."""
        try:
            decision = self.decider.check_metadata(entry)
        except DestinationError as error:
            self._outcomes.failed(entry, error)
            return None
        if decision.proof is not None:
            action, proof, recalled = decision.action, decision.proof, decision.recalled
            self._emit(Finished(entry=entry, action=action, proof=proof, recalled=recalled))
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
            self._outcomes.failed(entry, error)
            return None

    def _job(self, entry: Entry, decision: Decision) -> Job:
        if entry.content is not None:
            return Job(entry, decision, Lane.THREAD)
        if entry.size > self._destination.whole_up_to:
            return Job(entry, decision, Lane.STREAM)
        fresh = decision.final and decision.action in {Action.FETCH, Action.REPLACE}
        quick = fresh and self._destination.quick
        if quick and (self._may_be_cached(entry) or self._roots.async_store(entry, self._checking)):
            return Job(entry, decision, Lane.ASYNC)
        return Job(entry, decision, Lane.THREAD)

    def _may_be_cached(self, entry: Entry) -> bool:
        """Report quickly whether the content cache may have an entry's bytes."""
        return self._cache is not None and self._cache.may_have(entry)

    async def run_cached(self, job: Job) -> bool:
        """See `JobSource.run_cached`."""
        if self._cache is None or self._scheduler is None or not self._may_be_cached(job.entry):
            return False
        try:
            found = await self._scheduler.aside(self._cache.read_small, job.entry)
        except Stopped:
            return False
        return found is not None and self._write_small(job, *found, cached=True)

    async def run_async(self, job: Job) -> bool:
        """See `JobSource.run_async`."""
        entry, checking = job.entry, self._checking
        # A second attempt, here or in a thread, has the rest of the entry's time.
        began = self._began.pop(entry.path, None) or time.monotonic()
        digested = is_digested(entry, checking)
        request = FetchRequest(entry.key, entry.size, entry.etag, entry.version, digested)
        try:
            # The store is not open yet if the cache seemed to have the bytes.
            store = self._roots.async_store(entry, checking)
            if store is None:
                return False
            whole = await store.whole(request)
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
        self._limit.slowdowns.add_duration(entry.path, time.monotonic() - began)
        done = self._write_small(job, data, verdict)
        if done and self._cache and self._scheduler:
            cache, scheduler = self._cache, self._scheduler
            if not cache.queue.put(entry, verdict, data, scheduler.later):
                await scheduler.aside(cache.add_small, entry, verdict, data)
        return done

    def _write_small(
        self, job: Job, data: Buffer, verdict: Verdict, *, cached: bool = False
    ) -> bool:
        entry, action = job.entry, job.decision.action
        try:
            self.decider.confirm(entry, action)
            write = self._destination.write_small
            state = write(entry.path, data, verdict.content, replace=action is Action.REPLACE)
        except DestinationError as error:
            self._outcomes.failed(entry, error)
            return True
        if state is None:
            return False
        arrived, proof = 0 if cached else entry.size, verdict.proof
        done = Finished(entry=entry, action=action, proof=proof, bytes=arrived, cached=cached)
        self._outcomes.done(done, verdict, state)
        return True

    def run_in_thread(self, job: Job) -> None:
        """See `JobSource.run_in_thread`."""
        try:
            if self._stop.is_set():
                raise Stopped
            self._settle(job)
        except Stopped:
            self._outcomes.ended(Skipped(entry=job.entry))
        except UsageError:
            raise
        except BidsplanError as error:
            self._outcomes.failed(job.entry, error)

    def _settle(self, job: Job) -> None:
        """Make the remaining decisions about an entry, and carry them out."""
        entry, decision = job.entry, job.decision
        before = None if decision.final else self._sources.state(entry)
        if not decision.final:
            decision = self._read(job)
        if decision.error is not None:
            raise decision.error
        if decision.verdict is not None and decision.state is not None:
            source_state = self._sources.unchanged(entry, before)
            self._kept(entry, decision.verdict, decision.state, source_state)
            return
        if entry.content is None and not self._may_be_cached(entry):
            # Nothing is written if the source can't be opened.
            self._roots.store(entry.root)
        self._roots.renewing(entry, lambda: self._obtain(job, decision))

    def _read(self, job: Job) -> Decision:
        """Decide by reading the existing file."""
        entry, state = job.entry, job.decision.state
        if not self._destination.compares_first:
            # The file may have changed since it was inspected.
            state = self._destination.state(entry.path)
        decision = self.decider.check_content(entry, state, self._stop.is_set)
        if decision.etag_may_not_be_md5 and not self._roots.renewing(
            entry, lambda: tag_is_digest(entry, self._roots.store(entry.root), self._checking)
        ):
            decision = Decision(Action.COMPARE, state=state)
        self._emit(Decided(entry=entry, action=decision.action))
        return decision

    def _obtain(self, job: Job, decision: Decision) -> None:
        """Write an entry's file, or compare the existing one with its source."""
        entry, action, state = job.entry, decision.action, decision.state
        if action is Action.COMPARE and self._destination.compares_first and state is not None:
            before = self._sources.state(entry)
            verdict, _ = self._receive(job, Discard())
            if self.decider.is_same(entry, state, verdict, self._stop.is_set):
                source_state = self._sources.unchanged(entry, before)
                self._kept(entry, verdict, state, source_state)
                return
            action = Action.REPLACE
        self._write(job, action)

    def _write(self, job: Job, action: Action) -> None:
        entry, key = job.entry, None
        self._outcomes.breaker.prepare(self._destination)
        before = self._sources.state(entry)
        if job.lane is Lane.STREAM:
            key = partial_key(entry, self._sources.place(entry))
        replace = action is Action.REPLACE
        with self._destination.writer(entry.path, entry.size, replace=replace, key=key) as writer:
            verdict, cached = self._receive(job, writer)
            source_state = self._sources.unchanged(entry, before)
            action, state = self._commit(entry, writer, verdict, action)
        done = Finished(entry=entry, action=action, proof=verdict.proof, cached=cached)
        self._outcomes.done(done, verdict, state, source_state)

    def _kept(
        self, entry: Entry, verdict: Verdict, state: FileState, source_state: SourceState | None
    ) -> None:
        done = Finished(entry=entry, action=Action.KEEP, proof=verdict.proof)
        self._outcomes.done(done, verdict, state, source_state)

    def _receive(self, job: Job, writer: Writer) -> tuple[Verdict, bool]:
        """Write an entry's bytes; returns also whether they came from the cache."""
        if self._cache is None or job.entry.content is not None:
            return self._received(job, writer), False
        copied = functools.partial(self._outcomes.copied, job.entry)
        verdict = self._cache.fill(job.entry, writer, copied)
        if verdict is not None:
            return verdict, True
        verdict = self._received(job, writer)
        self._cache.add_file(job.entry, verdict, writer)
        return verdict, False

    def _received(self, job: Job, writer: Writer) -> Verdict:
        entry, progress = job.entry, functools.partial(self._outcomes.moved, job.entry)
        if entry.content is None:
            began = self._began.pop(entry.path, None)
            store = self._roots.store(entry.root)
            return receive(entry, store, writer, self._session, progress, began)
        data = entry.content.encode()
        writer.write(data)
        progress(len(data))
        return check_whole(entry, data)

    def _commit(
        self, entry: Entry, writer: Writer, verdict: Verdict, action: Action
    ) -> tuple[Action, FileState]:
        """Commit a file to its path, after comparing any file that appeared there."""
        for _ in range(_COMMITS):
            self.decider.confirm(entry, action)
            replace = action is Action.REPLACE
            committed = writer.commit(verdict.content, replace=replace)
            if committed is not None:
                return action, committed
            state = self._destination.state(entry.path)
            if state is None:
                # The file that appeared has disappeared again.
                continue
            if self.decider.is_same(entry, state, verdict, self._stop.is_set):
                return Action.KEEP, state
            action = Action.REPLACE
        why = "another process creates and removes this file; run it again"
        raise ExistingFileError(f"{printable(entry.path)}: {why}")

    def close(self) -> None:
        """Stop unfinished work, and write receipts."""
        self._stop.set()
        busy = self._scheduler is not None
        try:
            self._destination.shorten_timeouts()
            busy = self._scheduler.close() if self._scheduler else False
            if self._cache:
                self._cache.close(busy=busy)
            self._outcomes.flush()
            self._roots.close()
        finally:
            self._destination.close(busy=busy)
