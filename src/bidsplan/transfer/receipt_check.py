"""Compares a destination with its plan by receipts, without reading files."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from bidsplan.destination import open_destination
from bidsplan.destination.base import missing
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, UnprovedError
from bidsplan.events import Action, Failed, Finished
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.storage.access import Access
from bidsplan.transfer.decide import Decider, Existing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned


def check_receipts(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
) -> Iterator[Event]:
    """Check every file's size and time, and recall its proof.

    Parameters
    ----------
    plan, destination, access, base
        As in `bidsplan.verify`.

    Yields
    ------
    Finished or Failed
        One event for each entry, in the plan's order. A file is finished if its receipt names a
        proof, and the file still has the size, and the time or tag, in the receipt.

    Raises
    ------
    DestinationError, UsageError, StorageError
        As in `bidsplan.verify`.
    """
    access = access or Access()
    with closing(open_destination(str(destination), access, create=False)) as place:
        sources = Sources(plan.header.roots, access, base)
        decider = Decider(plan, sources, place, Existing.KEEP)
        for entry in plan.entries:
            try:
                yield _look_at(entry, decider)
            except BidsplanError as error:
                yield Failed(entry=entry, error=error)


def _look_at(entry: Entry, decider: Decider) -> Event:
    decision = decider.check_metadata(entry)
    if decision.proof is not None:
        return Finished(entry=entry, action=Action.KEEP, proof=decision.proof)
    if decision.action is Action.FETCH:
        raise missing(entry.path)
    if decision.error is not None:
        raise decision.error
    raise UnprovedError(
        f"{printable(entry.path)}: no receipt says what proved the file that is there; "
        "'bidsplan verify' reads it",
        help_code=HelpCode.SIZE_ONLY,
    )
