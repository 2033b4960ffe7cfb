"""Partial files, in a directory for each run."""

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
"""Flags for opening a directory, but not a link."""

NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for creating a file that must not exist."""

_TRIES = 100
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Partial:
    """A file that is being written and is not at its path yet.

    Parameters
    ----------
    descriptor : int
        A descriptor that is open for writing.
    prefix : int
        A descriptor for reading the bytes of an earlier run: the same one, or that of another file.
        It is negative if there are no such bytes.

    Attributes
    ----------
    unfinished : bool
        Whether a later run should resume from its bytes.
    committed : bool
        Whether the file is at its path.
    """

    def __init__(self, name: str, descriptor: int, *, prefix: int = -1) -> None:
        self.name = name
        self.descriptor = descriptor
        self.prefix = prefix
        self.unfinished = False
        self.committed = False
        self._lock = Lock()

    def close_prefix(self) -> None:
        """Close the earlier run's file, if it is a different one."""
        prefix, self.prefix = self.prefix, -1
        if prefix >= 0 and prefix != self.descriptor:
            os.close(prefix)

    def close(self) -> None:
        """Close the file once, with the errors of network file systems."""
        with self._lock:
            self.close_prefix()
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def detach(self) -> None:
        """Detach the file from a thread that may still write to it."""
        with self._lock:
            if self.descriptor >= 0:
                nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nowhere, self.descriptor, inheritable=False)
                os.close(nowhere)


def held_bytes(found: os.stat_result) -> int:
    """Return the bytes that a file really has, without holes."""
    return min(found.st_size, found.st_blocks * 512)


@functools.cache
def boot_id() -> str:
    """Return a short mark of this machine since its start."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text(encoding="ascii")
    return hashlib.sha256(f"{os.uname().nodename}\0{boot}".encode()).hexdigest()[:8]


def run_name() -> str:
    """Return the name of a run's directory, with the machine's mark."""
    return f"{boot_id()}-{secrets.token_hex(8)}"


def claim(run: str, above: int) -> int:
    """Create and lock a run's directory.

    Returns a descriptor; closing it releases the lock. Raises OSError.
    """
    for _ in range(_TRIES):
        # Until the directory is locked, another run may remove it.
        with suppress(FileNotFoundError):
            made = open_directory(run, above, create=True)
            # If locks do not work, the directory is removed only after a day without a change.
            with suppress(OSError):
                fcntl.flock(made, fcntl.LOCK_SH)
            if is_at(made, run, above):
                return made
            os.close(made)
    raise FileNotFoundError(errno.ENOENT, "it vanishes as soon as it is made", run)


def open_directory(name: str, above: int, *, create: bool) -> int:
    """Open a directory without following links. Raises OSError."""
    try:
        return os.open(name, DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
    return os.open(name, DIRECTORY, dir_fd=above)


def is_at(descriptor: int, name: str, above: int) -> bool:
    """Report whether an open file still has its name."""
    try:
        there = os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
