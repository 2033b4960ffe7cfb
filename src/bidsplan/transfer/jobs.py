"""The jobs of a run, and the interface of their source."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from bidsplan.plan import Entry
    from bidsplan.transfer.decide import Decision


class Lane(Enum):
    """How a job is run.

    Attributes
    ----------
    ASYNC
        On the event loop, with hundreds of others.
    THREAD
        In a thread, briefly.
    STREAM
        In one of the few threads for large files.
    """

    ASYNC = auto()
    THREAD = auto()
    STREAM = auto()


class Pulled(Enum):
    """The result of `pull` if there is no job.

    Attributes
    ----------
    IDLE
        The next entries need no work; there are more entries.
    EXHAUSTED
        There are no more jobs.
    """

    IDLE = auto()
    EXHAUSTED = auto()


class Job(NamedTuple):
    """The work for one entry."""

    entry: Entry
    decision: Decision
    lane: Lane


class JobSource(Protocol):
    """Gives out jobs, and runs them."""

    def pull(self) -> Job | Pulled:
        """Return the next job; only one thread may call this at a time."""
        ...

    async def run_cached(self, job: Job) -> bool:
        """Run a job without its storage; returns whether it is done."""
        ...

    async def run_async(self, job: Job) -> bool:
        """Run a job on the event loop; returns whether it is done.

        Raises ThrottledError if the job may be run on the event loop again. If it is not done, it
        must be run in a thread.
        """
        ...

    def run_in_thread(self, job: Job) -> None:
        """Run a job in a thread."""

    def stopped(self) -> bool:
        """Report whether to stop unfinished work."""
        ...

    def full(self) -> bool:
        """Report whether many events wait to be yielded."""
        ...
