"""Telling whether an answer is of the planned object, and of the one whose bytes have come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.paths import printable

if TYPE_CHECKING:
    from bidsplan.plan import Entry
    from bidsplan.storage import Stream
    from bidsplan.storage.objects import Identity


def check_answer(entry: Entry, stream: Stream, start: int, seen: Identity | None) -> None:
    """Refuse an answer of another object than the planned one, or than bytes came of before.

    Parameters
    ----------
    start : int
        The byte that it was asked for from.
    seen : Identity or None
        What the answer said whose bytes stand before `start`; None where they are of another run.

    Raises
    ------
    SourceChangedError
    StorageError
        Where another try may do better, from the start on.
    """
    found, where = stream.identity, printable(entry.path)
    if start and found is None:
        raise StorageError(f"{where}: the answer does not say what it is of")
    if start and seen is not None and found is not None and seen != found:
        if seen.url == found.url:
            raise SourceChangedError(f"{where}: it was replaced while it came")
        # Two mirrors may give different files the same tag.
        raise StorageError(f"{where}: the rest of it would come from another place")
    # Not every server heeds the condition of a request.
    if entry.version is None and entry.etag and stream.etag not in {None, entry.etag}:
        raise SourceChangedError(f"{where}: it is no longer the object that was listed")
    if entry.version and found and found.version not in {None, entry.version}:
        raise SourceChangedError(f"{where}: another version came than was asked for")
    if stream.size is not None and stream.size != entry.size:
        if entry.etag is None and entry.version is None:
            raise SourceChangedError(
                f"{where}: the source has {stream.size} bytes now, and {entry.size} are planned; "
                "compile the plan anew"
            )
        raise wrong_size(entry, f"{stream.size}")


def wrong_size(entry: Entry, got: str) -> UnreachableError:
    """Make the error for another number of bytes than is planned."""
    return UnreachableError(
        f"{printable(entry.path)}: {entry.size} bytes are planned, and {got} came; the source has "
        "changed, or the answer was cut short"
    )
