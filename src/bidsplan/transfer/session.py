"""The state that all downloads of a run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, ParamSpec, Protocol, TypeVar

from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from threading import Event

    from tenacity import RetryCallState, Retrying

    from bidsplan.plan.integrity import VerifyMode
    from bidsplan.storage.pace import Pace
    from bidsplan.storage.retry import Deadline
    from bidsplan.transfer.concurrency import ConcurrencyLimit


P = ParamSpec("P")
T = TypeVar("T")


class Progress(Protocol):
    """Takes numbers of bytes, which are negative to take bytes back."""

    def __call__(self, number: int, *, resumed: bool = False) -> None: ...  # noqa: D102 - see the class


class Session(NamedTuple):
    """The state that all downloads of a run share.

    Parameters
    ----------
    limit : ConcurrencyLimit
        Gets the refusals of the storage, and the speed of large objects.
    pool : Executor
        Runs the connections for the ranges of one object.
    stop : threading.Event
        Set to end the work, also while it waits for a retry.
    """

    checking: VerifyMode
    limit: ConcurrencyLimit
    pool: Executor
    stop: Event

    def arrived(self, number: int, deadline: Deadline) -> None:
        """Count bytes of a large object, and wait if the rate is limited."""
        self.limit.streams.moved(number)
        seconds = self.limit.rate.delay(number)
        if seconds:
            deadline.waited(seconds)
            self.stop.wait(seconds)

    def retrying(self, deadline: Deadline) -> _Requests:
        """Return how an object's requests are sent, in turn and with retries.

        When the work ends, all waits end.
        """
        policy = retrying(self.limit.failed, within=deadline.left())
        return _Requests(policy.copy(sleep=self._wait, before=self._take_turn), self.limit.pace)

    def _wait(self, seconds: float) -> None:
        self.limit.slowdowns.waited(seconds)
        self.stop.wait(seconds)

    def _take_turn(self, _: RetryCallState) -> None:
        if seconds := self.limit.pace.delay():
            self.stop.wait(seconds)


class _Requests(NamedTuple):
    policy: Retrying
    pace: Pace

    def __call__(self, request: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        result = self.policy(request, *arguments, **more)
        self.pace.answered()
        return result
