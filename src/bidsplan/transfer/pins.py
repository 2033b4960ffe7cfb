"""Adds the digests of fetched files to a plan."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import UnprovedError
from bidsplan.events import Failed, Finished, Pinned
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.plan import Plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.transfer.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.storage import Access


def pin(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    jobs: int = 4,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
) -> Generator[Event, None, None]:
    """Verify every file of a plan, and add its SHA-256 to the plan.

    Parameters
    ----------
    plan : Plan or StoredPlan
    destination : path or str
        A local directory that contains all files of the plan, or the URL that they were fetched to.
    jobs : int
        The number of files to read at a time.
    access, base
        As in `verify`.

    Yields
    ------
    Finished or Failed
        One event for each entry, in the plan's order. A file also fails if only its size shows that
        it is the planned one.
    Pinned
        The new plan, at the end. There is no such event if a file failed.

    Raises
    ------
    DestinationError
        If the destination can't be opened.
    """
    digests = _Digests()
    failed = False
    verified = verify(plan, destination, jobs=jobs, tap=digests.of, access=access, base=base)
    with closing(verified) as events:
        for event in events:
            checked = digests.close(event)
            failed = failed or isinstance(checked, Failed)
            yield checked
    if not failed:
        yield Pinned(plan=_with_digests(plan, digests.done))


class _Digests:
    """Computes digests while files are verified, so that each is read once."""

    def __init__(self) -> None:
        self.done: dict[str, str] = {}
        self._under_way: dict[str, hashlib._Hash] = {}

    def of(self, entry: Entry) -> Callable[[bytes], None]:
        """Return a function that digests a file's bytes, if its SHA-256 is not known."""
        if entry.content is not None or entry.sha256 is not None:
            return lambda _: None
        digest = self._under_way[entry.path] = hashlib.sha256()
        return digest.update

    def close(self, event: Event) -> Event:
        """Keep the digest of a verified file, or return why it failed."""
        if not isinstance(event, Finished | Failed):
            return event
        entry = event.entry
        digest = self._under_way.pop(entry.path, None)
        if isinstance(event, Failed) or digest is None:
            return event
        if event.proof is CheckMethod.SIZE and entry.size:
            return Failed(entry=entry, error=_unproved(entry))
        self.done[entry.path] = digest.hexdigest()
        return event


def _unproved(entry: Entry) -> UnprovedError:
    return UnprovedError(
        f"{printable(entry.path)}: it has the planned size, and nothing else proves that it is the "
        "planned file; fetch the plan to compare it with its source",
        help_code=HelpCode.SIZE_ONLY,
    )


def _with_digests(plan: Planned, digests: Mapping[str, str]) -> Plan:
    entries = (
        msgspec.structs.replace(entry, sha256=digests.get(entry.path, entry.sha256))
        for entry in plan.entries
    )
    return Plan.rebuild(plan.header, entries)
