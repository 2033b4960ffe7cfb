"""Where the bytes of an entry are written, and what is there already."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bidsplan.destination.directory import write_all
from bidsplan.destination.reading import chunks
from bidsplan.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from typing_extensions import Buffer

    from bidsplan.destination.partial_files import Partial
    from bidsplan.storage import Upload


class Target:
    """What takes bytes that come."""

    def prefix(self, stopping: Callable[[], bool]) -> Generator[Buffer, None, None]:
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


class Nowhere(Target):
    """Takes bytes that are only looked at."""

    def write(self, data: Buffer) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget what was taken."""


class UndeliveredError(Exception):
    """Bytes could not be passed on, which is no fault of where they come from.

    Parameters
    ----------
    why : StorageError
        What the destination said.
    """

    def __init__(self, why: StorageError) -> None:
        super().__init__(str(why))
        self.why = why


class Delivery(Target):
    """Passes bytes on, so that its own trouble is not taken for the source's and tried again."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def write(self, data: Buffer) -> None:
        """Take the next bytes."""
        try:
            self._upload.write(data)
        except StorageError as error:
            raise UndeliveredError(error) from error

    def restart(self) -> None:
        """Forget what was taken."""
        self._upload.restart()
