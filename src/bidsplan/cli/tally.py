"""Counts of what events tell, for a summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bidsplan.events import (
    Action,
    Decided,
    Failed,
    Finished,
    Opened,
    Progressed,
    Proof,
    Resumed,
    Skipped,
    Slowed,
)

if TYPE_CHECKING:
    from bidsplan.events import Event

__all__ = ["Tally"]


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts what events tell.

    Parameters
    ----------
    decided, done : Counter of Action
    proofs : Counter of Proof
    failures : Counter of str
        By the errors' codes.
    skipped : int
        Entries that were not tried.
    bytes : int
        That arrived.
    resumed : int
        Bytes that earlier runs had.
    endpoints : set of str
        Where requests went to fetch.
    destination : str or None
        Where they went to write.
    slow : Slowed or None
        What was slow, where anything was.
    """

    decided: Counter[Action] = field(default_factory=Counter)
    done: Counter[Action] = field(default_factory=Counter)
    proofs: Counter[Proof] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    bytes: int = 0
    resumed: int = 0
    endpoints: set[str] = field(default_factory=set)
    destination: str | None = None
    slow: Slowed | None = None

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Finished):
            self.done[event.action] += 1
            self.proofs[event.proof] += 1
            self.bytes += event.bytes
        elif isinstance(event, Decided):
            self.decided[event.action] += 1
        elif isinstance(event, Progressed):
            self.bytes += event.bytes
        elif isinstance(event, Resumed):
            self.resumed += event.bytes
        elif isinstance(event, Failed):
            self.failures[event.error.code] += 1
        elif isinstance(event, Skipped):
            self.skipped += 1
        elif isinstance(event, Slowed):
            self.slow = event
        elif isinstance(event, Opened) and event.written:
            self.destination = event.endpoint
        elif isinstance(event, Opened) and event.endpoint is not None:
            self.endpoints.add(event.endpoint)

    @property
    def failed(self) -> int:
        """How many entries failed."""
        return self.failures.total()
