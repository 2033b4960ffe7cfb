"""One way to try again: with jitter, as long as the storage asks for, and not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bidsplan.errors import StorageError, ThrottledError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState, Retrying


_UNREACHABLE_TRIES = 3
_THROTTLED_TRIES = 8
_DEADLINE = 120.0
_LONGEST_WAIT = 30.0
"""Seconds that jitter may add to what the storage asks for."""

_LONGEST_HEEDED = 30.0
"""Seconds that are waited for one request of the storage's to wait, whatever it asks for."""

_OBJECT_SECONDS = 600.0
"""Seconds that any object may take, however small."""

_LOWEST_RATE = 16 << 10
"""Bytes a second by which a larger object may take longer."""


def heeded(asked: float | None) -> float:
    """Give how many seconds are waited where the storage asks for some.

    Returns
    -------
    float
        At most half a minute, since one answer must not hold up a run for longer.
    """
    return min(max(asked or 0.0, 0.0), _LONGEST_HEEDED)


class Deadline:
    """The time that one object has for all of its tries, from its first request on.

    Ten minutes, and a second more for every 16 KiB that have come: an object that makes progress is
    never given up for its size, and one whose bytes trickle is.

    Parameters
    ----------
    began : float, optional
        When its first request began, by `time.monotonic`; now by default.
    """

    def __init__(self, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._arrived = 0

    def seconds(self) -> float:
        """Give the seconds since the first request."""
        return time.monotonic() - self._began

    def reached(self, arrived: int) -> None:
        """Note how many bytes have come, which count once however often they come."""
        self._arrived = max(self._arrived, arrived)

    def allowed(self) -> float:
        """Give the seconds that the object may take, by what has come."""
        return _OBJECT_SECONDS + self._arrived / _LOWEST_RATE

    def left(self) -> float:
        """Give the seconds that are left; none or less after the deadline."""
        return self.allowed() - self.seconds()


def retrying(
    noticed: Callable[[StorageError], None] | None = None, *, within: float | None = None
) -> Retrying:
    """Give a policy to call a function with.

    Parameters
    ----------
    noticed : callable, optional
        Told of every error that is tried again.
    within : float, optional
        Seconds after which nothing is tried again; two minutes by default.

    Returns
    -------
    tenacity.Retrying
        Tries again what was unreachable, twice, and what was throttled, seven times, with
        exponential waits and jitter, or as long as the storage asks for, up to half a minute; then
        raises the last error.
    """
    import tenacity  # brings asyncio along

    longest = _DEADLINE if within is None else within

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ThrottledError) else None
        jittered = tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT)(state)
        return heeded(asked) + jittered

    def stop(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = _THROTTLED_TRIES if isinstance(error, ThrottledError) else _UNREACHABLE_TRIES
        return state.attempt_number >= tries or (state.seconds_since_start or 0) > longest

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if noticed and isinstance(error, StorageError):
            noticed(error)

    kinds: Any = (UnreachableError, ThrottledError)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(kinds),
        wait=wait,
        stop=stop,
        before_sleep=tell,
        reraise=True,
    )
