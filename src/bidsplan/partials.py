"""Files that are being written, and the directory that each run keeps its own in."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import time
from contextlib import suppress

__all__ = [
    "DIRECTORY",
    "NEW_FILE",
    "Partial",
    "claim",
    "is_at",
    "open_directory",
    "run_name",
    "sweep",
]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open a directory with, through no link."""

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to make a file with, where there is none."""

_TRIES = 100
_ABANDONED = 24 * 3600.0
"""Seconds after which another machine's partials are taken for left behind."""


class Partial:
    """A file that is being written, and that has no place in the dataset yet.

    Parameters
    ----------
    name : str
    descriptor : int
        Open for writing.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor

    def close(self) -> None:
        """Close it, once; network file systems tell only now what they could not write."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def run_name() -> str:
    """Give a name for a run's directory, which tells the machine that it runs on."""
    return f"{_machine()}-{secrets.token_hex(8)}"


def claim(run: str, above: int) -> int:
    """Make a run's directory, and hold a lock that tells that it is in use.

    Parameters
    ----------
    run : str
    above : int
        Descriptor of the directory that runs keep their partials in.

    Returns
    -------
    int
        A descriptor, whose closing gives the lock back.

    Raises
    ------
    OSError
    """
    for _ in range(_TRIES):
        # Another run may sweep it away until it is locked.
        with suppress(FileNotFoundError):
            made = open_directory(run, above, create=True)
            # Where locks do not work, nobody sweeps; at worst a partial is left behind.
            with suppress(OSError):
                fcntl.flock(made, fcntl.LOCK_SH)
            if is_at(made, run, above):
                return made
            os.close(made)
    raise FileNotFoundError(errno.ENOENT, "it vanishes as soon as it is made", run)


def sweep(above: int) -> None:
    """Remove the partials of runs that are no more.

    Parameters
    ----------
    above : int
        Descriptor of the directory that runs keep their partials in.
    """
    for name in os.listdir(above):
        with suppress(OSError):
            left = os.open(name, DIRECTORY, dir_fd=above)
            try:
                if _may_sweep(name, left):
                    fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    for partial in os.listdir(left):
                        os.unlink(partial, dir_fd=left)
                    os.rmdir(name, dir_fd=above)
            finally:
                os.close(left)


def _machine() -> str:
    """Give a short mark of this machine."""
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def _may_sweep(name: str, directory: int) -> bool:
    """Tell whether a lock on a run's directory can be relied on, or else its age.

    Cluster file systems are often mounted so that locks hold on one machine only.
    """
    if name.startswith(f"{_machine()}-"):
        return True
    return time.time() - os.fstat(directory).st_mtime > _ABANDONED


def open_directory(name: str, above: int, *, create: bool) -> int:
    """Open a directory in a directory, through no link.

    Parameters
    ----------
    name : str
    above : int
        Descriptor of the directory that it stands in.
    create : bool
        Whether to make it where it is not there.

    Returns
    -------
    int
        A descriptor.

    Raises
    ------
    OSError
    """
    try:
        return os.open(name, DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
    return os.open(name, DIRECTORY, dir_fd=above)


def is_at(descriptor: int, name: str, above: int) -> bool:
    """Tell whether what is open still stands under its name.

    Parameters
    ----------
    descriptor : int
    name : str
    above : int
        Descriptor of the directory that it stood in.

    Returns
    -------
    bool
    """
    try:
        there = os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
