"""Keeps the unfinished files of large objects, for later runs to resume.

A kept partial file has a name made from its path and its source, so that no other entry finds it.
Its bytes are not trusted: a run that resumes it digests the whole file, and begins again if the
digest is wrong. Only one run at a time uses a partial file, after moving it to its own directory. A
partial file in another run's directory is only copied, unless that run's lock shows that it has
ended. The other run may be on another machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from bidsplan.destination.partial_files import (
    NEW_FILE,
    Partial,
    boot_id,
    held_bytes,
    is_at,
    open_directory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


_KEPT = "kept"
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}")
_READ = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_ABANDONED = 24 * 3600.0
"""Seconds without a change after which a run without a lock is assumed to have ended."""

_STALE = 7 * 24 * 3600.0
"""Seconds after which a partial file is no longer kept."""

_SILENT = 600.0
"""Seconds without a change after which a committed file is no longer written to."""


def resume_key(path: str, *source: str | int | None) -> str:
    """Return a partial file's name, from its path and its source."""
    return f"{_mark(path)}-{_mark(source)}"


def _mark(of: object) -> str:
    return hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:32]


@contextmanager
def _directory(name: str, above: int, *, create: bool = False) -> Iterator[int]:
    descriptor = open_directory(name, above, create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def adopt_partial(name: str, above: int, run: int) -> Partial:
    """Open a partial file with the bytes of earlier runs; raises OSError.

    Parameters
    ----------
    name : str
        A `resume_key`.
    above, run : int
        Descriptors of the directory that contains all runs' directories, and of this run's
        directory.
    """
    found = _kept(name, above, run)
    if found is not None and _is_ours(os.fstat(found)):
        return Partial(name, found, prefix=found)
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=run)
    if found is None:
        found = _left(name, above)
    try:
        made = os.open(name, NEW_FILE, 0o666, dir_fd=run)
    except OSError:
        if found is not None:
            os.close(found)
        raise
    return Partial(name, made, prefix=-1 if found is None else found)


def _kept(name: str, above: int, run: int) -> int | None:
    """Move a kept partial file to this run's directory, and open it."""
    try:
        with _directory(_KEPT, above) as kept:
            if not stat.S_ISREG(os.stat(name, dir_fd=kept, follow_symlinks=False).st_mode):
                return None
            os.rename(name, name, src_dir_fd=kept, dst_dir_fd=run)
        return os.open(name, os.O_RDWR | _READ, dir_fd=run)
    except OSError:
        # If a partial file can't be used, the file is fetched from the start.
        return None


def _is_ours(found: os.stat_result) -> bool:
    """Report whether a partial file may itself become a dataset's file."""
    plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return plain and found.st_uid == os.geteuid() and not found.st_mode & 0o7111


def _left(name: str, above: int) -> int | None:
    """Open the partial file of a run that may have ended."""
    for place in os.listdir(above):
        with suppress(OSError), _directory(place, above) as directory:
            descriptor = os.open(name, os.O_RDONLY | _READ, dir_fd=directory)
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_size:
                return descriptor
            os.close(descriptor)
    return None


def keep(name: str, above: int, run: int) -> int:
    """Move a partial file to where later runs find it, or remove an empty one.

    Returns the number of bytes that are kept. Parameters as in `adopt_partial`. Raises OSError.
    """
    found = os.stat(name, dir_fd=run, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode) and found.st_size:
        with suppress(OSError), _directory(_KEPT, above, create=True) as kept:
            os.rename(name, name, src_dir_fd=run, dst_dir_fd=kept)
            return held_bytes(found)
    os.unlink(name, dir_fd=run)
    return 0


def forget(name: str, above: int) -> None:
    """Remove other partial files of a complete file, also of older sources."""
    path = name.partition("-")[0]
    for place in os.listdir(above):
        with suppress(OSError), _directory(place, above) as directory:
            for other in os.listdir(directory):
                mine = other.partition("-")[0] == path
                if mine and (place == _KEPT or _silence(other, directory) > _SILENT):
                    os.unlink(other, dir_fd=directory)


def sweep(above: int) -> None:
    """Remove the leftovers of ended runs, and keep resumable files."""
    for name in os.listdir(above):
        with suppress(OSError), _directory(name, above) as left:
            if name == _KEPT:
                _remove_stale(left)
            elif (dead := _is_dead(name, left)) or (dead is None and _quiet(left) > _ABANDONED):
                for partial in os.listdir(left):
                    _put_away(partial, above, left, certain=bool(dead))
                # Another run may have removed the directory before it was locked here, and its own
                # run may have created it again since. It stays as long as it contains anything.
                if is_at(left, name, above):
                    os.rmdir(name, dir_fd=above)


def _put_away(name: str, above: int, left: int, *, certain: bool) -> None:
    """Keep or remove a partial file of another run that has ended."""
    if not _NAME.fullmatch(name):
        os.unlink(name, dir_fd=left)
    elif certain:
        keep(name, above, left)
    elif _silence(name, left) > _STALE:
        os.unlink(name, dir_fd=left)


def _remove_stale(kept: int) -> None:
    for name in os.listdir(kept):
        if _silence(name, kept) > _STALE:
            os.unlink(name, dir_fd=kept)


def _is_dead(run: str, directory: int) -> bool | None:
    """Report by its lock whether a run has ended; None if locks are unreliable.

    On cluster file systems, locks often work on one machine only, or not at all.
    """
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True if run.startswith(f"{boot_id()}-") else None


def _quiet(directory: int) -> float:
    """Return the seconds since a directory or its files last changed."""
    return min(_silence(name, directory) for name in (".", *os.listdir(directory)))


def _silence(name: str, directory: int) -> float:
    """Return the seconds since a file or directory last changed."""
    return time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
