"""What is to be done for each entry, by what stands in storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.decisions import Decision, Existing, after_reading, differing, not_ours
from bidsplan.depot import mark, proof_by_tag, read_back, read_notes
from bidsplan.digests import strongest
from bidsplan.errors import SourceMissingError
from bidsplan.events import Action, Proof
from bidsplan.receipts import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.plan import Entry, Planned
    from bidsplan.storage import Object, Sink

__all__ = ["RemoteDecider"]


class RemoteDecider:
    """Decides what is to be done for entries, as far as can be told without the source.

    Parameters
    ----------
    plan : Plan
    sink : Sink
    existing : Existing

    Raises
    ------
    StorageError
        Where receipts can't be listed.
    """

    def __init__(self, plan: Planned, sink: Sink, existing: Existing) -> None:
        self._plan = plan
        self._sink = sink
        self._existing = existing
        proofs = {proof: proof for proof in Proof}
        self._marks = {note.mark(): proofs[note.proof] for note in read_notes(sink)}

    def glance(self, entry: Entry, found: Object | None) -> Decision:
        """Decide by what a listing says.

        Parameters
        ----------
        entry : Entry
        found : Object or None
            What stands at its path.

        Returns
        -------
        Decision
            Not final where the file must be read.
        """
        if found is None:
            return Decision(Action.FETCH)
        proof = self._noted(entry, found)
        if proof is None and self._existing is Existing.REFUSE:
            return not_ours(entry)
        proof = proof or proof_by_tag(entry, found)
        if proof is not None:
            return Decision(Action.KEEP, proof)
        if found.size != entry.size:
            return self.differing(entry, f"expected {entry.size} bytes, got {found.size}")
        return Decision(Action.COMPARE, final=strongest(entry) is Proof.SIZE)

    def _noted(self, entry: Entry, found: Object) -> Proof | None:
        if not self._marks or found.etag is None:
            return None
        source = fingerprint(self._plan, entry)
        return self._marks.get(mark(entry.path, found.size, found.etag, source))

    def examine(self, entry: Entry, stopping: Callable[[], bool] = lambda: False) -> Decision:
        """Decide by reading the file.

        Parameters
        ----------
        entry : Entry
        stopping : callable
            Tells whether to stop.

        Returns
        -------
        Decision

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
