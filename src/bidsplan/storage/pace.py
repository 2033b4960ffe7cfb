"""Limits how many requests start in a second, after refusals."""

from __future__ import annotations

import math
import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_BELOW = 0.95
"""Part of the rate of answers, at which requests start after a refusal."""

_SLOWLY, _FAST = 0.005, 0.3
"""Parts of that rate which are added in the first second without another refusal.

They grow with the square of the time: a rate stays long near one that was refused twice, and then
rises. One that differs from the rate before may be of a moment only, and is soon tried again.
"""

_SAME = 0.2
"""Part by which two rates may differ to be the same."""

_ROUND = 0.5
"""Seconds in which refusals count as one: what was in flight together is refused together."""

_SPAN = 1.0
"""Seconds whose answers are counted together."""

_ENOUGH = 10
"""Answers that tell a rate."""

_LEAST = _ENOUGH / _SPAN
"""Requests a second; below, there are fewer at a time."""

_SLACK = 0.02
"""Seconds for which turns that nobody took are kept, since no timer is exact."""


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
        # As after idle time: the first answer begins a span.
        self._count_from(-math.inf)

    def _count_from(self, now: float) -> None:
        # The answers of this span, and of the one before.
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
