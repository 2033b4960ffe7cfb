"""When to try again, and how long to wait: all timeouts, deadlines and retries of requests."""

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
"""Seconds that finding out a bucket's region may take."""

READ_SECONDS = 60.0
"""Seconds without a byte after which a connection is given up, unless the user says otherwise."""

BODY_SECONDS = 600.0
"""Seconds in which a body must be read; after that, the bytes received so far are kept."""

PAGE_SECONDS = 120.0
"""Seconds that reading a page of a listing may take."""

STOPPING_SECONDS = 2.0
"""Seconds that a request may take once the run is being stopped."""

PLAIN_SECONDS = 30.0
"""Seconds after a refusal during which S3 objects are read by plain requests."""

_UNREACHABLE_TRIES = 3
_THROTTLED_TRIES = 8
_DEADLINE = 120.0
_LONGEST_WAIT = 30.0
"""Seconds that jitter may add to what the storage asks for."""

_LONGEST_REQUESTED_WAIT = 30.0
"""Seconds to wait at most on the storage's request, so that one answer can't hold up a run."""

_OBJECT_SECONDS = 600.0
"""Seconds that any object may take, however small."""

_LOWEST_RATE = 16 << 10
"""Bytes a second by which a larger object may take longer."""


class Limit(Protocol):
    """Says when requests may start, and learns how they ended; see `RequestLimit`."""

    def wait(self) -> None: ...  # noqa: D102 - see the class

    def succeeded(self) -> None: ...  # noqa: D102 - see the class

    def failed(self, error: StorageError, /) -> None: ...  # noqa: D102 - see the class


_limit: ContextVar[Limit | None] = ContextVar("bidsplan_limit", default=None)


def current_limit() -> Limit | None:
    """Return the limit that requests of this thread obey."""
    return _limit.get()


@contextmanager
def limited_by(limit: Limit | None) -> Iterator[None]:
    """Have the requests of this thread that are sent by `retrying` obey a limit."""
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def obstore_options(read: float, total: float) -> dict[str, Any]:
    """Return the timeouts for obstore's client, whose connect timeout also covers DNS and TLS."""
    return {"connect_timeout": "5s", "read_timeout": f"{read:g}s", "timeout": f"{total:g}s"}


def capped_wait(retry_after: float | None) -> float:
    """Return how many seconds to wait where the storage asks for some: half a minute at most."""
    return min(max(retry_after or 0.0, 0.0), _LONGEST_REQUESTED_WAIT)


class Deadline:
    """The time that one object has for all of its tries, from its first request on.

    Ten minutes, and a second more for every 16 KiB received: an object that makes progress is never
    given up for its size, and one whose bytes trickle is.

    Parameters
    ----------
    began : float, optional
        When its first request began, by `time.monotonic`; now by default.
    """

    def __init__(self, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._arrived = 0

    def seconds(self) -> float:
        """Return the seconds since the first request."""
        return time.monotonic() - self._began

    def reached(self, arrived: int) -> None:
        """Record how many bytes have come, which count once however often they come."""
        self._arrived = max(self._arrived, arrived)

    def waited(self, seconds: float) -> None:
        """Give the object more time, for what it waited by the user's wish."""
        self._began += seconds

    def allowed(self) -> float:
        """Return the seconds that the object may take, by the bytes received."""
        return _OBJECT_SECONDS + self._arrived / _LOWEST_RATE

    def left(self) -> float:
        """Return the seconds that are left; none or less after the deadline."""
        return self.allowed() - self.seconds()


def retrying(
    noticed: Callable[[StorageError], None] | None = None, *, within: float | None = None
) -> Retrying:
    """Return the retry policy, to be called with a function and its arguments.

    What is unreachable is tried three times and what is throttled eight times, with exponential
    waits and jitter, or as long as the storage asks for; then the last error is raised. Each try
    obeys the limit of its thread, if there is one.

    Parameters
    ----------
    noticed : callable, optional
        Called with every error that is tried again.
    within : float, optional
        Seconds after which nothing is tried again; two minutes by default.
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
