"""A limit on the bytes that all connections together bring in a second."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """Tells each connection how long to wait, such that a rate holds over all of them.

    Parameters
    ----------
    rate : int or None
        Bytes a second; None for no limit.
    now : callable
        Returns seconds.
    """

    def __init__(self, rate: int | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._busy_until = now()
        self._lock = Lock()

    def delay(self, number: int) -> float:
        """Count bytes, and return for how many seconds to wait for their turn."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._now()
            # Time in which nothing came is not made up for.
            self._busy_until = max(self._busy_until, now) + number / self._rate
            return self._busy_until - now
