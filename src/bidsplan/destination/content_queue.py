"""Adds small contents to a cache, one after another, in one thread."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Verdict

_BYTES, _NUMBER = 16 << 20, 1024
"""The most bytes and contents that may wait in memory."""

_TURN = 0.1
"""Seconds between two checks whether to stop."""


class ContentQueue:
    """Small contents that wait to be added to a cache.

    Parameters
    ----------
    add : callable
        Adds one content.

    Attributes
    ----------
    trouble : Exception or None
        The error that ended the queue.
    """

    def __init__(self, add: Callable[[Entry, Verdict, Buffer], None]) -> None:
        self._add = add
        self._waiting: deque[tuple[Entry, Verdict, Buffer]] = deque()
        self._bytes = 0
        self._at_work = False
        self._adding = False
        self._closed = False
        self.trouble: Exception | None = None
        self._changed = Condition()

    def put(
        self,
        entry: Entry,
        verdict: Verdict,
        data: Buffer,
        later: Callable[[Callable[[], None]], None],
    ) -> bool:
        """Queue a content; False if too many are waiting.

        Parameters
        ----------
        later : callable
            Calls a function in a thread.
        """
        with self._changed:
            if self._closed:
                return True
            if self._bytes > _BYTES or len(self._waiting) >= _NUMBER:
                return False
            self._waiting.append((entry, verdict, data))
            self._bytes += entry.size
            idle, self._at_work = not self._at_work, True
        if idle:
            later(self._work)
        return True

    def _work(self) -> None:
        try:
            while (waiting := self._next()) is not None:
                self._add(*waiting)
        except Exception as error:  # noqa: BLE001 - a cache fails no run; its end tells of it
            self.trouble = error
            self.close()
            self._next()

    def _next(self) -> tuple[Entry, Verdict, Buffer] | None:
        """Take the next content; None ends the thread."""
        with self._changed:
            self._adding = bool(self._waiting)
            if not self._waiting:
                self._at_work = False
                self._changed.notify_all()
                return None
            waiting = self._waiting.popleft()
            self._bytes -= waiting[0].size
            return waiting

    def close(self) -> bool:
        """Drop waiting contents; returns whether one is still being added."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            return self._adding

    def wait(self, stopping: Callable[[], bool]) -> None:
        """Wait until all are added."""
        with self._changed:
            while self._at_work and not stopping():
                self._changed.wait(_TURN)
