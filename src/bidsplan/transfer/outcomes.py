"""Collects the outcomes of a run's entries: events, receipts, failures."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from bidsplan.destination.receipts import ReceiptWriter, make_receipt
from bidsplan.events import Action, Copied, Failed, Finished, Progressed, Resumed, Skipped, Warned
from bidsplan.transfer.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as ThreadEvent

    from bidsplan.destination.base import Destination, FileState
    from bidsplan.destination.sources import Sources
    from bidsplan.errors import BidsplanError
    from bidsplan.events import Event
    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Verdict
    from bidsplan.storage.file_state import SourceState

_MUCH = 512
"""The number of events that are yielded together."""


class Outcomes:
    """Takes the outcomes of entries, from any thread.

    Attributes
    ----------
    emit : callable
        Called with each event.
    breaker : CircuitBreaker
        Stops the run after an error that all files would have.
    later : callable or None
        Calls a function in a thread, as long as there are threads.
    times_wrong : callable
        Returns how often a file in a state was found wrong, which its new receipt records.
    """

    def __init__(self, destination: Destination, sources: Sources) -> None:
        self._events: deque[Event] = deque()
        self.emit = self._events.append
        self.breaker = CircuitBreaker()
        self.later: Callable[[Callable[[], None]], None] | None = None
        self.times_wrong: Callable[[str, FileState], int] = lambda _path, _state: 0
        self._stop: ThreadEvent = destination.stop
        self._sources = sources
        self._receipts = ReceiptWriter(destination.write_receipts)
        self._under_way: dict[str, Entry] = {}
        self._root_errors: dict[int, BidsplanError] = {}

    def drained(self) -> Iterator[Event]:
        """Yield the waiting events."""
        while self._events:
            yield self._events.popleft()

    def full(self) -> bool:
        """Report whether many events wait to be yielded."""
        return len(self._events) >= _MUCH

    def begin(self, entry: Entry) -> None:
        """Note that work on an entry has begun."""
        self._under_way[entry.path] = entry

    def moved(self, entry: Entry, number: int, *, resumed: bool = False) -> None:
        """Report received bytes."""
        if number:
            event = Resumed if resumed else Progressed
            self.emit(event(entry=entry, bytes=number))

    def copied(self, entry: Entry, number: int) -> None:
        """Report bytes from the content cache."""
        self.emit(Copied(entry=entry, bytes=number))

    def done(
        self,
        finished: Finished,
        verdict: Verdict,
        state: FileState,
        source_state: SourceState | None = None,
    ) -> None:
        """Report that an entry's file is complete, and note its receipt."""
        self.breaker.succeeded()
        entry, due, identity = finished.entry, False, state.identity
        if identity is not None:
            source, kept = self._sources.fingerprint(entry), finished.action is Action.KEEP
            receipt = make_receipt(
                entry.path, state.size, identity, source, verdict, source_state, kept=kept
            )
            if doubts := self.times_wrong(entry.path, state):
                receipt = msgspec.structs.replace(receipt, doubts=doubts)
            due = self._receipts.add(receipt)
        self.ended(finished)
        if due and self.later:
            # Waiting for the destination must not block the loop.
            self.later(self._receipts.flush)

    def failed(self, entry: Entry, error: BidsplanError) -> None:
        """Report that an entry failed."""
        if self._root_errors.get(entry.root) is error:
            # If a root can't be opened, all its files have the same error.
            self.ended(Skipped(entry=entry))
            return
        self._root_errors[entry.root] = error
        self.ended(Failed(entry=entry, error=error))
        if self.breaker.failed(error):
            self._stop.set()

    def ended(self, event: Finished | Failed | Skipped) -> None:
        """Report an entry's outcome, once."""
        self._under_way.pop(event.entry.path, None)
        self.emit(event)

    def skipped(self) -> Iterator[Skipped]:
        """Yield an event for each unfinished entry."""
        yield from (Skipped(entry=entry) for entry in list(self._under_way.values()))

    def flush(self) -> None:
        """Write receipts."""
        self._receipts.flush()

    def problems(self) -> Iterator[Warned]:
        """Yield the problem that prevented receipts from being written, if any."""
        if problem := self._receipts.problem():
            yield Warned(problem=problem)
