"""SIGINT and SIGTERM: the first ends a command in good order, the second at once."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Signalled(SystemExit):
    """A signal, as an exception so that everything is closed on the way out.

    An event loop re-raises a SystemExit, and would swallow another exception.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(self.exit_code)


class Received:
    """The last signal that the process received.

    Attributes
    ----------
    exit_code : int or None
        The exit code for it; None before any signal.
    """

    exit_code: int | None = None

    def is_set(self) -> bool:
        """Return whether there was a signal."""
        return self.exit_code is not None


_received = Received()
"""Signals go to the process, so there is one record of them."""


def exit_at_once() -> None:
    """Make any signal end the process silently, with the signal's exit code."""
    for number in _handled():
        signal.signal(number, lambda number, _: os._exit(128 + number))


@contextmanager
def raised() -> Iterator[Received]:
    """Raise `Signalled` in the main thread at the first signal.

    Yields
    ------
    Received
        The signal, also where its exception is lost in a destructor or a handler of all
        exceptions.
    """
    _received.exit_code = None
    with _first_signal(interrupt=True):
        yield _received


@contextmanager
def recorded() -> Iterator[Received]:
    """Only record the first signal, for work that checks whether to stop.

    Yields
    ------
    Received
        The signal, also one that came earlier and whose exception was lost.
    """
    with _first_signal(interrupt=False):
        yield _received


@contextmanager
def _first_signal(*, interrupt: bool) -> Iterator[None]:
    """Record the first signal, and let the next one end the process."""

    def handler(number: int, _: FrameType | None) -> None:
        exit_at_once()
        _received.exit_code = 128 + number
        if interrupt:
            raise Signalled(number)

    before = {number: signal.signal(number, handler) for number in _handled()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _handled() -> list[signal.Signals]:
    """Return the signals that the parent process did not set to be ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
