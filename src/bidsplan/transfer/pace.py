"""How many requests are in flight: fewer when the storage refuses, more while it does not."""

from __future__ import annotations

import time
from threading import Lock

__all__ = ["Pace"]

_FIRST = 64
_ROUND = 0.5
"""Seconds in which refusals count as one: what was in flight together is refused together."""

_FASTER = 4
"""Part of the limit that is added for each round without a refusal, until there was one."""


class Pace:
    """A limit that follows what the storage bears: additive increase, multiplicative decrease.

    Parameters
    ----------
    most : int
        The most requests in flight.

    Attributes
    ----------
    limit : int
        How many may be in flight now, at least 1.
    """

    def __init__(self, most: int) -> None:
        self.limit = min(most, _FIRST)
        self._most = most
        self._good = 0
        self._refused = False
        self._lowered = 0.0
        self._until = 0.0
        self._lock = Lock()

    def succeeded(self) -> None:
        """Note a request that went well."""
        self._good += 1
        if self._good >= self.limit < self._most:
            step = 1 if self._refused else max(1, self.limit // _FASTER)
            self.limit = min(self._most, self.limit + step)
            self._good = 0

    def refused(self, wait: float | None = None) -> None:
        """Note a request that was refused, or that broke off.

        Parameters
        ----------
        wait : float, optional
            Seconds that the storage asks to wait.
        """
        now = time.monotonic()
        with self._lock:
            self._good = 0
            self._refused = True
            self._until = max(self._until, now + (wait or 0))
            if now - self._lowered >= _ROUND:
                self.limit = max(1, self.limit // 2)
                self._lowered = now

    def delay(self) -> float:
        """Tell how many seconds no request should start."""
        return max(0.0, self._until - time.monotonic()) if self._refused else 0.0
