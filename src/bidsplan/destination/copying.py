"""Copies local files, sharing disk blocks if the file system can."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.destination.base import Writer

_CHUNK = 1 << 20
_MUCH = 64 << 20

_CLONE = getattr(fcntl, "FICLONE", 0x40049409)
"""Linux's ioctl that shares another file's blocks; Python defines it from 3.12 on."""

_UNSUPPORTED = frozenset(
    {errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}
)


def clone(source: int, target: int) -> bool:
    """Make an empty file share another's blocks; returns whether that worked."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _CLONE, source)
    except OSError:
        return False
    return True


def copy(source: int, target: int, stopping: Callable[[], bool]) -> bool:
    """Copy a file; returns whether all of it was copied. Raises OSError."""
    if clone(source, target):
        return True
    done = 0
    while not stopping():
        number = _copied(source, target, done)
        if not number:
            return True
        done += number
    return False


def _copied(source: int, target: int, start: int) -> int:
    """Copy the next bytes, preferably inside the kernel; returns their number."""
    if sys.platform == "linux":
        try:
            return os.copy_file_range(source, target, _MUCH, start, start)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    data = os.pread(source, _CHUNK, start)
    view = memoryview(data)
    while view:
        view = view[os.pwrite(target, view, start + len(data) - len(view)) :]
    return len(data)


def chunks(read: Callable[[int, int], bytes], size: int) -> Iterator[bytes]:
    """Yield a file's bytes in order, and at most one byte too many.

    Parameters
    ----------
    read : callable
        Returns the bytes between two positions.
    """
    start = 0
    while start <= size and (data := read(start, min(start + _CHUNK, size + 1))):
        yield data
        start += len(data)


def can_link(descriptor: int, writer: Writer) -> bool:
    """Report whether a file is this user's and on a writer's file system."""
    into = writer.descriptor()
    if into is None:
        return False
    found = os.fstat(descriptor)
    return found.st_uid == os.geteuid() and found.st_dev == os.fstat(into).st_dev


def holds_bytes(writer: Writer) -> bool:
    """Report whether a writer's file has bytes of an earlier run."""
    into = writer.descriptor()
    return into is not None and os.fstat(into).st_size > 0


class Moved:
    """Counts reported bytes, to be able to take them back."""

    def __init__(self, copied: Callable[[int], None]) -> None:
        self._copied = copied
        self._number = 0

    def __call__(self, chunk: bytes) -> None:
        """Report that a chunk has arrived."""
        self._number += len(chunk)
        self._copied(len(chunk))

    def revert(self) -> None:
        """Take back all reported bytes."""
        number, self._number = self._number, 0
        self._copied(-number)
