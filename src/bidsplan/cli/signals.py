"""SIGINT and SIGTERM: the first stops a command cleanly, the second at once."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Signalled(SystemExit):
    """A signal, as a SystemExit, which event loops raise again."""

    code: int


_received: list[int] = []
"""The exit codes of the signals that the process has received."""


def exit_at_once() -> None:
    """Make any signal end the process silently, with the signal's exit code."""
    for number in _handled():
        signal.signal(number, lambda number, _: os._exit(128 + number))


@contextmanager
def first_signal(*, interrupt: bool) -> Iterator[list[int]]:
    """Record the first signal, and let the next one end the process.

    Parameters
    ----------
    interrupt : bool
        Whether to raise `Signalled` in the main thread. Otherwise the work checks whether to stop.

    Yields
    ------
    list of int
        The exit codes of all signals so far. The list also has signals whose exception was lost, in
        a destructor or in code that catches all exceptions.
    """

    def handler(number: int, _: FrameType | None) -> None:
        exit_at_once()
        _received.append(128 + number)
        if interrupt:
            raise Signalled(128 + number)

    before = {number: signal.signal(number, handler) for number in _handled()}
    try:
        yield _received
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _handled() -> list[signal.Signals]:
    """Return the signals that the parent process does not ignore."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
