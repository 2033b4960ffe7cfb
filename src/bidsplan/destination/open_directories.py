"""Keeps directories open for the small files that are written there."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.destination.directory import Directory

_OPEN = 8


class OpenDirectories:
    """Opens directories without following links; for one thread only."""

    def __init__(self, folder: Directory) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}

    def descriptor(self, path: str, *, create: bool = False) -> int:
        """Return a directory's descriptor, valid until the next call. Raises OSError."""
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
            # If a broken disk reports an error only when a directory is closed, nothing is lost.
            with suppress(OSError):
                os.close(self._open.popitem()[1])
