"""How many requests are in flight: fewer when the storage refuses, more while that helps."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.errors import ThrottledError
from bidsplan.storage.retry import capped_wait
from bidsplan.transfer.pace import Pace
from bidsplan.transfer.rate import RateLimit
from bidsplan.transfer.slowdowns import Slowdowns

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.errors import StorageError


_FIRST = 64
_ROUND = 0.5
"""Seconds in which refusals count as one: what was in flight together is refused together."""

_IDLE = 0.6
"""Part of its time that the event loop's thread may have computed, for more requests to be of use:
where it is the bottleneck they only cost memory and connections."""

_FASTER = 2
"""Part of the limit that is added for each round without a refusal, until there was one."""

_SPAN = 0.25
"""Seconds over which the bytes of large objects are counted."""

_FIRST_STREAMS = 8
MOST_STREAMS = 32
_WORTH = 1.1
"""How much faster bytes must come for more connections to be kept."""

_PAUSE = 10.0
"""Seconds until more connections are tried again after they brought nothing."""


class ConcurrencyLimit:
    """A limit that adapts to the storage: additive increase, multiplicative decrease.

    Parameters
    ----------
    most : int
        The most requests in flight.
    rate : int, optional
        The most bytes a second.
    now, computed : callable
        Return seconds: the time, and the time that this thread has computed.

    Attributes
    ----------
    limit : int
        How many may be in flight now, at least 1.
    slowdowns : Slowdowns
        What is reported at the end of the run.
    streams : StreamLimit
        How many connections bring large objects.
    pace : Pace
        How many requests start in a second, where the storage refuses only some.
    rate : RateLimit
    """

    def __init__(
        self,
        most: int,
        rate: int | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        computed: Callable[[], float] = time.thread_time,
    ) -> None:
        self.limit = min(most, _FIRST)
        self.slowdowns = Slowdowns()
        self.streams = StreamLimit(most, self, now=now)
        self.pace = Pace(now=now)
        self.rate = RateLimit(rate, now=now)
        self._most = most
        self._good = 0
        self._clocks = now, computed
        self._seen = now(), computed()
        self._refused = False
        self._lowered = now() - _ROUND
        self._until = 0.0
        self._lock = Lock()

    def succeeded(self) -> None:
        """Note a request that went well; for the event loop's thread."""
        self.pace.answered()
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

    def failed(self, error: StorageError) -> None:
        """Note a request that ended in an error which is worth another try."""
        if not isinstance(error, ThrottledError):
            self.refused()
            return
        self.slowdowns.throttled(error.retry_after)
        if not self.pace.refused():
            self.refused(error.retry_after)

    def refused(self, wait: float | None = None) -> None:
        """Note a request that was refused, or that broke off; `wait` is in seconds."""
        now = self._clocks[0]()
        with self._lock:
            self._good = 0
            self._refused = True
            self._until = max(self._until, now + capped_wait(wait))
            if now - self._lowered >= _ROUND:
                self.limit = max(1, self.limit // 2)
                self._lowered = now

    def delay(self) -> float:
        """Return for how many seconds no request should start."""
        return max(0.0, self._until - self._clocks[0]()) if self._refused else 0.0


class StreamLimit:
    """How many connections bring large objects: more only while they bring more bytes.

    Parameters
    ----------
    most : int
        The most connections.
    refusals : ConcurrencyLimit
        Has fewer allowed where the storage refuses.
    now : callable
        Returns seconds.
    """

    def __init__(
        self, most: int, refusals: ConcurrencyLimit, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = min(most, MOST_STREAMS)
        self._refusals = refusals
        self._now = now
        self._allowed = min(self._most, _FIRST_STREAMS)
        self._before: int | None = None  # what was allowed before more were tried
        self._opening = False
        self._rate = 0.0
        self._used = self._bytes = 0
        self._began = now()
        self._until = 0.0
        self._lock = Lock()

    @property
    def allowed(self) -> int:
        """How many connections may be open now."""
        return max(1, min(self._allowed, self._refusals.limit))

    def take(self, *, extra: bool) -> bool:
        """Count a connection; one that is not `extra` is always allowed."""
        with self._lock:
            if extra and self._used >= self.allowed:
                return False
            self._used += 1
            return True

    def release(self) -> None:
        """Count a connection no more."""
        with self._lock:
            self._used -= 1

    def excess(self) -> bool:
        """Report whether there are more connections than are allowed."""
        return self._used > self.allowed

    def moved(self, number: int) -> None:
        """Count bytes that came, and now and then decide whether more connections help."""
        with self._lock:
            self._bytes += number
            now = self._now()
            if now - self._began < _SPAN:
                return
            rate = self._bytes / (now - self._began)
            self._began, self._bytes = now, 0
            if self._used >= self.allowed:
                self._adapt(rate, now)

    def _adapt(self, rate: float, now: float) -> None:
        if self._opening:
            # The first bytes of new connections take a few round trips.
            self._opening = False
        elif self._before is not None and rate < self._rate * _WORTH:
            self._allowed, self._before = self._before, None
            self._until = now + _PAUSE
        elif self._allowed == self._most:
            self._before = None
        elif now >= self._until:
            self._before, self._rate = self._allowed, rate
            self._allowed = min(self._most, 2 * self._allowed)
            self._opening = True
