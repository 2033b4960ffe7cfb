"""Directories of a destination that are kept open, as files come in the order of their paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.destination import Destination

__all__ = ["OpenDirectories"]

_OPEN = 8


class OpenDirectories:
    """Opens directories, through no link, and keeps the latest few open.

    Parameters
    ----------
    folder : Destination

    Notes
    -----
    For use from one thread only.
    """

    def __init__(self, folder: Destination) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}

    def descriptor(self, path: str, *, create: bool = False) -> int:
        """Open a directory.

        Parameters
        ----------
        path : str
        create : bool
            Whether to make what is not there.

        Returns
        -------
        int
            Good until the next call.

        Raises
        ------
        OSError
        """
        found = self._open.get(path)
        if found is None:
            with self._folder.directory(path, create=create) as directory:
                found = os.dup(directory)
            if len(self._open) >= _OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[path] = found
        return found

    def close(self) -> None:
        """Close them all."""
        while self._open:
            os.close(self._open.popitem()[1])
