"""What is to be done for each entry, by what stands in the destination."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.digests import read_checked, strongest
from bidsplan.errors import ExistingFileError
from bidsplan.events import Action, Proof
from bidsplan.keys import printable
from bidsplan.receipts import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.destination import Destination, FileState
    from bidsplan.plan import Entry, Plan
    from bidsplan.receipts import Receipts

__all__ = ["Decider", "Decision", "Existing"]


class Existing(StrEnum):
    """What to do with files that stand in the destination.

    Attributes
    ----------
    KEEP
        Keep those that are the planned ones, and refuse others.
    REPLACE
        Keep those that are the planned ones, and replace others.
    REFUSE
        Refuse all that were not brought by bidsplan.
    """

    KEEP = "keep"
    REPLACE = "replace"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """What is to be done for an entry, and why.

    Parameters
    ----------
    action : Action
    proof : Proof, optional
        What the file that stands there was compared by.
    error : ExistingFileError, optional
        Why it is refused.
    content : str
        The xxh3-128 of what was read, in hexadecimal, where it is kept for that.
    state : FileState, optional
        Of the file that was read.
    final : bool
        Whether it is decided; otherwise the file must be read.
    """

    action: Action
    proof: Proof | None = None
    error: ExistingFileError | None = None
    content: str = ""
    state: FileState | None = None
    final: bool = True


class Decider:
    """Decides what is to be done for entries, as far as can be told without the source.

    Parameters
    ----------
    plan : Plan
    folder : Destination
    receipts : Receipts
    existing : Existing
    """

    def __init__(
        self, plan: Plan, folder: Destination, receipts: Receipts, existing: Existing
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._receipts = receipts
        self._existing = existing

    def glance(self, entry: Entry) -> Decision:
        """Decide by one look at the file.

        Parameters
        ----------
        entry : Entry

        Returns
        -------
        Decision
            Not final where the file must be read.

        Raises
        ------
        DestinationError
            Where it can't be looked at.
        """
        state = self._folder.state(entry.path)
        if state is None:
            return Decision(Action.FETCH)
        receipt = self._receipts.find(entry.path, state, fingerprint(self._plan, entry))
        if receipt is not None:
            return Decision(Action.KEEP, receipt.proof)
        if not state.regular:
            why = "a link or a directory stands there, and only plain files are ever replaced"
            return _refusal(entry, f"{why}; move it away")
        if self._existing is Existing.REFUSE:
            why = "a file stands there that bidsplan did not bring; it was left alone"
            return _refusal(entry, f"{why}; '--existing keep' compares it with the plan")
        if state.size != entry.size:
            return self.differing(entry, f"expected {entry.size} bytes, got {state.size}")
        final = strongest(entry) is Proof.SIZE
        return Decision(Action.COMPARE, state=state, final=final)

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
        DestinationError
            Where it can't be read.
        Stopped
        """
        state = self._folder.state(entry.path)
        verdict = read_checked(entry, self._folder, stopping)
        if not verdict.holds:
            means = f"by {verdict.proof.value}, expected {verdict.expected}, got {verdict.got}"
            return self.differing(entry, means)._replace(proof=verdict.proof)
        if verdict.proof is Proof.SIZE:
            return Decision(Action.COMPARE)
        return Decision(Action.KEEP, verdict.proof, content=verdict.content, state=state)

    def differing(self, entry: Entry, means: str) -> Decision:
        """Decide on a file that is not the planned one.

        Parameters
        ----------
        entry : Entry
        means : str
            How it shows, for the message.

        Returns
        -------
        Decision
        """
        if self._existing is Existing.REPLACE:
            return Decision(Action.REPLACE)
        why = "a file stands there that is not the planned one; it was left alone"
        return _refusal(entry, f"{why}; {means}; '--existing replace' replaces it")


def _refusal(entry: Entry, why: str) -> Decision:
    error = ExistingFileError(f"{printable(entry.path)}: {why}")
    return Decision(Action.REFUSE, error=error)
