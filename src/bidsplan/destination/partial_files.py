"""Files that are being written, in a directory of each run."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from threading import Lock

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open a directory with, through no link."""

NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to make a file with, where there is none."""

_TRIES = 100
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Partial:
    """A file that is being written, and has no path in the dataset yet.

    Parameters
    ----------
    descriptor : int
        Open for writing.
    prefix : int
        Open for reading what an earlier run had of it: the same descriptor, or another file's;
        negative where there is nothing.

    Attributes
    ----------
    unfinished : bool
        Whether what it holds is worth going on from.
    committed : bool
        Whether it has its path.
    """

    def __init__(self, name: str, descriptor: int, *, prefix: int = -1) -> None:
        self.name = name
        self.descriptor = descriptor
        self.prefix = prefix
        self.unfinished = False
        self.committed = False
        self._lock = Lock()

    def close_prefix(self) -> None:
        """Close what an earlier run had, where that is another file."""
        prefix, self.prefix = self.prefix, -1
        if prefix >= 0 and prefix != self.descriptor:
            os.close(prefix)

    def close(self) -> None:
        """Close it, once; network file systems report only now what they could not write."""
        with self._lock:
            self.close_prefix()
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def detach(self) -> None:
        """Keep a thread that may still write to it from reaching the file any more."""
        with self._lock:
            if self.descriptor >= 0:
                nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nowhere, self.descriptor, inheritable=False)
                os.close(nowhere)


def held_bytes(found: os.stat_result) -> int:
    """Return how many bytes of a file are there: one written in any order has holes."""
    return min(found.st_size, found.st_blocks * 512)


@functools.cache
def boot_id() -> str:
    """Return a short mark of this machine since it was started: locks hold at least as far."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text(encoding="ascii")
    return hashlib.sha256(f"{os.uname().nodename}\0{boot}".encode()).hexdigest()[:8]


def run_name() -> str:
    """Return a name for a run's directory, which names the machine that it runs on."""
    return f"{boot_id()}-{secrets.token_hex(8)}"


def claim(run: str, above: int) -> int:
    """Make a run's directory in an open one, and lock it.

    Returns a descriptor, whose closing releases the lock. Raises OSError.
    """
    for _ in range(_TRIES):
        # Another run may sweep it away until it is locked.
        with suppress(FileNotFoundError):
            made = open_directory(run, above, create=True)
            # Where locks do not work, it is swept only when nobody has written for a day.
            with suppress(OSError):
                fcntl.flock(made, fcntl.LOCK_SH)
            if is_at(made, run, above):
                return made
            os.close(made)
    raise FileNotFoundError(errno.ENOENT, "it vanishes as soon as it is made", run)


def open_directory(name: str, above: int, *, create: bool) -> int:
    """Open a directory in an open one, through no link; returns a descriptor. Raises OSError."""
    try:
        return os.open(name, DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
    return os.open(name, DIRECTORY, dir_fd=above)


def is_at(descriptor: int, name: str, above: int) -> bool:
    """Report whether what is open still has its name in an open directory."""
    try:
        there = os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
