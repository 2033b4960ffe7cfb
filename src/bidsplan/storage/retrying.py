"""One way to try again: with jitter, as long as the storage asks for, and not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bidsplan.errors import StorageError, ThrottledError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState, Retrying

__all__ = ["retrying"]

_UNREACHABLE_TRIES = 3
_THROTTLED_TRIES = 8
_DEADLINE = 120.0
_LONGEST_WAIT = 30.0


def retrying(noticed: Callable[[StorageError], None] | None = None) -> Retrying:
    """Give a policy to call a function with.

    Parameters
    ----------
    noticed : callable, optional
        Told of every error that is tried again.

    Returns
    -------
    tenacity.Retrying
        Tries again what was unreachable, twice, and what was throttled, seven times, with
        exponential waits and jitter, or as long as the storage asks for; then raises the last
        error.
    """
    import tenacity  # noqa: PLC0415 - brings asyncio along

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ThrottledError) else None
        jittered = tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT)(state)
        return min(asked or 0, _DEADLINE) + jittered

    def stop(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = _THROTTLED_TRIES if isinstance(error, ThrottledError) else _UNREACHABLE_TRIES
        return state.attempt_number >= tries or (state.seconds_since_start or 0) > _DEADLINE

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
