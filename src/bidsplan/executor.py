"""Doing what a plan needs, many entries at a time."""

from __future__ import annotations

import functools
from collections import deque
from threading import Event as Flag
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.clashing import Clashes
from bidsplan.decisions import Decider, Decision
from bidsplan.destination import destination_error
from bidsplan.digests import Checking, Stopped, check_whole, read_checked, strongest
from bidsplan.errors import (
    BidsplanError,
    CredentialsError,
    DestinationError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UsageError,
)
from bidsplan.events import (
    Action,
    Decided,
    Failed,
    Finished,
    Progressed,
    Proof,
    Resumed,
    Skipped,
    Warned,
)
from bidsplan.halting import Halt
from bidsplan.keys import printable
from bidsplan.landing import Landing
from bidsplan.receipts import Marks, ReceiptWriter, make_receipt, no_receipts
from bidsplan.roots import Roots
from bidsplan.transfer.pace import Pace
from bidsplan.transfer.streams import (
    asks_first,
    partial_name,
    receive,
    tag_is_digest,
    write_content,
)
from bidsplan.transfer.targets import PartialFile
from bidsplan.work import Pulled, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from bidsplan.crew import Crew
    from bidsplan.decisions import Existing
    from bidsplan.destination import Destination, FileState
    from bidsplan.digests import Verdict
    from bidsplan.events import Event
    from bidsplan.partials import Partial
    from bidsplan.plan import Entry, Planned
    from bidsplan.storage import Access, Store

__all__ = ["Executor"]

_SMALL = 4 << 20
"""Bytes up to which an object is read whole, with hundreds of others at a time.

Larger ones cost less processor time when they are streamed.
"""

_LONG = 1 << 19
"""Bytes whose digest takes so long that it is made in a thread."""

_DIGESTS = frozenset({Proof.SHA256, Proof.MD5, Proof.ETAG_MD5})
"""What shows that bytes are the planned ones, whichever object they came from."""

_GLANCES = 256
"""Entries that are looked at in one go, if there is nothing to do for them."""

_MUCH = 512
"""Events that are told together."""


class _Job(NamedTuple):
    """What one entry needs."""

    entry: Entry
    decision: Decision
    store: Store | None
    way: Way

    @property
    def size(self) -> int:
        return self.entry.size


