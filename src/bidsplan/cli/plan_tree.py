"""Writes a plan's files as a tree of directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.messages import counted, size
from bidsplan.paths import natural_key, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Planned


_MOST = 6
"""The most directories, and the most files, that are shown in one directory."""

_DEEPEST = 40
"""The most directory levels that have their own lines; deeper levels are part of file names."""


class _Directory:
    """A directory of a plan, with its files and subdirectories."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.directories: dict[str, _Directory] = {}
        self.own: dict[str, int] = {}

    def below(self, name: str) -> _Directory:
        return self.directories.setdefault(name, _Directory())

    def amount(self) -> str:
        return f"{counted(self.files, 'file')}, {size(self.bytes)}"


def tree_lines(plan: Planned, *, show_all: bool = False) -> Iterator[str]:
    """Yield a line for each directory and file; long lists are cut unless `show_all`."""
    top = _Directory()
    for entry in plan.entries:
        top.files += 1
        top.bytes += entry.size
        directory = top
        *above, name = entry.path.split("/", _DEEPEST)
        for part in above:
            directory = directory.below(part)
            directory.files += 1
            directory.bytes += entry.size
        directory.own[name] = entry.size
    yield f"{printable(plan.header.study)} ({top.amount()})"
    yield from _below(top, "  ", None if show_all else _MOST)


def _below(directory: _Directory, indent: str, most: int | None) -> Iterator[str]:
    names = sorted(directory.directories, key=natural_key)
    for name in names[:most]:
        below = directory.directories[name]
        yield f"{indent}{printable(name)}/ ({below.amount()})"
        yield from _below(below, indent + "  ", most)
    if rest := [directory.directories[name] for name in names[len(names[:most]) :]]:
        files = counted(sum(below.files for below in rest), "file")
        amount = size(sum(below.bytes for below in rest))
        noun = "more directory" if len(rest) == 1 else "more directories"
        yield f"{indent}… and {len(rest):,} {noun} ({files}, {amount})"
    files_ = sorted(directory.own.items(), key=lambda row: natural_key(row[0]))
    # A line that counts a single hidden file would be as long as the file's own line.
    most = None if most is not None and len(files_) == most + 1 else most
    for name, number in files_[:most]:
        yield f"{indent}{printable(name)} ({size(number)})"
    if others := files_[len(files_[:most]) :]:
        amount = size(sum(number for _, number in others))
        yield f"{indent}… and {counted(len(others), 'more file')} ({amount})"
