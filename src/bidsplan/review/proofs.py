"""Collects how the files in a destination were proved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bidsplan.errors import MissingFileError, UnprovedError
from bidsplan.events import Failed, Finished
from bidsplan.plan.integrity import CHECK_NAMES, CheckMethod

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.errors import BidsplanError
    from bidsplan.events import Event

PROOFS = {
    **CHECK_NAMES,
    CheckMethod.CONTENT: "content in the plan",
    CheckMethod.RECEIPT: "digest in the receipt",
}
"""Texts for the proofs of a file."""

STATES = {
    "absent": "not there",
    "differs": "not the planned file",
    "unproved": "there, not proved",
    "archived": "archived at the source",
}
"""Texts for why a planned file is not complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proofs:
    """The proofs of the files in a destination.

    Parameters
    ----------
    destination : str
    read : bool
        Whether every file was read. Otherwise the proofs are those in the receipts.
    proofs : Counter of CheckMethod
        The number of files with each proof.
    by_path : dict of str to CheckMethod
    states : dict of str to str
        The state of each file that was not proved, by path: absent, differs or unproved.
    messages : dict of str to str
        The reason for each of these states, by path.
    """

    destination: str
    read: bool
    proofs: Counter[CheckMethod] = field(default_factory=Counter)
    by_path: dict[str, CheckMethod] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)


def collect_proofs(events: Iterable[Event], destination: str, *, read: bool) -> Proofs:
    """Collect the events of `verify` or `check_receipts`; parameters as in `Proofs`."""
    found = Proofs(destination=destination, read=read)
    for event in events:
        if isinstance(event, Finished):
            found.proofs[event.proof] += 1
            found.by_path[event.entry.path] = event.proof
        elif isinstance(event, Failed):
            path, error = event.entry.path, event.error
            found.states[path] = _state(error)
            found.messages[path] = str(error)
    return found


def _state(error: BidsplanError) -> str:
    if isinstance(error, MissingFileError):
        return "absent"
    return "unproved" if isinstance(error, UnprovedError) else "differs"
