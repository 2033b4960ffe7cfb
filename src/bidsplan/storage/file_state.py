"""The state of a local file, by which a change shows."""

from __future__ import annotations

import os
from typing import NamedTuple


class SourceState(NamedTuple):
    """A local file's size in bytes and time in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class FileVersion(NamedTuple):
    """A `SourceState` with the file's ctime.

    No program can change `ctime_ns` back.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def file_version(path: str) -> FileVersion | None:
    """Return a local file's version; None if it can't be read."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as below
    except (OSError, ValueError):
        return None
    return version_of(found)


def version_of(found: os.stat_result) -> FileVersion:
    """Return the version of a file from its status."""
    return FileVersion(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def local_state(path: str) -> SourceState | None:
    """Return a local file's state; None if it can't be read."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path object for each of a million takes long
    except (OSError, ValueError):
        return None
    return SourceState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
