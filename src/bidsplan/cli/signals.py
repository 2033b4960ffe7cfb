"""How SIGINT and SIGTERM end a command: the first in good order, the second at once."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Signalled(SystemExit):
    """A signal, as an exception so that everything is closed on the way out.

    An event loop passes on a SystemExit, and would keep another exception to itself.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(self.exit_code)


class Note:
    """Tells whether there was a signal.

    Attributes
    ----------
    exit_code : int or None
        What to exit with for it, where there was one.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def is_set(self) -> bool:
        """Tell whether there was one."""
        return self.exit_code is not None

    def set(self, number: int) -> None:
        """Note one."""
        self.exit_code = 128 + number

    def clear(self) -> None:
        """Forget it."""
        self.exit_code = None


_note = Note()
"""A process has its signals to itself, and so one note of them."""


def leave_at_once() -> None:
    """Have any signal end the process, with its exit code and without a word."""
    for number in _heeded():
        signal.signal(number, _leave)


@contextmanager
def raised() -> Iterator[Note]:
    """Have the first signal raise `Signalled` in the main thread.

    Yields
    ------
    Note
        Of it as well, and of those that `noted` heard: where it strikes in a destructor, or in
        what catches everything, the exception goes no further.
    """

    def raise_it(number: int) -> NoReturn:
        raise Signalled(number)

    _note.clear()
    with _first(raise_it):
        yield _note


@contextmanager
def noted() -> Iterator[Note]:
    """Have the first signal noted only, for work that looks whether it should stop.

    Yields
    ------
    Note
        Also of one that came before, and whose exception was lost.
    """
    with _first(lambda _: None):
        yield _note


@contextmanager
def _first(handle: Callable[[int], None]) -> Iterator[None]:
    """Call a function at the first signal; the next one ends the process."""

    def handler(number: int, _: FrameType | None) -> None:
        leave_at_once()
        _note.set(number)
        handle(number)

    before = {number: signal.signal(number, handler) for number in _heeded()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _heeded() -> list[int]:
    """Name the signals that whoever started the process has not said to ignore."""
    return [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]


def _leave(number: int, _: FrameType | None) -> NoReturn:
    os._exit(128 + number)
