"""The directories of a plan's files."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bidsplan.plan import Entry


_PATH = attrgetter("path")

_BEHIND = chr(ord("/") + 1)
"""Sorts directly after all texts that begin with a slash."""


class PlanTree:
    """Finds files and directories in a plan's sorted entries.

    Files and directories are found by binary search, so a long plan needs no index. The plan's own
    root is the directory with the empty path.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def _index(self, path: str, start: int = 0) -> int:
        return bisect_left(self._entries, path, start, key=_PATH)

    def _span(self, directory: str) -> tuple[int, int]:
        if not directory:
            return 0, len(self._entries)
        start = self._index(f"{directory}/")
        return start, self._index(directory + _BEHIND, start)

    def entry(self, path: str) -> Entry | None:
        """Return the entry of a file."""
        index = self._index(path)
        found = self._entries[index] if index < len(self._entries) else None
        return found if found is not None and found.path == path else None

    def is_directory(self, path: str) -> bool:
        """Report whether there are files below a path."""
        start, stop = self._span(path)
        return not path or start < stop

    def below(self, directory: str) -> Sequence[Entry]:
        """Return all entries below a directory, sorted by path."""
        start, stop = self._span(directory)
        return self._entries[start:stop]

    def children(self, directory: str) -> Iterator[Entry | str]:
        """Yield a directory's files as entries, and its directories as paths."""
        index, stop = self._span(directory)
        skip = len(directory) + 1 if directory else 0
        while index < stop:
            entry = self._entries[index]
            end = entry.path.find("/", skip)
            if end < 0:
                yield entry
                index += 1
            else:
                yield entry.path[:end]
                index = self._index(entry.path[:end] + _BEHIND, index)
