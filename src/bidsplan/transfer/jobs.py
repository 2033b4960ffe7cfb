"""Jobs: what entries need, and who gives them out and runs them."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol, TypeVar


class Lane(Enum):
    """How a job is done.

    Attributes
    ----------
    ASYNC
        On the event loop, with others by the hundred.
    THREAD
        In a thread, briefly.
    STREAM
        In one of the few threads that move large files.
    """

    ASYNC = auto()
    THREAD = auto()
    STREAM = auto()


class Pulled(Enum):
    """What there is instead of a job.

    Attributes
    ----------
    IDLE
        Nothing to do for those that were looked at; there are more.
    EXHAUSTED
        All jobs were given out.
    """

    IDLE = auto()
    EXHAUSTED = auto()


class Job(Protocol):
    """What one entry needs.

    Attributes
    ----------
    size : int
        Bytes that it holds in memory while it is done.
    """

    @property
    def way(self) -> Lane: ...  # noqa: D102 - see the class

    @property
    def size(self) -> int: ...  # noqa: D102 - see the class


J = TypeVar("J", bound=Job)


class JobSource(Protocol[J]):
    """Gives out jobs, and does them."""

    def pull(self) -> J | Pulled:
        """Give the next job; never called by two threads at once."""
        ...

    async def run_async(self, job: J) -> bool:
        """Do a job on the loop; tells whether it is done, or needs a thread's patience."""
        ...

    def run_in_thread(self, job: J) -> None:
        """Do a job in a thread."""

    def stopped(self) -> bool:
        """Tell whether to leave what is under way."""
        ...

    def full(self) -> bool:
        """Tell whether there is much to be told by now."""
        ...
