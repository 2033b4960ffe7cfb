"""What takes an entry's bytes as they come, and what it holds of them already."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bidsplan.destination import write_all
from bidsplan.digests import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from typing_extensions import Buffer

    from bidsplan.partials import Partial

__all__ = ["PartialFile", "Target"]


class Target:
    """What takes bytes that come."""

    def prefix(self, stopping: Callable[[], bool]) -> Generator[Buffer, None, None]:  # noqa: ARG002
        """Give the bytes that it holds already, from the start.

        Parameters
        ----------
        stopping : callable
            Tells whether to stop.

        Yields
        ------
        Buffer
            Nothing, unless an earlier run left some.
        """
        yield from ()

    def write(self, data: Buffer) -> object:
        """Take the next bytes."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget what was taken."""

    def failed(self, *, passing: bool) -> None:
        """Hear that no more comes.

        Parameters
        ----------
        passing : bool
            Whether that says nothing against what has come.
        """


class PartialFile(Target):
    """A partial that takes bytes.

    Parameters
    ----------
    partial : Partial
        Told by its `unfinished` whether what is in it after an error is worth keeping.
    """

    def __init__(self, partial: Partial) -> None:
        self._partial = partial

    def prefix(self, stopping: Callable[[], bool]) -> Generator[Buffer, None, None]:
        """See `Target.prefix`; the disk may have no room for two of it."""
        partial = self._partial
        if partial.prefix < 0:
            return
        try:
            for chunk in chunks(partial.prefix, stopping):
                if partial.prefix != partial.descriptor:
                    write_all(partial.descriptor, chunk)
                yield chunk
        finally:
            partial.close_prefix()

    def write(self, data: Buffer) -> None:
        """See `Target.write`."""
        write_all(self._partial.descriptor, data)

    def restart(self) -> None:
        """See `Target.restart`."""
        os.lseek(self._partial.descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._partial.descriptor, 0)

    def failed(self, *, passing: bool) -> None:
        """See `Target.failed`."""
        self._partial.unfinished = passing
