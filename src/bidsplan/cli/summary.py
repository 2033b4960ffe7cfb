"""What became of a plan, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.cli.console import size
from bidsplan.events import Action, Proof

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.cli.tally import Tally

__all__ = ["data_of", "done", "intended"]

_PROOFS = {
    Proof.CONTENT: "generated",
    Proof.SHA256: "sha256",
    Proof.MD5: "md5",
    Proof.CHECKSUM: "checksum",
    Proof.ETAG_MD5: "md5 by etag",
    Proof.MULTIPART: "multipart etag",
    Proof.RECEIPT: "receipt",
    Proof.SIZE: "size only",
}

_DONE = {
    Action.FETCH: "fetched",
    Action.REPLACE: "replaced",
    Action.KEEP: "kept",
}


def done(tally: Tally, verb: str | None = None) -> str:
    """Say what was done, what it was shown by, and what failed.

    Parameters
    ----------
    tally : Tally
    verb : str, optional
        One word for all that went well, whatever the action.
    """
    if verb:
        parts = [f"{tally.done.total():,} {verb}"]
    else:
        parts = _counted((word, tally.done[action]) for action, word in _DONE.items())
        parts += [size(tally.bytes)] if tally.bytes else []
        parts += [f"{size(tally.resumed)} from earlier runs"] if tally.resumed else []
        parts += [f"from {', '.join(sorted(tally.endpoints))}"] if tally.endpoints else []
        parts += [f"to {tally.destination}"] if tally.destination else []
    proofs = _counted((word, tally.proofs[proof]) for proof, word in _PROOFS.items())
    if proofs:
        parts.append(f"checked by {', '.join(proofs)}" if verb is None else ", ".join(proofs))
    failures = sorted(tally.failures.items())
    parts += [f"{number:,} failed ({code})" for code, number in failures]
    parts += [f"{tally.skipped:,} not tried"] if tally.skipped else []
    return "; ".join(parts) or "nothing to do"


def intended(tally: Tally, total: int) -> str:
    """Say what would be done."""
    actions = _counted((f"to {action.value}", tally.decided[action]) for action in Action)
    failures = [
        f"{number:,} impossible ({code})" for code, number in sorted(tally.failures.items())
    ]
    return "; ".join([*actions, *failures, f"{size(total)} in all"])


def _counted(pairs: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{number:,} {word}" for word, number in pairs if number]


def data_of(tally: Tally) -> dict[str, Any]:
    """Give the counts as JSON has them."""
    return {
        "decided": {action.value: number for action, number in tally.decided.items()},
        "done": {action.value: number for action, number in tally.done.items()},
        "proofs": {proof.value: number for proof, number in tally.proofs.items()},
        "failures": dict(tally.failures),
        "skipped": tally.skipped,
        "bytes": tally.bytes,
        "resumed": tally.resumed,
        "endpoints": sorted(tally.endpoints),
        "destination": tally.destination,
        "slow": None if tally.slow is None else msgspec.to_builtins(tally.slow),
    }
