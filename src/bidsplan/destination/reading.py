"""Reading a file of a destination and checking it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bidsplan.plan.integrity import Checker, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.destination.directory import Destination
    from bidsplan.plan import Entry


_CHUNK = 1 << 20


class Stopped(Exception):  # noqa: N818 - a request that was heard, and no error
    """The work was asked to stop."""


def read_checked(
    entry: Entry,
    destination: Destination,
    stopping: Callable[[], bool] = lambda: False,
    taker: Callable[[bytes], None] | None = None,
) -> Verdict:
    """Read a file of the destination, and compare it with what was planned.

    Parameters
    ----------
    taker : callable, optional
        Takes the bytes that are read as well.

    Raises
    ------
    DestinationError
        Where it can't be read.
    Stopped
    """
    checker = Checker(entry)
    with destination.reading(entry.path) as descriptor:
        for chunk in chunks(descriptor, stopping):
            checker.update(chunk)
            if taker is not None:
                taker(chunk)
    return checker.verdict()


def chunks(descriptor: int, stopping: Callable[[], bool]) -> Iterator[bytes]:
    """Read a file in pieces, as long as nobody stops it.

    Raises
    ------
    OSError
    Stopped
    """
    while chunk := os.read(descriptor, _CHUNK):
        if stopping():
            raise Stopped
        yield chunk
