"""Limits the requests, connections and bytes of a transfer."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.errors import ThrottledError
from bidsplan.storage.concurrency import RequestLimit
from bidsplan.transfer.rate import RateLimit
from bidsplan.transfer.slowdowns import Slowdowns

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.errors import StorageError


_FIRST = 64
_SPAN = 0.25
"""Seconds over which the bytes of large objects are counted."""

_FIRST_STREAMS = 8
MOST_STREAMS = 32
_WORTH = 1.1
"""How much faster bytes must arrive for more connections to be kept."""

_PAUSE = 10.0
"""Seconds until more connections are tried again after they did not help."""


class ConcurrencyLimit(RequestLimit):
    """A transfer's limits on requests, large objects and bytes.

    Parameters
    ----------
    most : int
        The most requests in flight.
    rate : int, optional
        The most bytes a second.
    now, computed : callable
        As in `RequestLimit`.

    Attributes
    ----------
    slowdowns : Slowdowns
        The data for the report at the end of the run.
    streams : StreamLimit
        Limits the connections for large objects.
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
        super().__init__(most, _FIRST, now=now, computed=computed)
        self.slowdowns = Slowdowns()
        self.streams = StreamLimit(most, self, now=now)
        self.rate = RateLimit(rate, now=now)

    def failed(self, error: StorageError) -> None:
        """Note that a request failed and will be retried."""
        if isinstance(error, ThrottledError):
            self.slowdowns.throttled(error.retry_after)
        super().failed(error)


class StreamLimit:
    """Limits the connections for large objects to those that help.

    Parameters
    ----------
    most : int
        The most connections.
    refusals : ConcurrencyLimit
        Limits, which allow fewer connections if the storage refuses requests.
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
        """The number of connections that may be open now."""
        return max(1, min(self._allowed, self._refusals.limit))

    def take(self, *, extra: bool) -> bool:
        """Count a connection; only `extra` ones can be refused."""
        with self._lock:
            if extra and self._used >= self.allowed:
                return False
            self._used += 1
            return True

    def release(self) -> None:
        """Stop counting a connection."""
        with self._lock:
            self._used -= 1

    def excess(self) -> bool:
        """Report whether more connections are open than allowed."""
        return self._used > self.allowed

    def moved(self, number: int) -> None:
        """Count received bytes, and sometimes adapt the number of connections."""
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
