"""Records the state of a checked dataset, to detect later changes."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from bidsplan.paths import (
    STATE_DIRECTORY,
    collision_form,
    open_regular,
    parents,
    printable,
    replacing,
)
from bidsplan.plan.model import DECODE_ERRORS
from bidsplan.storage.file_state import version_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path


States = dict[str, list[int]]
"""Sizes, times and inodes by path, which change with a file's content."""

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The states of a dataset's files, and of their local sources."""

    files: States
    sources: States


def read_seal(folder: Path) -> Seal | None:
    """Read a dataset's seal; None if it is missing or invalid."""
    try:
        with open_regular(_path(folder)) as file:
            return msgspec.json.decode(file.read(), type=Seal)
    except (OSError, *DECODE_ERRORS):
        return None


def write_seal(folder: Path, sources: States) -> None:
    """Write the seal of a dataset; raises OSError."""
    with replacing(_path(folder)) as file:
        file.write(msgspec.json.encode(Seal(files=file_states(folder), sources=sources)))


def file_states(folder: Path) -> States:
    """Return the states of a dataset's files, including the ctime."""
    # The numbers of devices may change when the machine restarts.
    return {printable(path): list(version_of(found)[1:]) for path, found in _walk(folder)}


def changed_files(folder: Path) -> list[str]:
    """List files that were written, added or removed since the seal."""
    seal = read_seal(folder)
    if seal is None:
        return []
    before, now = seal.files, file_states(folder)
    changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    # If a directory is empty because its files were removed, those files are the change.
    return sorted(changed - {above for path in changed for above in parents(path)})


def superfluous(folder: Path, planned: Container[str]) -> list[str]:
    """List files, links and empty directories that are not planned."""
    return [path for path, _ in _walk(folder) if collision_form(path) not in planned]


def protect(folder: Path) -> None:
    """Make the files of a dataset read-only; raises OSError."""
    for path, found in _walk(folder):
        if stat.S_ISREG(found.st_mode) and found.st_mode & _WRITABLE:
            (folder / path).chmod(stat.S_IMODE(found.st_mode) & ~_WRITABLE)


def _path(folder: Path) -> Path:
    return folder.with_name("files.json")


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """List a dataset's files, links and empty directories, without following links."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        found = _listed(f"{folder}/{above}")
        if above and not found:
            with suppress(FileNotFoundError):
                yield above[:-1], (folder / above).stat(follow_symlinks=False)
        for entry in found:
            path = above + entry.name
            # Another process may remove unplanned files meanwhile.
            with suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False)
                elif path != STATE_DIRECTORY:
                    waiting.append(f"{path}/")


def _listed(directory: str) -> list[os.DirEntry[str]]:
    # If a directory can't be read, its files are reported as missing.
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
