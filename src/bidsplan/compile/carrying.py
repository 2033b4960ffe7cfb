"""Carrying digests over from the plan that is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.plan import Entry, Planned, Root

__all__ = ["carry_digests"]


def carry_digests(
    entries: Iterable[Entry], roots: Sequence[Root], previous: Planned
) -> Iterator[Entry]:
    """Give entries the digests that an earlier plan has of the same objects.

    Parameters
    ----------
    entries : iterable of Entry
    roots : sequence of Root
        What the entries' roots are indices into.
    previous : Plan or StoredPlan

    Yields
    ------
    Entry
        With digests where its root's URL, key, size, entity tag and version are those of an entry
        that has some. Local files have no tag, so of them path and size must do.
    """
    known = {
        _object(entry, previous.header.roots): (entry.md5, entry.sha256)
        for entry in previous.entries
        if entry.md5 or entry.sha256
    }
    for entry in entries:
        found = known.get(_object(entry, roots)) if known and entry.content is None else None
        if found is None:
            yield entry
        else:
            yield msgspec.structs.replace(entry, md5=found[0], sha256=found[1])


def _object(entry: Entry, roots: Sequence[Root]) -> tuple[object, ...]:
    """Give all that tells one object of a storage from another."""
    return roots[entry.root].url, entry.key, entry.size, entry.etag, entry.version
