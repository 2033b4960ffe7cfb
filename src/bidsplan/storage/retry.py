"""Timeouts, deadlines and retries of all requests."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bidsplan.errors import StorageError, ThrottledError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tenacity import RetryCallState, Retrying


CONNECT_SECONDS = 2.5
"""Seconds that opening a connection may take."""

LOCATE_SECONDS = 5.0
"""Seconds that finding a bucket's region may take."""

READ_SECONDS = 60.0
"""Seconds after which a connection that sends nothing is closed, by default."""

BODY_SECONDS = 600.0
"""Seconds in which a body must be read. After that, the bytes received so far are kept."""

PAGE_SECONDS = 120.0
"""Seconds that reading a page of a listing may take."""

STOPPING_SECONDS = 2.0
"""Seconds that a request may take while the run is stopping."""

PLAIN_SECONDS = 30.0
"""Seconds after a refusal in which S3 objects are read by plain requests."""

_UNREACHABLE_TRIES = 3
_THROTTLED_TRIES = 8
_DEADLINE = 120.0
_LONGEST_WAIT = 30.0
"""The most seconds that jitter adds to the wait that the storage asks for."""

_LONGEST_REQUESTED_WAIT = 30.0
"""The most seconds to wait because the storage asks for it, so that one answer can't stop a run."""

_OBJECT_SECONDS = 600.0
"""Seconds that any object may take, even a small one."""

_LOWEST_RATE = 16 << 10
"""The bytes for which an object may take one more second."""


class Limit(Protocol):
    """Decides when requests may start; see `RequestLimit`."""

    def wait(self) -> None: ...  # noqa: D102 - see the class

    def succeeded(self) -> None: ...  # noqa: D102 - see the class

    def failed(self, error: StorageError, /) -> None: ...  # noqa: D102 - see the class


_limit: ContextVar[Limit | None] = ContextVar("bidsplan_limit", default=None)


def current_limit() -> Limit | None:
    """Return this thread's limit for requests."""
    return _limit.get()


@contextmanager
def limited_by(limit: Limit | None) -> Iterator[None]:
    """Set the limit for this thread's requests that `retrying` sends."""
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def obstore_options(read: float, total: float) -> dict[str, Any]:
    """Return the timeouts for obstore's client."""
    return {"connect_timeout": "5s", "read_timeout": f"{read:g}s", "timeout": f"{total:g}s"}


def capped_wait(retry_after: float | None) -> float:
    """Return the seconds to wait, at most half a minute."""
    return min(max(retry_after or 0.0, 0.0), _LONGEST_REQUESTED_WAIT)


class Deadline:
    """The time for all attempts to fetch one object.

    The time is ten minutes, and one second more for every 16 KiB received. So a large object that
    makes progress never fails, and an object that arrives extremely slowly does.

    Parameters
    ----------
    began : float, optional
        When the object's first request began, by `time.monotonic`; by default now.
    """

    def __init__(self, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._arrived = 0

    def seconds(self) -> float:
        """Return the seconds since the first request."""
        return time.monotonic() - self._began

    def reached(self, arrived: int) -> None:
        """Record the received bytes, which count once even if repeated."""
        self._arrived = max(self._arrived, arrived)

    def waited(self, seconds: float) -> None:
        """Extend the deadline by a wait that the user wanted."""
        self._began += seconds

    def allowed(self) -> float:
        """Return the seconds allowed for the received bytes."""
        return _OBJECT_SECONDS + self._arrived / _LOWEST_RATE

    def left(self) -> float:
        """Return the seconds left; zero or less after the deadline."""
        return self.allowed() - self.seconds()


def retrying(
    noticed: Callable[[StorageError], None] | None = None, *, within: float | None = None
) -> Retrying:
    """Return the retry policy, which is called with a function.

    Requests are tried three times if the storage is unreachable, and eight times if it throttles.
    Waits grow exponentially with jitter, or last as long as the storage asks for. Then the last
    error is raised. Each attempt obeys the limit of its thread, if there is one.

    Parameters
    ----------
    noticed : callable, optional
        Called with each error that is retried.
    within : float, optional
        Seconds after which there are no more retries; by default two minutes.
    """
    import tenacity  # brings asyncio along

    longest = _DEADLINE if within is None else within
    limit = current_limit()
    jitter = tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT)

    def notify(state: RetryCallState) -> None:
        error = _error_of(state)
        if noticed and isinstance(error, StorageError):
            noticed(error)

    return tenacity.Retrying(
        retry=partial(_is_passing, limit),
        before=tenacity.before_nothing if limit is None else lambda _: limit.wait(),
        wait=lambda state: (
            capped_wait(getattr(_error_of(state), "retry_after", None)) + jitter(state)
        ),
        stop=partial(_is_last, longest),
        before_sleep=notify,
        reraise=True,
    )


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _is_passing(limit: Limit | None, state: RetryCallState) -> bool:
    """Report whether a call's error may pass, and tell the limit how the call ended."""
    error = _error_of(state)
    if limit is not None and isinstance(error, UnreachableError | ThrottledError):
        limit.failed(error)
    elif limit is not None:
        limit.succeeded()
    return isinstance(error, UnreachableError | ThrottledError)


def _is_last(longest: float, state: RetryCallState) -> bool:
    """Report whether a call that failed is given up."""
    throttled = isinstance(_error_of(state), ThrottledError)
    tries = _THROTTLED_TRIES if throttled else _UNREACHABLE_TRIES
    return state.attempt_number >= tries or (state.seconds_since_start or 0) > longest
