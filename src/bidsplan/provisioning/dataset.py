"""A plan's dataset in the cache: checks, fetches and restores it."""

from __future__ import annotations

import hashlib
import os
import warnings
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bidsplan.destination.sources import Sources
from bidsplan.errors import MissingFileError
from bidsplan.events import Failed, Finished, Pruned, PruneFailed
from bidsplan.fetching import fetch
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed
from bidsplan.paths import collision_form, parents, printable
from bidsplan.plan.integrity import CheckMethod
from bidsplan.provisioning.seal import (
    file_states,
    protect,
    read_seal,
    superfluous,
    write_seal,
)
from bidsplan.storage.places import place_of
from bidsplan.transfer.removal import prune
from bidsplan.transfer.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bidsplan.plan import Planned
    from bidsplan.provisioning.seal import States
    from bidsplan.storage.access import Access


@dataclass(frozen=True, kw_only=True, slots=True)
class Provided:
    """A complete dataset in the cache.

    Parameters
    ----------
    folder : Path
    files, bytes : int
        Number and total size of the planned files.
    fetched : int
        Number of files that were fetched now.
    notes : tuple of str
        Notes about files that were restored or removed, and warnings.
    """

    folder: Path
    files: int
    bytes: int
    fetched: int = 0
    notes: tuple[str, ...] = ()


class Dataset:
    """A plan's dataset in the cache.

    Its directory's name is made from the digest of the entries and the places of the roots. So no
    two plans, and no two studies with the same names, share a directory.
    """

    def __init__(self, root: Path, plan: Planned, base: Path, access: Access) -> None:
        header = plan.header
        places = "\0".join(place_of(each.url, access, base).prefix for each in header.roots)
        place = hashlib.sha256(places.encode()).hexdigest()
        self.folder = root / "data" / f"{header.entries_sha256[:32]}-{place[:16]}" / "dataset"
        self._plan = plan
        self._base = base
        self._access = access

    def is_intact(self) -> bool:
        """Report whether no file has been changed since the last check."""
        seal = read_seal(self.folder)
        return (
            seal is not None
            and seal.sources == self._source_states()
            and seal.files == file_states(self.folder)
        )

    def provided(self, fetched: int = 0, notes: tuple[str, ...] = ()) -> Provided:
        """Describe the complete dataset."""
        header = self._plan.header
        return Provided(
            folder=self.folder,
            files=header.files,
            bytes=header.bytes,
            fetched=fetched,
            notes=notes,
        )

    def checked(self) -> Provided:
        """Read all files, without requests; raises MissingFileError if some are wrong."""
        found = self._verify()
        if lacking := sorted({*found.damaged, *found.missing, *found.unproved}):
            raise MissingFileError(
                f"{len(lacking)} of {self._plan.header.files} files are not in the cache, or not "
                f"as planned: {listed(map(printable, lacking))}; run once with a network",
                help_code=HelpCode.CACHE,
            )
        notes = self._tidied()
        self._seal()
        return self.provided(notes=notes)

    def restored(self, say: Callable[[str], None], notes: tuple[str, ...] = ()) -> Provided:
        """Fetch missing and damaged files, and remove unplanned ones."""
        known = read_seal(self.folder) is not None
        found = self._verify()
        for path in found.damaged:
            # The file is removed, so that no receipt proves it any more.
            with suppress(OSError):
                os.utime(self.folder / path, follow_symlinks=False)
        spoilt = [*found.damaged, *found.missing] if known else found.damaged
        if spoilt:
            notes += (f"restored {listed(map(printable, sorted(spoilt)))}",)
        if number := len(found.damaged) + len(found.missing):
            say(f"fetching {number:,} of {self._plan.header.files:,} files to {self.folder}")
        notes += self._tidied()
        with warnings.catch_warnings():
            # The warnings are in the summary, and the caller decides how to show them.
            warnings.simplefilter("ignore")
            summary = fetch(
                self._plan,
                self.folder,
                progress=False,
                base=self._base,
                access=self._access,
                existing="replace",
                wait=True,
            )
        notes += tuple(map(str, summary.warnings))
        self._seal()
        return self.provided(summary.fetched + summary.replaced, notes)

    def _verify(self) -> _Findings:
        """Read all existing files."""
        found = _Findings()
        if not self.folder.is_dir():
            found.missing.extend(entry.path for entry in self._plan.entries)
            return found
        run = verify(self._plan, self.folder, access=self._access, base=self._base)
        with closing(run) as events:
            for event in events:
                match event:
                    case Failed(entry=entry, error=MissingFileError()):
                        found.missing.append(entry.path)
                    case Failed(entry=entry):
                        found.damaged.append(entry.path)
                    case Finished(entry=entry, proof=CheckMethod.SIZE):
                        found.unproved.append(entry.path)
        return found

    def _tidied(self) -> tuple[str, ...]:
        """Remove unplanned files, and return a note of them."""
        if not self.folder.is_dir():
            return ()
        removed, left = [], []
        run = prune(self._plan, self.folder, base=self._base, everything=True, wait=True)
        with closing(run) as events:
            for event in events:
                match event:
                    case Pruned(path=path):
                        removed.append(path)
                    case PruneFailed(path=path):
                        left.append(path)
        # Elsewhere, hidden files and empty directories may be somebody's. Here everything is
        # bidsplan's.
        planned = {
            collision_form(path)
            for entry in self._plan.entries
            for path in (entry.path, *parents(entry.path))
        }
        while others := [each for each in superfluous(self.folder, planned) if each not in left]:
            for path in others:
                (removed if _is_removed(self.folder / path) else left).append(path)
        found = (("removed", removed), ("can't remove", left))
        return tuple(
            f"{what} {listed(map(printable, paths))}, not in the plan"
            for what, paths in found
            if paths
        )

    def _seal(self) -> None:
        # If this fails, all files are read again the next time.
        with suppress(OSError):
            protect(self.folder)
            write_seal(self.folder, self._source_states())

    def _source_states(self) -> States:
        sources = Sources(self._plan.header.roots, self._access, self._base)
        if not sources.any_local:
            return {}
        found = ((entry.path, sources.state(entry)) for entry in self._plan.entries)
        return {path: list(state) for path, state in found if state}


def _is_removed(path: Path) -> bool:
    """Remove a file or an empty directory; returns whether that worked."""
    try:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Findings:
    """The paths of files that are wrong, or proved by size only."""

    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)
