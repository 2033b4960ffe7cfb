"""Carrying digests over from the plan that is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import Problem
from bidsplan.storage.places import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bidsplan.plan import Entry, Planned, Root
    from bidsplan.storage import Access


Digests = tuple[str | None, str | None]


class Carrier:
    """Gives entries the digests that an earlier plan has of the same objects.

    Parameters
    ----------
    previous_directory : Path
        The directory that its relative URLs are relative to.
    access : Access
        How both plans' sources are reached.
    """

    def __init__(self, previous: Planned, previous_directory: Path, access: Access) -> None:
        self._access = access
        self._known: dict[tuple[object, ...], Digests] = {}
        self._by_path: dict[str, tuple[object, ...]] = {}
        self._lost = 0
        of = self._identity(previous.header.roots, previous_directory)
        for entry in previous.entries:
            if entry.content is None and (entry.md5 or entry.sha256):
                self._known[of(entry)] = (entry.md5, entry.sha256)
                self._by_path[entry.path] = _state(entry)

    def _identity(
        self, roots: Sequence[Root], directory: Path
    ) -> Callable[[Entry], tuple[object, ...]]:
        prefixes = [place_of(root.url, self._access, directory).prefix for root in roots]
        return lambda entry: (prefixes[entry.root] + entry.key, *_state(entry))

    def carry(
        self, entries: Iterable[Entry], roots: Sequence[Root], directory: Path
    ) -> Iterator[Entry]:
        """Give entries the digests of the earlier plan.

        Parameters
        ----------
        roots : sequence of Root
            What the entries' roots are indices into.
        directory : Path
            The directory that the roots' relative URLs are relative to.

        Yields
        ------
        Entry
            With digests where its place, size, entity tag and version are those of an entry that
            has some. Local files have no tag, so of them place and size must do. What has a
            SHA-256 keeps its own.
        """
        of = self._identity(roots, directory) if self._known else None
        for entry in entries:
            if of is None or entry.content is not None or entry.sha256 is not None:
                yield entry
                continue
            found = self._known.get(of(entry))
            if found is not None:
                yield msgspec.structs.replace(entry, md5=found[0], sha256=found[1])
                continue
            self._lost += self._by_path.get(entry.path) == _state(entry)
            yield entry

    def problems(self) -> Iterator[Problem]:
        """Warn of digests that were lost because the files' place is another one."""
        if self._lost:
            yield Problem(
                message=f"{self._lost} digests of the plan before are not carried over: its files "
                "come from another place than those of this plan",
                hint="where they are the same files, fetch and pin the plan again, or compile it "
                "with --digest",
            )


def _state(entry: Entry) -> tuple[object, ...]:
    return entry.size, entry.etag, entry.version
