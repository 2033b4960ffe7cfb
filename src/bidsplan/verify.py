"""Comparing a destination with its plan, byte for byte and without any request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bidsplan.destination import Destination
from bidsplan.digests import read_checked
from bidsplan.errors import BidsplanError, IntegrityError, MissingFileError
from bidsplan.events import Action, Failed, Finished, Proof
from bidsplan.keys import printable
from bidsplan.receipts import Receipts, fingerprint

if TYPE_CHECKING:
    from collections.abc import Generator

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Plan

__all__ = ["verify"]

_BATCH = 256


def verify(plan: Plan, destination: str, *, jobs: int = 4) -> Generator[Event, None, None]:
    """Read every file of a plan, and show that it is the planned one.

    Parameters
    ----------
    plan : Plan
    destination : str
        A local directory.
    jobs : int
        Files to read at a time.

    Yields
    ------
    Finished or Failed
        One for each entry, in the plan's order.

    Raises
    ------
    DestinationError
        Where the destination can't be opened.
    """
    folder = Destination(destination, create=False)
    receipts = Receipts(folder)
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="bidsplan-verify")
    try:
        for start in range(0, len(plan.entries), _BATCH):
            batch = plan.entries[start : start + _BATCH]
            yield from pool.map(lambda entry: _verify(plan, entry, folder, receipts), batch)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        folder.close()


def _verify(plan: Plan, entry: Entry, folder: Destination, receipts: Receipts) -> Event:
    try:
        return Finished(
            entry=entry, action=Action.KEEP, proof=_proof(plan, entry, folder, receipts)
        )
    except BidsplanError as error:
        return Failed(entry=entry, error=error)


def _proof(plan: Plan, entry: Entry, folder: Destination, receipts: Receipts) -> Proof:
    """Show that a file is the planned one, by the plan or else by its receipt."""
    state = folder.state(entry.path)
    if state is None:
        raise MissingFileError(f"{printable(entry.path)}: there is no such file")
    verdict = read_checked(entry, folder)
    if not verdict.holds:
        raise _differs(entry, verdict.proof.value, verdict.expected, verdict.got)
    if verdict.proof is not Proof.SIZE:
        return verdict.proof
    receipt = receipts.of(entry.path, fingerprint(plan, entry))
    if receipt is None:
        return Proof.SIZE
    if receipt.content != verdict.content:
        raise _differs(entry, "receipt", receipt.content, verdict.content)
    return Proof.RECEIPT


def _differs(entry: Entry, means: str, expected: str, got: str) -> IntegrityError:
    return IntegrityError(
        f"{printable(entry.path)}: not the planned file: by {means}, expected {expected}, got "
        f"{got}; fetch again with '--existing replace' to bring it back"
    )
