"""Writes one of several similar errors, and counts the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.cli.console import coded
from bidsplan.messages import counted, listed
from bidsplan.paths import natural_key, printable

if TYPE_CHECKING:
    from bidsplan.cli.console import Console
    from bidsplan.errors import BidsplanError
    from bidsplan.plan import Entry


_NAMED = 10
"""The most files of a group whose paths are kept."""


class _Group:
    """The paths of files that failed with similar errors."""

    def __init__(self, first: str, error: BidsplanError) -> None:
        self.first = first
        self.help_code = error.help_code
        self.paths: list[str] = []
        self.number = 0

    def add(self, path: str) -> None:
        self.number += 1
        if self.number <= _NAMED:
            self.paths.append(path)


class LikeErrors:
    """Writes the errors of files, and each group of similar ones once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._groups: dict[str, _Group] = {}

    def add(self, entry: Entry, error: BidsplanError) -> None:
        """Write a file's error, or count it with a similar one."""
        text = str(error)
        alike = _without_names(text, entry)
        group = self._groups.get(alike)
        if group is not None:
            group.add(printable(entry.path))
            return
        self._groups[alike] = _Group(printable(entry.path), error)
        self._console.error(coded(text, error.help_code))

    def close(self) -> None:
        """Name the files that were counted and not written."""
        for group in self._groups.values():
            if group.number:
                text = f"{counted(group.number, 'more file')} failed like {group.first}: "
                text += listed(sorted(group.paths, key=natural_key), group.number)
                if group.number > len(group.paths) and not self._console.json:
                    text += "; --json lists all"
                self._console.error(coded(text, group.help_code))


def _without_names(text: str, entry: Entry) -> str:
    """Return an error's text without the file's name."""
    for name in sorted({entry.path, entry.key}, key=len, reverse=True):
        text = text.replace(printable(name), "") if name else text
    return text
