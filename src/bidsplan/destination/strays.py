"""Lists and removes files in a directory, without following links."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.base import FileState, Listed
from bidsplan.errors import DestinationError, UsageError
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.storage.rename import rename
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.destination.directory import Directory


_GIT = ".git"
_ASIDE = f"{STATE_DIRECTORY}/removing"
"""The directory in which a file has another name during the last check."""

Identity = tuple[int, int]


class _Mark(NamedTuple):
    """The state of a file, to check later that it is the same."""

    identity: Identity
    mode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Mark:
        identity = (found.st_dev, found.st_ino)
        return cls(identity, found.st_mode, found.st_size, found.st_mtime_ns)


def is_reserved(path: str) -> bool:
    """Report whether a path is bidsplan's or git's."""
    return path.casefold() == STATE_DIRECTORY or path.rpartition("/")[2].casefold() == _GIT


def inside_source(url: str) -> UsageError:
    """Make the error for a destination inside a source's directory."""
    return UsageError(
        f"{printable(url)}: the plan's own files come from there, or from a folder that it lies "
        "in; nothing was removed; fetch to a folder outside of it, and prune that"
    )


def spared_identities(
    folder: Directory, roots: Iterable[str], base: str, keep: Sequence[str]
) -> set[Identity]:
    """Return the identities of files to keep; see `Destination.spare`."""
    places = [parse_url(url) for url in roots]
    local = [os.path.join(base, place.path) for place in places if place.protocol == "file"]  # noqa: PTH118 - may be no name
    spared = _identities([*keep, *local])
    if any((above.st_dev, above.st_ino) in spared for above in _directories_above(folder)):
        raise inside_source(folder.root)
    return spared


def _identities(paths: Iterable[str]) -> set[Identity]:
    """Return the identities of files and directories, whatever their names."""
    found: set[Identity] = set()
    for path in paths:
        for follow in (True, False):
            # The path does not exist, or is not a valid name.
            with suppress(OSError, ValueError):
                there = Path(path).stat(follow_symlinks=follow)
                found.add((there.st_dev, there.st_ino))
    return found


def _directories_above(folder: Directory) -> list[os.stat_result]:
    """Return the identities of a directory and all directories above it."""
    try:
        with folder.directory("") as descriptor:
            found = [os.fstat(descriptor)]
            # The uppermost directory is its own parent.
            while len(found) == 1 or not os.path.samestat(*found[-2:]):
                found.append(os.stat("/".join([".."] * len(found)), dir_fd=descriptor))
    except OSError as error:
        where = printable(folder.root)
        reason = error.strerror or str(error)
        raise DestinationError(
            f"{where}: a directory above can't be looked at: {reason}"
        ) from error
    for named in Path(os.path.abspath(folder.root)).parents:  # noqa: PTH100 - follows no link
        # If a path has both links and "..", its text does not show where it leads.
        with suppress(OSError):
            found.append(named.stat())
    return found


def list_files(folder: Directory, spared: set[Identity]) -> Iterator[Listed]:
    """List files, without following links; see `Destination.list_files`."""
    waiting = [""]
    while waiting:
        for path, mark in _scan(folder, waiting.pop()):
            if mark.identity in spared or is_reserved(path):
                continue
            if stat.S_ISDIR(mark.mode):
                waiting.append(path)
                continue
            regular = stat.S_ISREG(mark.mode)
            state = FileState(mark.size, mark.mtime_ns, regular)
            yield Listed(path, state, regular or stat.S_ISLNK(mark.mode), mark)


def _scan(folder: Directory, directory: str) -> list[tuple[str, _Mark]]:
    prefix = f"{directory}/" if directory else ""
    try:
        with folder.directory(directory) as descriptor, os.scandir(descriptor) as found:
            entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        # The file was removed, or replaced by a link, since it was listed.
        return []
    except OSError as error:
        where = printable(f"{folder.root}/{directory}")
        raise DestinationError(f"{where}: can't be listed: {error.strerror}") from error
    if directory and any(name == STATE_DIRECTORY for name, _ in entries):
        return []
    return [(prefix + name, _Mark.of(state)) for name, state in entries]


def remove_file(folder: Directory, listed: Listed) -> bool:
    """Remove a file and empty directories; see `Destination.remove`."""
    parent, _, name = listed.path.rpartition("/")
    try:
        with folder.directory(parent) as directory:
            found = _Mark.of(os.stat(name, dir_fd=directory, follow_symlinks=False))
            if found != listed.mark or not _unlink(name, directory, found, folder):
                return False
    except OSError as error:
        what = printable(f"{folder.root}/{listed.path}")
        reason = error.strerror or str(error)
        raise DestinationError(f"{what}: can't be removed: {reason}") from error
    _remove_empty(parent, folder)
    return True


def _unlink(name: str, directory: int, mark: _Mark, folder: Directory) -> bool:
    """Remove a file; False if its name is another file's by now.

    Between checking a file and removing it by name, another file may get the name. Therefore the
    file is first moved to a place that only this run uses, and is removed only if it is the checked
    one.
    """
    with _aside(folder) as aside:
        moved, above = _move_aside(name, directory, aside)
        removed = False
        try:
            if _Mark.of(os.stat(moved, dir_fd=above, follow_symlinks=False)) == mark:
                os.unlink(moved, dir_fd=above)
                removed = True
        finally:
            if not removed:
                _put_back(moved, name, above, directory)
    return removed


@contextmanager
def _aside(folder: Directory) -> Iterator[int]:
    """Open a private directory, which no run empties."""
    try:
        with folder.directory(_ASIDE, create=True) as aside:
            yield aside
    finally:
        _remove_empty(_ASIDE, folder)


def _move_aside(name: str, directory: int, aside: int) -> tuple[str, int]:
    """Move a file away; returns its new name and directory."""
    moved = f".bidsplan-{secrets.token_hex(8)}"
    try:
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=aside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # On another file system than the destination, a file can't leave its directory.
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=directory)
        return moved, directory
    return moved, aside


def _put_back(moved: str, name: str, above: int, directory: int) -> None:
    if not rename(moved, name, above=above, directory=directory, replace=False):
        where = f"beside it as {moved}" if above == directory else f"in {_ASIDE}/{moved}"
        reason = f"others wrote to it twice meanwhile; what they wrote first is {where}"
        raise FileExistsError(errno.EEXIST, reason)


def _remove_empty(directory: str, folder: Directory) -> None:
    """Remove a directory and those above it, as long as they are empty."""
    while directory:
        above, _, name = directory.rpartition("/")
        try:
            with folder.directory(above) as descriptor:
                os.rmdir(name, dir_fd=descriptor)
        except OSError:
            return
        directory = above
