"""What tells a state of a local file from its other states."""

from __future__ import annotations

import os
from typing import NamedTuple


class SourceState(NamedTuple):
    """What shows that a local file has not changed.

    Parameters
    ----------
    device, inode : int
        Which file it is.
    size : int
        Bytes.
    mtime_ns : int
        When it was last modified, in nanoseconds.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int


class FileVersion(NamedTuple):
    """What tells a state of a local file from all others, its last change of any kind included.

    Parameters
    ----------
    device, inode, size, mtime_ns
        As in `SourceState`.
    ctime_ns : int
        When its data or metadata last changed, which no program can set back.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def file_version(path: str) -> FileVersion | None:
    """Look at a local file as `local_state` does."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as below
    except (OSError, ValueError):
        return None
    return version_of(found)


def version_of(found: os.stat_result) -> FileVersion:
    """Take a file's version from what the system says of it."""
    return FileVersion(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def local_state(path: str) -> SourceState | None:
    """Look at a local file, links followed; None where it is gone or can't be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path object for each of a million takes long
    except (OSError, ValueError):
        return None
    return SourceState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
