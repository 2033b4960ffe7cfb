"""Removing from a destination what is no longer in its plan, and nobody else's files."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.directory import Destination
from bidsplan.destination.lock import RunLock
from bidsplan.destination.receipts import read_receipts
from bidsplan.errors import DestinationError, UnsupportedError, UsageError
from bidsplan.events import Kept, KeptReason, Pruned, PruneFailed, Waiting, Warned
from bidsplan.paths import STATE_DIRECTORY, collision_form, printable
from bidsplan.storage.rename import rename
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from os import PathLike

    from bidsplan.plan import Planned


_GIT = ".git"
_ASIDE = f"{STATE_DIRECTORY}/removing"
"""Where a file waits, under another name, while it is looked at for the last time."""

Identity = tuple[int, int]


def prune(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    base: str | PathLike[str] | None = None,
    everything: bool = False,
    keep: Iterable[str | PathLike[str]] = (),
    dry_run: bool = False,
    agree: Callable[[Sequence[Pruned]], bool] | None = None,
    wait: bool = False,
) -> Generator[Pruned | Kept | PruneFailed | Waiting | Warned, None, None]:
    """Remove files that are not in a plan, and directories that this leaves empty.

    Parameters
    ----------
    plan : Plan
    destination : path
        A local directory.
    base : path, optional
        The directory that the plan's relative local roots are relative to: the plan's own.
    everything : bool
        Whether to remove also what bidsplan did not bring, or what was changed since.
    keep : iterable of path
        Files and directories that are left alone wherever they are, such as the plan itself.
    dry_run : bool
        Whether only to tell what would be removed.
    agree : callable, optional
        Asked once, with all that would be removed, before any of it is.
    wait : bool
        Whether to wait for another run that is at work in the destination.

    Yields
    ------
    Waiting or Warned
        Of the destination's lock.
    Kept
        For each file that is left alone though it is not in the plan, first of all.
    Pruned or Unpruned
        For each that was removed, would be, or can't be.

    Raises
    ------
    UnsupportedError
        Where the destination is a URL.
    UsageError
        Where the destination is, or lies in, a folder that the plan's files come from.
    DestinationError
        Where the destination, or a directory above it, can't be looked at.
    LockedError
        Where another run is at work there, and it is not waited for.

    Notes
    -----
    No link is followed; a link goes as such, with `everything`. Of hidden files and directories
    only what bidsplan brought goes, also with `everything`; of ``.bidsplan/`` and ``.git/``, of
    another destination inside of this one, and of the plan's local roots, nothing ever does.
    """
    place = parse_url(str(destination))
    if place.protocol != "file":
        raise UnsupportedError(
            f"the destination is a {place.protocol!r} URL, and only directories are pruned"
        )
    folder = Destination(place.path, create=False)
    lock = RunLock(folder)
    try:
        if not dry_run:
            yield from lock.acquire(wait=wait, create=False)
        roots = [Path(base or ".") / path for path in _local_roots(plan)]
        kept = _identities([*keep, *roots])
        _refuse_kept(folder, kept)
        search = _Search(plan, folder, everything=everything, kept=kept)
        strays = sorted(search.below(""))
        yield from search.spared
        found = [Pruned(path=stray.path, bytes=stray.mark.bytes) for stray in strays]
        if dry_run:
            yield from found
        elif found and (agree is None or agree(found)):
            for stray in strays:
                yield _remove(stray, folder)
    finally:
        lock.release()
        folder.close()


def _local_roots(plan: Planned) -> Iterator[str]:
    for root in plan.header.roots:
        location = parse_url(root.url)
        if location.protocol == "file":
            yield location.path


def _identities(paths: Iterable[str | PathLike[str]]) -> set[Identity]:
    """Give what tells files and directories apart, whatever they are named."""
    found: set[Identity] = set()
    for path in paths:
        for follow in (True, False):
            try:
                there = Path(path).stat(follow_symlinks=follow)
            except (OSError, ValueError):
                # Not there, or no name at all.
                continue
            found.add((there.st_dev, there.st_ino))
    return found


def _refuse_kept(folder: Destination, kept: set[Identity]) -> None:
    """Raise where a destination is, or lies in, a folder of which nothing may go."""
    for above in _directories_above(folder):
        if (above.st_dev, above.st_ino) in kept:
            raise UsageError(
                f"{printable(folder.root)}: the plan's own files come from there, or from a folder "
                "that it lies in; nothing was removed; fetch to a folder outside of it, and prune "
                "that"
            )


def _directories_above(folder: Destination) -> list[os.stat_result]:
    """Look at a destination and the directories above it, as it really is and as it is named."""
    try:
        with folder.directory("") as descriptor:
            found = [os.fstat(descriptor)]
            # The uppermost directory is its own parent.
            while len(found) == 1 or not os.path.samestat(*found[-2:]):
                found.append(os.stat("/".join([".."] * len(found)), dir_fd=descriptor))
    except OSError as error:
        where = printable(folder.root)
        said = error.strerror or str(error)
        raise DestinationError(f"{where}: a directory above can't be looked at: {said}") from error
    for named in Path(os.path.abspath(folder.root)).parents:  # noqa: PTH100 - follows no link
        # Where links and ".." are mixed, the name says less than what was looked at.
        with suppress(OSError):
            found.append(named.stat())
    return found


class _Mark(NamedTuple):
    """What shows that a file is still the one that was looked at."""

    identity: Identity
    mode: int
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Mark:
        identity = (found.st_dev, found.st_ino)
        return cls(identity, found.st_mode, found.st_size, found.st_mtime_ns)


class _Stray(NamedTuple):
    """A file that is to be removed."""

    path: str
    mark: _Mark


class _Search:
    """Looks for files that are not in a plan."""

    def __init__(
        self, plan: Planned, folder: Destination, *, everything: bool, kept: set[Identity]
    ) -> None:
        self.spared: list[Kept] = []
        self._folder = folder
        self._everything = everything
        self._kept = kept
        self._brought: dict[str, set[tuple[int, int]]] = {}
        for receipt in read_receipts(folder):
            if not receipt.kept:
                states = self._brought.setdefault(receipt.path, set())
                states.add((receipt.size, receipt.mtime_ns))
        # On a file system that folds names, a planned file may be listed under another one.
        self._planned = {collision_form(entry.path) for entry in plan.entries}

    def below(self, directory: str) -> Iterator[_Stray]:
        """Find strays below a directory."""
        waiting = [directory]
        while waiting:
            prefix = waiting.pop()
            for path, mark in self._listed(prefix):
                if mark.identity in self._kept or _is_reserved(path):
                    continue
                if stat.S_ISDIR(mark.mode):
                    waiting.append(path)
                elif collision_form(path) not in self._planned and self._may_go(path, mark):
                    yield _Stray(path, mark)

    def _listed(self, directory: str) -> list[tuple[str, _Mark]]:
        prefix = f"{directory}/" if directory else ""
        try:
            with self._folder.directory(directory) as descriptor, os.scandir(descriptor) as found:
                entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
        except (FileNotFoundError, NotADirectoryError):
            # Gone, or a link by now, since it was seen.
            return []
        except OSError as error:
            where = printable(f"{self._folder.root}/{directory}")
            raise DestinationError(f"{where}: can't be listed: {error.strerror}") from error
        if directory and any(name == STATE_DIRECTORY for name, _ in entries):
            return []
        return [(prefix + name, _Mark.of(state)) for name, state in entries]

    def _may_go(self, path: str, mark: _Mark) -> bool:
        brought = self._brought.get(path, ())
        regular = stat.S_ISREG(mark.mode)
        if regular and (mark.bytes, mark.mtime_ns) in brought:
            return True
        if any(segment.startswith(".") for segment in path.split("/")):
            return False
        if self._everything and (regular or stat.S_ISLNK(mark.mode)):
            return True
        self.spared.append(
            Kept(path=path, why=KeptReason.CHANGED if brought else KeptReason.FOREIGN)
        )
        return False


def _is_reserved(path: str) -> bool:
    return path.casefold() == STATE_DIRECTORY or path.rpartition("/")[2].casefold() == _GIT


def _remove(stray: _Stray, folder: Destination) -> Pruned | Kept | PruneFailed:
    parent, _, name = stray.path.rpartition("/")
    try:
        with folder.directory(parent) as directory:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if _Mark.of(found) != stray.mark or not _unlink(name, directory, stray.mark, folder):
                return Kept(path=stray.path, why=KeptReason.CHANGED)
    except OSError as error:
        what = printable(f"{folder.root}/{stray.path}")
        said = error.strerror or str(error)
        return PruneFailed(
            path=stray.path, error=DestinationError(f"{what}: can't be removed: {said}")
        )
    _remove_empty(parent, folder)
    return Pruned(path=stray.path, bytes=stray.mark.bytes)


def _unlink(name: str, directory: int, mark: _Mark, folder: Destination) -> bool:
    """Remove a file unless another one has its name by now, which is told by False.

    A look and a removal by name are two steps, between which another file may get the name. So the
    file is moved to where nobody else looks for it first, and is removed only if it is the one.
    """
    with _aside(folder) as aside:
        moved, above = _moved_aside(name, directory, aside)
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
def _aside(folder: Destination) -> Iterator[int]:
    """Open a directory of the destination's own, which no run ever empties."""
    try:
        with folder.directory(_ASIDE, create=True) as aside:
            yield aside
    finally:
        _remove_empty(_ASIDE, folder)


def _moved_aside(name: str, directory: int, aside: int) -> tuple[str, int]:
    """Move a file; give its new name, and the directory that it stands in now."""
    moved = f".bidsplan-{secrets.token_hex(8)}"
    try:
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=aside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # On another file system than the destination it can't leave its directory.
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=directory)
        return moved, directory
    return moved, aside


def _put_back(moved: str, name: str, above: int, directory: int) -> None:
    if not rename(moved, name, above=above, directory=directory, replace=False):
        where = f"beside it as {moved}" if above == directory else f"in {_ASIDE}/{moved}"
        said = f"others wrote to it twice meanwhile; what they wrote first is {where}"
        raise FileExistsError(errno.EEXIST, said)


def _remove_empty(directory: str, folder: Destination) -> None:
    """Remove a directory and those above it, as far as nothing is left in them."""
    while directory:
        above, _, name = directory.rpartition("/")
        try:
            with folder.directory(above) as descriptor:
                os.rmdir(name, dir_fd=descriptor)
        except OSError:
            return
        directory = above