class Executor:
    """One materialisation into a directory.

    Parameters
    ----------
    plan : Plan
    folder : Destination
    existing : Existing
    checking : Checking
    access : Access
    base : str
        The directory that the plan's relative URLs are relative to.
    stopping : callable
        Asked often whether to stop.
    """

    def __init__(
        self,
        plan: Planned,
        folder: Destination,
        existing: Existing,
        checking: Checking,
        access: Access,
        base: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._entries = iter(plan.entries)
        self._folder = folder
        self._checking = checking
        self._jobs = access.jobs
        self._pace = Pace(self._jobs)
        self._writer = ReceiptWriter(folder)
        self._landing = Landing(folder)
        self._clashes = Clashes(plan, folder)
        self._decider = Decider(plan, folder, Marks(folder), existing)
        self._halt = Halt()
        self._stop = Flag()
        self._stopping = stopping
        self._under_way: dict[str, Entry] = {}
        self._events: deque[Event] = deque()
        self._tell = self._events.append
        self._roots = Roots(plan.header.roots, access, base, self._tell)
        self._ahead: list[_Job] = []
        self._crew: Crew[_Job] | None = None

    def run(self) -> Iterator[Event]:
        """Decide in the plan's order, do what is to be done, and tell what happens.

        Yields
        ------
        Event
        """
        while (job := self.pull()) is Pulled.LATER:
            yield from self._drained()
        if job is not Pulled.NOTHING:
            self._ahead.append(job)
            yield from self._worked()
        yield from self._drained()
        if self._halt.why:
            yield Warned(problem=self._halt.problem())
        yield from self._not_tried()
        self._writer.flush()
        if self._writer.trouble:
            yield Warned(problem=no_receipts(self._writer.trouble))

    def _worked(self) -> Iterator[Event]:
        from bidsplan.crew import Crew  # noqa: PLC0415 - a no-op run does without asyncio

        self._crew = Crew(self, self._pace, self._jobs)
        for _ in self._crew.slices():
            yield from self._drained()
        if self._stop.is_set():
            # What ends in time is told as it ended.
            self._crew.close()

    def _not_tried(self) -> Iterator[Event]:
        """Tell what is left after the run had to stop."""
        if self._stop.is_set():
            yield from (Skipped(entry=entry) for entry in list(self._under_way.values()))
            yield from (Skipped(entry=entry) for entry in self._entries)

    def _drained(self) -> Iterator[Event]:
        events = self._events
        while events:
            yield events.popleft()

    def stopped(self) -> bool:
        """See `Work.stopped`."""
        if self._stopping():
            self._stop.set()
        return self._stop.is_set()

    def full(self) -> bool:
        """See `Work.full`."""
        return len(self._events) >= _MUCH

    def pull(self) -> _Job | Pulled:
        """See `Work.pull`."""
        if self._ahead:
            return self._ahead.pop()
        if self.stopped():
            return Pulled.NOTHING
        for _ in range(_GLANCES):
            # Asked for only now, so that those that are never tried can be told.
            entry = None if self._stop.is_set() else next(self._entries, None)
            if entry is None:
                return Pulled.NOTHING
            job = self._decided(entry)
            if job is not None:
                self._under_way[entry.path] = entry
                return job
        return Pulled.LATER

    def _decided(self, entry: Entry) -> _Job | None:
        """Decide for an entry; give what is to be done for it, if anything."""
        try:
            decision = self._decider.glance(entry)
            if decision.action is Action.KEEP and decision.proof is not None:
                self._tell(Finished(entry=entry, action=Action.KEEP, proof=decision.proof))
                return None
            if decision.final:
                self._tell(Decided(entry=entry, action=decision.action))
            if decision.error is not None:
                raise decision.error
            self._clashes.refuse(entry)
            return self._job(entry, decision)
        except BidsplanError as error:
            if isinstance(error, UsageError):
                raise
            self._failed(entry, error)
            return None

    def _job(self, entry: Entry, decision: Decision) -> _Job:
        if entry.content is not None:
            return _Job(entry, decision, None, Way.THREAD)
        store = self._roots.store(entry.root)
        if entry.size > _SMALL:
            return _Job(entry, decision, store, Way.STREAM)
        fresh = decision.final and decision.action in {Action.FETCH, Action.REPLACE}
        quick = fresh and store.asynchronous and not asks_first(entry, store, self._checking)
        return _Job(entry, decision, store, Way.QUICK if quick else Way.THREAD)

    async def quickly(self, job: _Job) -> bool:
        """See `Work.quickly`."""
        entry = job.entry
        assert job.store is not None  # noqa: S101 - for the type checker
        try:
            whole = await job.store.whole(
                entry.key,
                size=entry.size,
                etag=entry.etag,
                version=entry.version,
                digested=self._checking is Checking.FULL and strongest(entry) in _DIGESTS,
            )
        except StorageError as error:
            if isinstance(error, ThrottledError | UnreachableError):
                self._pace.refused()
            return False
        if entry.version is None and entry.etag and whole.etag not in {None, entry.etag}:
            return False
        data = whole.data
        if entry.size > _LONG and self._crew:
            check = functools.partial(check_whole, entry, data, self._checking)
            verdict = await self._crew.aside(check)
        else:
            verdict = check_whole(entry, data, self._checking)
        if not verdict.holds or self._stop.is_set():
            return False
        self._pace.succeeded()
        return self._place(job, data, verdict)

    def _place(self, job: _Job, data: Buffer, verdict: Verdict) -> bool:
        entry, action = job.entry, job.decision.action
        try:
            state = self._landing.place(entry.path, data, replace=action is Action.REPLACE)
        except DestinationError as error:
            self._failed(entry, error)
            return True
        if state is None:
            return False
        self._done(entry, action, verdict, state, arrived=entry.size)
        return True

    def slowly(self, job: _Job) -> None:
        """See `Work.slowly`."""
        entry = job.entry
        try:
            if self._stop.is_set():
                raise Stopped
            self._bring(job)
        except Stopped:
            self._ended(Skipped(entry=entry))
        except UsageError:
            # Not this entry's alone: it ends the work.
            raise
        except BidsplanError as error:
            self._failed(entry, error)

    def _failed(self, entry: Entry, error: BidsplanError) -> None:
        self._ended(Failed(entry=entry, error=error))
        if self._halt.failed(error):
            self._stop.set()

    def _bring(self, job: _Job) -> None:
        entry, decision = job.entry, job.decision
        if not decision.final:
            decision = self._examined(job)
            self._tell(Decided(entry=entry, action=decision.action))
        if decision.error is not None:
            raise decision.error
        if decision.verdict is not None and decision.state is not None:
            self._done(entry, Action.KEEP, decision.verdict, decision.state)
            return
        seen = self._roots.renewals(entry.root)
        try:
            self._fetch(job, decision.action)
        except CredentialsError:
            if not self._roots.renew(entry.root, seen):
                raise
            self._fetch(job, decision.action)

    def _examined(self, job: _Job) -> Decision:
        decision = self._decider.examine(job.entry, self._stop.is_set)
        if decision.doubtful and job.store and not tag_is_digest(job.entry, job.store):
            return Decision(Action.COMPARE)
        return decision

    def _fetch(self, job: _Job, action: Action) -> None:
        entry = job.entry
        with self._partial(job) as partial:
            try:
                verdict = self._receive(job, partial)
            except BidsplanError:
                raise
            except OSError as error:
                raise destination_error(error, printable(entry.path)) from error
            # Looked at again, since others may have put something there in the meantime.
            state = self._folder.state(entry.path)
            if state is not None and action is not Action.REPLACE:
                if self._is_same(entry, state, verdict):
                    self._done(entry, Action.KEEP, verdict, state)
                    return
                action = Action.REPLACE
            landed = self._folder.land(partial, entry.path)
        self._done(entry, action, verdict, landed)

    def _partial(self, job: _Job) -> AbstractContextManager[Partial]:
        name = None
        if job.way is Way.STREAM:
            name = partial_name(job.entry, self._plan.header.roots[job.entry.root].url)
        return self._folder.partial() if name is None else self._folder.lasting_partial(name)

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
        def progress(number: int, *, resumed: bool = False) -> None:
            if number:
                event = Resumed if resumed else Progressed
                self._tell(event(entry=job.entry, bytes=number))

        if job.store is None:
            return write_content(job.entry, partial.descriptor, progress=progress)
        return receive(
            job.entry,
            job.store,
            PartialFile(partial),
            checking=self._checking,
            pace=self._pace,
            progress=progress,
            stop=self._stop,
        )

    def _done(
        self,
        entry: Entry,
        action: Action,
        verdict: Verdict,
        state: FileState,
        *,
        arrived: int = 0,
    ) -> None:
        self._halt.succeeded()
        due = self._writer.add(make_receipt(self._plan, entry, state, verdict))
        self._ended(Finished(entry=entry, action=action, proof=verdict.proof, bytes=arrived))
        if due and self._crew:
            # Waiting for the disk must not hold up the loop.
            self._crew.later(self._writer.flush)

    def _ended(self, event: Finished | Failed | Skipped) -> None:
        """Tell what became of an entry, which is told once."""
        self._under_way.pop(event.entry.path, None)
        self._tell(event)

    @property
    def noted(self) -> bool:
        """Whether receipts were written."""
        return self._writer.written

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        busy = self._crew.close() if self._crew else False
        self._writer.flush()
        self._roots.close()
        self._landing.close()
        self._decider.close()
        self._folder.close(busy=busy)
