"""Things that are written together, now and then."""

from __future__ import annotations

import time
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

_MANY = 4096
_LONGEST_WAIT = 30.0
"""Seconds after which a kill would cost too much work again."""


class Batch(Generic[T]):
    """Collects what threads add, until it is time to write it."""

    def __init__(self) -> None:
        self._things: list[T] = []
        self._lock = Lock()
        self._since = time.monotonic()
        self._asked = False

    def add(self, thing: T) -> bool:
        """Add one thing.

        Returns
        -------
        bool
            Whether it is time to write all of them. Asked for once: who else adds in the meantime
            has nothing to do.
        """
        with self._lock:
            self._things.append(thing)
            many = len(self._things) >= _MANY
            due = not self._asked and (many or time.monotonic() - self._since >= _LONGEST_WAIT)
            self._asked = self._asked or due
            return due

    def take(self) -> list[T]:
        """Take all things out."""
        with self._lock:
            things, self._things = self._things, []
            self._since = time.monotonic()
            self._asked = False
            return things
