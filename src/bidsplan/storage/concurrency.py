"""Limits the requests in flight, depending on how the storage reacts."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.errors import ThrottledError
from bidsplan.storage.pace import Pace
from bidsplan.storage.retry import capped_wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.errors import StorageError


_ROUND = 0.5
"""Seconds in which refusals count as one, because their requests were in flight together."""

_IDLE = 0.6
"""The largest part of its time that the event loop's thread may compute while requests are added.

If the thread is the bottleneck, more requests only cost memory and connections.
"""

_FASTER = 2
"""The part of the limit that is added in each round, until the first refusal."""


class RequestLimit:
    """A limit that adapts: additive increase, multiplicative decrease.

    Parameters
    ----------
    most, first : int
        The most requests in flight, and the limit at first.
    now, computed : callable
        Functions that return seconds: the time, and the processor time of those who send the
        requests.

    Attributes
    ----------
    limit : int
        The number of requests that may be in flight now, at least 1.
    pace : Pace
        Limits how many requests start in a second, if the storage refuses only some.
    """

    def __init__(
        self,
        most: int,
        first: int,
        *,
        now: Callable[[], float] = time.monotonic,
        computed: Callable[[], float] = time.thread_time,
    ) -> None:
        self.limit = min(most, first)
        self.pace = Pace(now=now)
        self._most = most
        self._good = 0
        self._clocks = now, computed
        self._seen = now(), computed()
        self._refused = False
        self._lowered = now() - _ROUND
        self._until = 0.0
        self._lock = Lock()

    def succeeded(self) -> None:
        """Note that a request succeeded."""
        self.pace.answered()
        with self._lock:
            self._good += 1
            if self._good >= self.limit < self._most:
                if self._is_idle():
                    step = 1 if self._refused else max(1, self.limit // _FASTER)
                    self.limit = min(self._most, self.limit + step)
                self._good = 0

    def _is_idle(self) -> bool:
        now, computed = (clock() for clock in self._clocks)
        idle = computed - self._seen[1] < _IDLE * (now - self._seen[0])
        self._seen = now, computed
        return idle

    def widen(self) -> None:
        """Double the limit, unless the storage has refused a request."""
        with self._lock:
            if not self._refused:
                self.limit = min(self._most, 2 * self.limit)

    def failed(self, error: StorageError) -> None:
        """Note that a request failed and will be retried."""
        if not isinstance(error, ThrottledError):
            self.refused()
        elif not self.pace.refused():
            self.refused(error.retry_after)

    def refused(self, wait: float | None = None) -> None:
        """Note that a request was refused; `wait` is in seconds."""
        now = self._clocks[0]()
        with self._lock:
            self._good = 0
            self._refused = True
            self._until = max(self._until, now + capped_wait(wait))
            if now - self._lowered >= _ROUND:
                self.limit = max(1, self.limit // 2)
                self._lowered = now

    def delay(self) -> float:
        """Return the seconds in which no request should start."""
        return max(0.0, self._until - self._clocks[0]()) if self._refused else 0.0

    def wait(self) -> None:
        """Wait until a request may start."""
        seconds = max(self.delay(), self.pace.delay())
        if seconds:
            time.sleep(seconds)
