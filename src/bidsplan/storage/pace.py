"""Limits how many requests start in a second, after refusals."""

from __future__ import annotations

import math
import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_BELOW = 0.95
"""The part of the rate of answers at which requests start after a refusal."""

_SLOWLY, _FAST = 0.005, 0.3
"""The part of that rate which is added in the first second without another refusal.

The addition grows with the square of the time. So the rate stays near a rate that was refused twice
for a long time, and then rises. If two refused rates differ, the lower one may be temporary, and is
soon exceeded.
"""

_SAME = 0.2
"""The part by which two rates may differ to count as equal."""

_ROUND = 0.5
"""Seconds in which refusals count as one, because their requests were in flight together."""

_SPAN = 1.0
"""The seconds of a span, whose answers are counted together."""

_ENOUGH = 10
"""The least number of answers from which a rate is computed."""

_LEAST = _ENOUGH / _SPAN
"""Below this number of requests a second, fewer are in flight."""

_SLACK = 0.02
"""Seconds for which unused turns are kept, since no timer is exact."""


class Pace:
    """Gives requests turns, slightly slower than the storage answers.

    Until the first refusal, requests need not take turns.

    Parameters
    ----------
    now : callable
        Returns seconds.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._base: float | None = None
        self._growth = _FAST
        self._known = False
        self._lowered = self._next = now()
        self._lock = Lock()
        # As after idle time, the first answer begins a span.
        self._count_from(-math.inf)

    def _count_from(self, now: float) -> None:
        # The number of answers in this span, and in the one before.
        self._began = self._earlier_began = now
        self._answered = self._earlier = 0

    @property
    def limited(self) -> bool:
        """Whether requests must take turns."""
        return self._base is not None

    def delay(self) -> float:
        """Take a turn, and return the seconds until then."""
        if self._base is None:
            return 0.0
        with self._lock:
            now = self._now()
            self._next = max(self._next, now - _SLACK) + 1 / self._rate(self._base, now)
            return max(0.0, self._next - now)

    def _rate(self, base: float, now: float) -> float:
        return base * (1 + self._growth * (now - self._lowered) ** 2)

    def answered(self) -> None:
        """Note that the storage answered a request."""
        with self._lock:
            now = self._now()
            since = now - self._began
            if since > 2 * _SPAN:
                # Idle time tells no rate.
                self._count_from(now)
                return
            if since > _SPAN:
                self._earlier_began, self._earlier = self._began, self._answered
                self._began, self._answered = now, 0
            self._answered += 1

    def refused(self) -> bool:
        """Note a refusal; returns whether the rate of answers is known."""
        with self._lock:
            now = self._now()
            if now - self._began > 2 * _SPAN:
                # Idle time tells no rate.
                self._count_from(now)
            answered = self._answered + self._earlier
            enough = answered >= _ENOUGH
            if self._base is None and not enough:
                return False
            if self._base is not None and now - self._lowered < (_ROUND if enough else _SPAN):
                return self._known
            before = self._base or math.inf
            rate = _BELOW * answered / max(now - self._earlier_began, _SLACK)
            self._base = rate if enough else max(_LEAST, before / 2)
            self._growth = _SLOWLY if abs(self._base - before) < _SAME * before else _FAST
            self._known = enough
            self._lowered = now
            self._count_from(now)
            return enough
