"""What all downloads of a run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from threading import Event

    from tenacity import Retrying

    from bidsplan.plan.integrity import VerifyMode
    from bidsplan.storage.retry import Deadline
    from bidsplan.transfer.concurrency import ConcurrencyLimit


class Progress(Protocol):
    """Takes numbers of bytes, negative ones where a try is reverted; from any thread."""

    def __call__(self, number: int, *, resumed: bool = False) -> None: ...  # noqa: D102 - see the class


class Session(NamedTuple):
    """What all downloads of a run share.

    Parameters
    ----------
    limit : ConcurrencyLimit
        Told of what the storage refused, and of how large objects come.
    pool : Executor
        Runs the connections that bring ranges of one object.
    stop : threading.Event
        Set to end the work, also while it waits to try again.
    """

    checking: VerifyMode
    limit: ConcurrencyLimit
    pool: Executor
    stop: Event

    def arrived(self, number: int, deadline: Deadline) -> None:
        """Count bytes of a large object, and wait for their turn where the rate is limited."""
        self.limit.streams.moved(number)
        seconds = self.limit.rate.delay(number)
        if seconds:
            deadline.waited(seconds)
            self.stop.wait(seconds)

    def retrying(self, deadline: Deadline) -> Retrying:
        """Return the policy for an object's requests, whose waits end with the work."""
        return retrying(self.limit.failed, within=deadline.left()).copy(sleep=self._wait)

    def _wait(self, seconds: float) -> None:
        self.limit.slowdowns.waited(seconds)
        self.stop.wait(seconds)
