"""Unfinished files of large objects, kept to resume from; all other partial files are removed.

A kept partial is named by its path and by all that tells its source apart, so that it is found for
nothing else. What it holds is not trusted: whoever resumes from it digests the whole file, and
begins anew where that is not the planned one. Each is adopted by one run at most, which has moved
it to its own directory; what is in another run's directory, perhaps of another machine, is only
ever copied, unless its lock shows that the run has ended.
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
"""Seconds without a change after which a run that no lock shows is taken to have ended."""

_STALE = 7 * 24 * 3600.0
"""Seconds after which nobody is expected to resume from a partial."""

_SILENT = 600.0
"""Seconds without a change after which nobody is taken to write to a file that has its path."""


def resume_key(path: str, *source: str | int | None) -> str:
    """Name a partial by its path and all that tells its source apart from others."""
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
    """Open a partial, with what earlier runs had of it; raises OSError where none can be made.

    Parameters
    ----------
    name : str
        A `resume_key`.
    above, run : int
        Descriptors of the directory that runs have theirs in, and of this run's own.
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
    """Move a kept partial to a run, where no other one can move it from, and open it."""
    try:
        with _directory(_KEPT, above) as kept:
            if not stat.S_ISREG(os.stat(name, dir_fd=kept, follow_symlinks=False).st_mode):
                return None
            os.rename(name, name, src_dir_fd=kept, dst_dir_fd=run)
        return os.open(name, os.O_RDWR | _READ, dir_fd=run)
    except OSError:
        # What can't be adopted costs a fetch from the start, and no more.
        return None


def _is_ours(found: os.stat_result) -> bool:
    """Report whether a file may become one of the dataset; otherwise its bytes are copied."""
    plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return plain and found.st_uid == os.geteuid() and not found.st_mode & 0o7111


def _left(name: str, above: int) -> int | None:
    """Open what a run that may have ended has of a partial."""
    for place in os.listdir(above):
        with suppress(OSError), _directory(place, above) as directory:
            descriptor = os.open(name, os.O_RDONLY | _READ, dir_fd=directory)
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_size:
                return descriptor
            os.close(descriptor)
    return None


def keep(name: str, above: int, run: int) -> int:
    """Move a run's partial to where later runs look for it; remove one that holds nothing.

    Returns the bytes that are kept. Parameters as for `adopt_partial`. Raises OSError.
    """
    found = os.stat(name, dir_fd=run, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode) and found.st_size:
        with suppress(OSError), _directory(_KEPT, above, create=True) as kept:
            os.rename(name, name, src_dir_fd=run, dst_dir_fd=kept)
            return held_bytes(found)
    os.unlink(name, dir_fd=run)
    return 0


def forget(name: str, above: int) -> None:
    """Remove other partials of a file that has its path, also of sources it once had."""
    path = name.partition("-")[0]
    for place in os.listdir(above):
        with suppress(OSError), _directory(place, above) as directory:
            for other in os.listdir(directory):
                mine = other.partition("-")[0] == path
                if mine and (place == _KEPT or _silence(other, directory) > _SILENT):
                    os.unlink(other, dir_fd=directory)


def sweep(above: int) -> None:
    """Remove what runs that have ended left, and keep what may be resumed from."""
    for name in os.listdir(above):
        with suppress(OSError), _directory(name, above) as left:
            if name == _KEPT:
                _remove_stale(left)
            elif (dead := _is_dead(name, left)) or (dead is None and _quiet(left) > _ABANDONED):
                for partial in os.listdir(left):
                    _put_away(partial, above, left, certain=bool(dead))
                # Another run may have swept it before it was locked here, and its own run may have
                # made it anew since. It stays as long as something is in it.
                if is_at(left, name, above):
                    os.rmdir(name, dir_fd=above)


def _put_away(name: str, above: int, left: int, *, certain: bool) -> None:
    """Keep or remove a partial of another run, which has ended or is assumed to have."""
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
    """Report by its lock whether a run has ended; None where the lock can't be relied on.

    Cluster file systems are often mounted so that locks hold on one machine only, or not at all.
    """
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True if run.startswith(f"{boot_id()}-") else None


def _quiet(directory: int) -> float:
    """Return for how many seconds a directory and what is in it have not changed."""
    return min(_silence(name, directory) for name in (".", *os.listdir(directory)))


def _silence(name: str, directory: int) -> float:
    """Return for how many seconds a file or directory has not changed."""
    return time.time() - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
