"""Limits the bytes a second of all connections together."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SLACK = 0.5
"""Up to these seconds without bytes are compensated afterwards.

While a connection writes, checks or sends bytes, it reads none.
"""


class RateLimit:
    """Tells each connection how long to wait, to keep a common rate.

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
        """Count bytes, and return the seconds to wait."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._now()
            if now - self._busy_until > _SLACK:
                # Longer times, in which there was nothing to fetch, are not compensated.
                self._busy_until = now
            self._busy_until += number / self._rate
            return max(0.0, self._busy_until - now)
