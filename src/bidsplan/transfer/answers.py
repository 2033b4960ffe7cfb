"""Checks that an answer is of the planned object."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from bidsplan.plan import Entry
    from bidsplan.storage import Store, Stream
    from bidsplan.storage.objects import Identity
    from bidsplan.storage.retry import Deadline


def check_answer(entry: Entry, stream: Stream, start: int, seen: Identity | None) -> None:
    """Refuse an answer of an object other than the planned one.

    Parameters
    ----------
    start : int
        The first byte that was requested.
    seen : Identity or None
        The identity of the answer that contained the bytes before `start`; None if they are from an
        earlier run.
    """
    found, where = stream.identity, printable(entry.path)
    if start and found is None:
        raise StorageError(f"{where}: the answer does not say what it is of")
    if start and seen is not None and found is not None and seen != found:
        if seen.url == found.url:
            raise SourceChangedError(f"{where}: it was replaced during the download")
        # Two mirrors may give different files the same tag.
        raise StorageError(f"{where}: the remaining bytes would come from another URL")
    # Some servers ignore the condition of a request.
    if entry.version is None and entry.etag and stream.etag not in {None, entry.etag}:
        raise SourceChangedError(f"{where}: it is no longer the object that was listed")
    if entry.version and found and found.version not in {None, entry.version}:
        raise SourceChangedError(f"{where}: the response has another version than requested")
    if stream.size is not None and stream.size != entry.size:
        if entry.etag is None and entry.version is None:
            raise SourceChangedError(
                f"{where}: the source has {stream.size} bytes now, and {entry.size} are planned; "
                "compile the plan again"
            )
        raise wrong_size(entry, f"{stream.size}")


def wrong_size(entry: Entry, got: str) -> UnreachableError:
    """Make the error for an object with an unplanned size."""
    return UnreachableError(
        f"{printable(entry.path)}: {entry.size} bytes are planned, and {got} came; the source has "
        "changed, or the answer was cut short"
    )


def changed(entry: Entry, store: Store, error: SourceChangedError) -> SourceChangedError:
    """Describe the planned object, and the present one."""
    if entry.etag is None and entry.version is None:
        return error
    try:
        with closing(store.stream(entry.key)) as stream:
            now = f"it is {printable(stream.etag)}" if stream.etag else "there is another"
    except StorageError:
        now = "it is not known"
    hint = "compile the plan again"
    if store.endpoint:
        # A plan does not hold the endpoint that it was compiled at.
        now = f"{now} at {printable(store.endpoint)}"
        hint = f"{hint}, or give the --endpoint-url that it was compiled with"
    planned = printable(entry.etag or "not known")
    return SourceChangedError(f"{error}: the planned entity tag is {planned}, now {now}; {hint}")


def late(entry: Entry, arrived: int, deadline: Deadline) -> UnreachableError:
    """Make the error for an object whose bytes arrive too slowly."""
    return UnreachableError(
        f"{printable(entry.path)}: it arrives too slowly: {arrived:,} of {entry.size:,} after "
        f"{deadline.seconds():.0f} s, and {deadline.allowed():.0f} s are allowed for that; try "
        "again later",
        help_code=HelpCode.TOO_SLOW,
    )
