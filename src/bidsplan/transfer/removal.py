"""Removes the files that bidsplan fetched and that are no longer planned."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bidsplan.destination import open_destination
from bidsplan.errors import BidsplanError, DestinationError, Problem, UsageError
from bidsplan.events import Kept, KeptReason, Pruned, PruneFailed, Waiting, Warned
from bidsplan.paths import collision_form, printable
from bidsplan.storage.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from os import PathLike

    from bidsplan.destination.base import Destination, Listed
    from bidsplan.plan import Planned


UNPLANNED_COMMAND = "bidsplan prune PLAN DEST"
UNPLANNED_HINT = f"'{UNPLANNED_COMMAND}' removes what the plan no longer lists"
"""The hint about files of an earlier plan."""


def prune(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    access: Access | None = None,
    base: str | PathLike[str] | None = None,
    everything: bool = False,
    keep: Iterable[str | PathLike[str]] = (),
    dry_run: bool = False,
    agree: Callable[[Sequence[Pruned]], bool] | None = None,
    wait: bool = False,
) -> Generator[Pruned | Kept | PruneFailed | Waiting | Warned, None, None]:
    """Remove files that are not in a plan, and directories that become empty.

    Parameters
    ----------
    plan : Plan
        A whole plan, not a part of another one.
    destination : path or str
        A local directory, or the URL that the plan was fetched to.
    access : Access, optional
        How the destination's URL may be reached.
    base : path, optional
        The directory that the plan's relative URLs are relative to. Use the directory of the plan's
        file.
    everything : bool
        Whether to also remove files that bidsplan did not fetch, and files that have changed since
        bidsplan fetched them.
    keep : iterable of path
        Files and directories to keep in any case, such as the plan itself.
    dry_run : bool
        Whether only to report the files that would be removed.
    agree : callable, optional
        A function that is called once, before any file is removed, with all files to remove. If it
        returns false, nothing is removed.
    wait : bool
        Whether to wait if another run is using the destination.

    Yields
    ------
    Waiting or Warned
        Events about the destination's lock.
    Kept
        First, one event for each file that is not in the plan and is kept.
    Pruned or PruneFailed
        Then, one event for each file that was removed, or that could not be removed. In a dry run,
        `Pruned` is a file that would be removed.

    Raises
    ------
    UsageError
        If the plan's files come from the destination or a directory above it, or if the plan is a
        part of another one.
    DestinationError, StorageError
        If the destination, or a directory above it, can't be listed.
    LockedError
        If another run is using the destination, and `wait` is false.

    Notes
    -----
    Symbolic links are never followed. With `everything`, a link is removed, but not its target.
    Hidden files are only removed if bidsplan fetched them, even with `everything`. Nothing is ever
    removed from ``.bidsplan/``, from ``.git/``, from another destination inside this one, or from
    the plan's roots.
    """
    if plan.header.part is not None:
        raise UsageError(
            f"the plan is a part of another one ({printable(plan.header.part)}), and its "
            "destination may hold the others; prune by the whole plan"
        )
    place = open_destination(str(destination), access or Access(), create=False)
    try:
        if not dry_run:
            yield from place.lock(wait=wait, create=False)
        roots = [root.url for root in plan.header.roots]
        place.spare(roots, os.fspath(base or "."), [os.fspath(path) for path in keep])
        search = _Search(plan, place, everything=everything)
        strays = sorted(search.strays(), key=lambda stray: stray.path)
        yield from search.kept
        found = [Pruned(path=stray.path, bytes=stray.state.size) for stray in strays]
        if dry_run:
            yield from found
        elif found and (agree is None or agree(found)):
            for stray in strays:
                yield _remove(stray, place)
    finally:
        place.close()


def warn_of_unplanned(paths: Iterable[str], place: Destination) -> Iterator[Warned]:
    """Warn of unchanged files of earlier plans that are still in a directory.

    `paths` are those of all files of the plan.
    """
    if not place.quick:
        # In storage, each file would need a request.
        return
    planned = {hash(collision_form(path)) for path in paths}
    found, wrong = set(), set()
    for receipt in place.read_receipts():
        known = receipt.path, receipt.size, receipt.identity
        if receipt.wrong:
            wrong.add(known)
        elif not receipt.kept and hash(collision_form(receipt.path)) not in planned:
            # A path that can't be read is not counted.
            with suppress(DestinationError):
                state = place.state(receipt.path)
                if state and (receipt.path, state.size, state.identity) == known:
                    found.add(known)
    if number := len(found - wrong):
        files = "1 file" if number == 1 else f"{number:,} files"
        message = f"{files} of an earlier plan {'is' if number == 1 else 'are'} still there"
        yield Warned(problem=Problem(message=message, hint=UNPLANNED_HINT))


class _Search:
    """Looks for files that are not in a plan."""

    def __init__(self, plan: Planned, place: Destination, *, everything: bool) -> None:
        self.kept: list[Kept] = []
        self._place = place
        self._everything = everything
        self._fetched: dict[str, set[tuple[int, int | str | None]]] = {}
        wrong = []
        for receipt in place.read_receipts():
            if receipt.wrong:
                wrong.append(receipt)
            elif not receipt.kept:
                states = self._fetched.setdefault(receipt.path, set())
                states.add((receipt.size, receipt.identity))
        for receipt in wrong:
            # The file has changed, although its time has not.
            self._fetched.get(receipt.path, set()).discard((receipt.size, receipt.identity))
        # Some file systems change case or Unicode form, and list a planned file by another name.
        self._planned = {collision_form(entry.path) for entry in plan.entries}

    def strays(self) -> Iterator[Listed]:
        """List the files to remove, and add an event to `kept` for the others."""
        for listed in self._place.list_files():
            if collision_form(listed.path) not in self._planned and self._may_go(listed):
                yield listed

    def _may_go(self, listed: Listed) -> bool:
        fetched, state = self._fetched.get(listed.path), listed.state
        if fetched and state.regular and (state.size, state.identity) in fetched:
            return True
        if any(segment.startswith(".") for segment in listed.path.split("/")):
            return False
        if self._everything and listed.removable:
            return True
        why = KeptReason.FOREIGN if fetched is None else KeptReason.CHANGED
        self.kept.append(Kept(path=listed.path, why=why))
        return False


def _remove(stray: Listed, place: Destination) -> Pruned | Kept | PruneFailed:
    try:
        if place.remove(stray):
            return Pruned(path=stray.path, bytes=stray.state.size)
    except BidsplanError as error:
        return PruneFailed(path=stray.path, error=error)
    return Kept(path=stray.path, why=KeptReason.CHANGED)
