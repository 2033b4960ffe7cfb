"""Executing a plan: what goes on the same way wherever its files go."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import deque
from threading import Event as Flag
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from bidsplan.destination.reading import Stopped
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, CredentialsError, RootMissingError, UsageError
from bidsplan.events import Action, Decided, Failed, Finished, Progressed, Resumed, Skipped, Warned
from bidsplan.transfer.circuit_breaker import CircuitBreaker
from bidsplan.transfer.concurrency import ConcurrencyLimit
from bidsplan.transfer.decide import Decision
from bidsplan.transfer.download import receive, tag_is_digest
from bidsplan.transfer.jobs import Job, Pulled
from bidsplan.transfer.roots import Roots
from bidsplan.transfer.slowdowns import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict, VerifyMode
    from bidsplan.storage import Access, Store
    from bidsplan.transfer.scheduler import Scheduler
    from bidsplan.transfer.targets import Target


_GLANCES = 256
"""Entries that are looked at in one go, if there is nothing to do for them."""

_MUCH = 512
"""Events that are told together."""


class EntryJob(Job, Protocol):
    """What one entry needs."""

    @property
    def entry(self) -> Entry: ...  # noqa: D102 - see the class


J = TypeVar("J", bound=EntryJob)


class Execution(ABC, Generic[J]):
    """One execution of a plan, as the `JobSource` of a crew.

    Parameters
    ----------
    base : str
        The directory that the plan's relative URLs are relative to.
    stopping : callable
        Asked often whether to stop.

    Notes
    -----
    Each entry is told once: as finished, failed or skipped.
    """

    def __init__(
        self,
        plan: Planned,
        checking: VerifyMode,
        access: Access,
        base: str,
        stopping: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._entries = iter(plan.entries)
        self._checking = checking
        self._jobs = access.jobs
        self._limit = ConcurrencyLimit(self._jobs)
        self._breaker = CircuitBreaker()
        self._stop = Flag()
        self._stopping = stopping
        self._under_way: dict[str, Entry] = {}
        self._began: dict[str, float] = {}
        self._missing_roots: dict[int, Entry] = {}
        self._events: deque[Event] = deque()
        self._tell = self._events.append
        self._roots = Roots(plan.header.roots, access, base, self._tell)
        self._sources = Sources(plan.header.roots, access, base)
        self._ahead: list[J] = []
        self._scheduler: Scheduler[J] | None = None

    @abstractmethod
    def _decided(self, entry: Entry) -> J | None:
        """Decide for an entry; give what is to be done for it, if anything."""

    @abstractmethod
    def _bring(self, job: J) -> None:
        """Do a job; raises where it can't be done."""

    @abstractmethod
    def _leave_receipts(self) -> Iterator[Event]:
        """Write the receipts that are left, and tell what could not be written."""

    def _let_end(self) -> None:
        """Give what is under way some time to end, and be told, after the work was stopped."""

    async def run_async(self, job: J) -> bool:
        """See `JobSource.run_async`."""
        return False

    def run(self) -> Iterator[Event]:
        """Decide in the plan's order, do what is to be done, and tell what happens."""
        while (job := self.pull()) is Pulled.IDLE:
            yield from self._drained()
        if not isinstance(job, Pulled):
            self._ahead.append(job)
            yield from self._worked()
        yield from self._drained()
        if self._breaker.why:
            yield Warned(problem=self._breaker.problem())
        slowed = self._limit.slowdowns.event()
        if slowed:
            yield slowed
            yield Warned(problem=problem_of(slowed))
        yield from self._not_tried()
        yield from self._leave_receipts()

    def _worked(self) -> Iterator[Event]:
        from bidsplan.transfer.scheduler import Scheduler  # a no-op run does without asyncio

        self._scheduler = Scheduler(self, self._limit, self._jobs)
        for _ in self._scheduler.slices():
            yield from self._drained()
        if self._stop.is_set():
            self._let_end()

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
        """See `JobSource.stopped`."""
        if self._stopping():
            self._stop.set()
        return self._stop.is_set()

    def full(self) -> bool:
        """See `JobSource.full`."""
        return len(self._events) >= _MUCH

    def pull(self) -> J | Pulled:
        """See `JobSource.pull`."""
        if self._ahead:
            return self._ahead.pop()
        if self.stopped():
            return Pulled.EXHAUSTED
        for _ in range(_GLANCES):
            # Asked for only now, so that those that are never tried can be told.
            entry = None if self._stop.is_set() else next(self._entries, None)
            if entry is None:
                return Pulled.EXHAUSTED
            job = self._decided(entry)
            if job is not None:
                self._under_way[entry.path] = entry
                return job
        return Pulled.IDLE

    def run_in_thread(self, job: J) -> None:
        """See `JobSource.run_in_thread`."""
        try:
            if self._stop.is_set():
                raise Stopped
            self._bring(job)
        except Stopped:
            self._ended(Skipped(entry=job.entry))
        except UsageError:
            # Not this entry's alone: it ends the work.
            raise
        except BidsplanError as error:
            self._failed(job.entry, error)

    def _told(self, entry: Entry, decision: Decision) -> bool:
        """Tell a decision, and whether it leaves nothing to do; raises where it is a refusal."""
        if decision.action is Action.KEEP and decision.proof is not None:
            self._tell(Finished(entry=entry, action=Action.KEEP, proof=decision.proof))
            return True
        if decision.final:
            self._tell(Decided(entry=entry, action=decision.action))
        if decision.error is not None:
            raise decision.error
        return False

    def _read(self, entry: Entry, store: Store | None, decision: Decision) -> Decision:
        """Tell what reading the file that stands there has decided, and give what holds."""
        if decision.etag_may_not_be_md5 and store and not tag_is_digest(entry, store):
            decision = Decision(Action.COMPARE)
        self._tell(Decided(entry=entry, action=decision.action))
        return decision

    def _renewing(self, entry: Entry, work: Callable[[], None]) -> None:
        """Do something, and once more where credentials were refused and there are others now."""
        seen = self._roots.renewals(entry.root)
        try:
            work()
        except CredentialsError:
            if not self._roots.renew(entry.root, seen):
                raise
            work()

    def _received(self, entry: Entry, store: Store, target: Target) -> Verdict:
        return receive(
            entry,
            store,
            target,
            checking=self._checking,
            limit=self._limit,
            progress=functools.partial(self._moved, entry),
            stop=self._stop,
            began=self._began.pop(entry.path, None),
        )

    def _moved(self, entry: Entry, number: int, *, resumed: bool = False) -> None:
        """Tell that bytes have come."""
        if number:
            event = Resumed if resumed else Progressed
            self._tell(event(entry=entry, bytes=number))

    def _failed(self, entry: Entry, error: BidsplanError) -> None:
        if isinstance(error, RootMissingError):
            first = self._missing_roots.setdefault(entry.root, entry)
            if first is not entry:
                # Told once for all of a root's files.
                self._ended(Skipped(entry=entry))
                return
        self._ended(Failed(entry=entry, error=error))
        if self._breaker.failed(error):
            self._stop.set()

    def _ended(self, event: Finished | Failed | Skipped) -> None:
        """Tell what became of an entry, which is told once."""
        self._under_way.pop(event.entry.path, None)
        self._tell(event)
