"""What is to be done for each entry, by what stands in storage."""

from __future__ import annotations

from threading import Event as Flag
from typing import TYPE_CHECKING

from bidsplan.destination.receipt_objects import (
    ListingCursor,
    mark,
    proof_by_tag,
    read_back,
    read_notes,
)
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, SourceMissingError
from bidsplan.events import Action, Decided, Failed
from bidsplan.plan.integrity import CheckMethod, best_check
from bidsplan.storage import open_writable
from bidsplan.transfer.decide import Decision, Existing, after_reading, differing, not_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.storage import Access, Object, WritableStore
    from bidsplan.storage.file_state import SourceState


class RemoteDecider:
    """Decides what is to be done for entries, as far as can be told without the source.

    Raises
    ------
    StorageError
        Where receipts can't be listed.
    """

    def __init__(self, sources: Sources, sink: WritableStore, existing: Existing) -> None:
        self._sources = sources
        self._sink = sink
        self._existing = existing
        proofs = {proof: proof for proof in CheckMethod}
        self._marks = {
            each: proofs[note.proof] for note in read_notes(sink) for each in note.marks()
        }

    def check_metadata(self, entry: Entry, found: Object | None) -> Decision:
        """Decide by what a listing says.

        Parameters
        ----------
        found : Object or None
            What stands at its path.

        Returns
        -------
        Decision
            Not final where the file must be read.
        """
        if found is None:
            return Decision(Action.FETCH)
        proof = self._noted(entry, found, self._sources.state(entry))
        if (
            proof is None
            and self._existing is Existing.REFUSE
            and self._noted(entry, found, None) is None
        ):
            return not_ours(entry)
        proof = proof or proof_by_tag(entry, found)
        if proof is not None:
            return Decision(Action.KEEP, proof)
        if found.size != entry.size:
            return self.differing(entry, f"expected {entry.size} bytes, got {found.size}")
        return Decision(Action.COMPARE, final=best_check(entry) is CheckMethod.SIZE)

    def _noted(self, entry: Entry, found: Object, state: SourceState | None) -> CheckMethod | None:
        if not self._marks or found.etag is None:
            return None
        source = self._sources.fingerprint(entry)
        return self._marks.get(mark(entry.path, found.size, found.etag, source, state))

    def check_content(self, entry: Entry, stopping: Callable[[], bool] = lambda: False) -> Decision:
        """Decide by reading the file.

        Parameters
        ----------
        stopping : callable
            Tells whether to stop.

        Raises
        ------
        StorageError
            Where it can't be read.
        Stopped
        """
        try:
            verdict = read_back(entry, self._sink, stopping)
        except SourceMissingError:
            return Decision(Action.FETCH)
        return after_reading(entry, verdict, self._existing)

    def differing(self, entry: Entry, means: str) -> Decision:
        """Decide on a file that is not the planned one."""
        return differing(entry, means, self._existing)


def decide_only(
    plan: Planned, url: str, existing: Existing, access: Access, base: str
) -> Iterator[Decided | Failed]:
    """Decide for each entry, and do nothing.

    Parameters
    ----------
    plan, url, existing, access, base
        As in `RemoteExecutor`.

    Raises
    ------
    UsageError, StorageError
        As in `RemoteExecutor`.
    """
    sink = open_writable(url, access=access.at_destination(), stop=Flag())
    sources = Sources(plan.header.roots, access, base)
    standing, decider = ListingCursor(sink), RemoteDecider(sources, sink, existing)
    for entry in plan.entries:
        try:
            decision = decider.check_metadata(entry, standing.at(entry.path))
            if not decision.final:
                decision = decider.check_content(entry)
            yield Decided(entry=entry, action=decision.action)
        except BidsplanError as error:
            yield Failed(entry=entry, error=error)
