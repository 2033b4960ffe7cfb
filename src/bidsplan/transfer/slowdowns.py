"""Records what was slow in a run, and why."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.errors import Problem
from bidsplan.events import Slowed, Warned
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Slowdowns:
    """Counts refusals and deadlines, and records the slowest object."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._throttled = 0
        self._retry_after: float | None = None
        self._waited = 0.0
        self._late = 0
        self._slowest = 0.0
        self._path: str | None = None

    def throttled(self, retry_after: float | None) -> None:
        """Note that the storage retry_after to slow down, and for how long."""
        with self._lock:
            self._throttled += 1
            if retry_after is not None:
                self._retry_after = max(self._retry_after or 0.0, retry_after)

    def waited(self, seconds: float) -> None:
        """Note a wait before a retry."""
        with self._lock:
            self._waited = max(self._waited, seconds)

    def late(self) -> None:
        """Note an object that missed its deadline."""
        with self._lock:
            self._late += 1

    def add_duration(self, path: str, seconds: float) -> None:
        """Note how long an object took, from its first request on."""
        # Checked without the lock first, since hardly any object is the slowest one so far.
        if seconds > self._slowest:
            with self._lock:
                if seconds > self._slowest:
                    self._slowest, self._path = seconds, path

    def events(self) -> Iterator[Slowed | Warned]:
        """Yield the event about refusals and deadlines, if there were any."""
        if not self._throttled and not self._late:
            return
        slowed = Slowed(
            throttled=self._throttled,
            retry_after=self._retry_after,
            waited=round(self._waited, 3),
            late=self._late,
            path=self._path,
            seconds=round(self._slowest, 3),
        )
        yield slowed
        yield Warned(problem=problem_of(slowed))


def problem_of(slowed: Slowed) -> Problem:
    """Describe what was slow, and what to do about it."""
    parts = []
    if slowed.throttled:
        parts.append(f"the storage asked {_times(slowed.throttled)} to slow down")
        if slowed.retry_after is not None:
            parts.append(f"it asked to wait up to {slowed.retry_after:,.0f} s")
        parts.append(f"the longest wait was {slowed.waited:.1f} s")
    if slowed.late:
        files = "1 file was" if slowed.late == 1 else f"{slowed.late:,} files were"
        parts.append(f"{files} given up at the deadline")
    if slowed.path is not None:
        parts.append(f"the slowest file was {printable(slowed.path)} ({slowed.seconds:.1f} s)")
    return Problem(
        message=", ".join(parts), hint="run it later, or with fewer requests at a time (--jobs)"
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
