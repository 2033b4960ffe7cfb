"""Results of a run: progress bar, rows, tables and summaries."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.cli.console import error_data, size
from bidsplan.events import (
    Action,
    Decided,
    Failed,
    Finished,
    Opened,
    Progressed,
    Resumed,
    Skipped,
    Slowed,
    Waiting,
    Warned,
)
from bidsplan.plan.integrity import CheckMethod
from bidsplan.progress import draw

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from bidsplan.cli.console import Console
    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned


@dataclass(kw_only=True, slots=True)
class Counts:
    """Counts what events tell.

    Parameters
    ----------
    failures : Counter of str
        By the errors' codes.
    skipped : int
        Entries that were not tried.
    bytes : int
        That arrived.
    resumed : int
        Bytes that earlier runs had.
    endpoints : set of str
        Where requests went to fetch.
    destination : str or None
        Where they went to write.
    slow : Slowed or None
        What was slow, where anything was.
    """

    decided: Counter[Action] = field(default_factory=Counter)
    done: Counter[Action] = field(default_factory=Counter)
    proofs: Counter[CheckMethod] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    bytes: int = 0
    resumed: int = 0
    endpoints: set[str] = field(default_factory=set)
    destination: str | None = None
    slow: Slowed | None = None

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Finished):
            self.done[event.action] += 1
            self.proofs[event.proof] += 1
            self.bytes += event.bytes
        elif isinstance(event, Decided):
            self.decided[event.action] += 1
        elif isinstance(event, Progressed):
            self.bytes += event.bytes
        elif isinstance(event, Resumed):
            self.resumed += event.bytes
        elif isinstance(event, Failed):
            self.failures[event.error.code] += 1
        elif isinstance(event, Skipped):
            self.skipped += 1
        elif isinstance(event, Slowed):
            self.slow = event
        elif isinstance(event, Opened) and event.written:
            self.destination = event.endpoint
        elif isinstance(event, Opened) and event.endpoint is not None:
            self.endpoints.add(event.endpoint)

    @property
    def failed(self) -> int:
        """How many entries failed."""
        return self.failures.total()


_PROOFS = {
    CheckMethod.CONTENT: "generated",
    CheckMethod.SHA256: "sha256",
    CheckMethod.MD5: "md5",
    CheckMethod.CHECKSUM: "checksum",
    CheckMethod.ETAG_MD5: "md5 by etag",
    CheckMethod.MULTIPART: "multipart etag",
    CheckMethod.RECEIPT: "receipt",
    CheckMethod.SIZE: "size only",
}

_DONE = {
    Action.FETCH: "fetched",
    Action.REPLACE: "replaced",
    Action.KEEP: "kept",
}


def done(tally: Counts, verb: str | None = None) -> str:
    """Say what was done, what it was shown by, and what failed.

    Parameters
    ----------
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


def intended(tally: Counts, total: int) -> str:
    """Say what would be done."""
    actions = _counted((f"to {action.value}", tally.decided[action]) for action in Action)
    failures = [
        f"{number:,} impossible ({code})" for code, number in sorted(tally.failures.items())
    ]
    return "; ".join([*actions, *failures, f"{size(total)} in all"])


def _counted(pairs: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{number:,} {word}" for word, number in pairs if number]


def data_of(tally: Counts) -> dict[str, Any]:
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


class Outcome:
    """Follows events and tells them.

    Parameters
    ----------
    dry_run : bool
        Whether only decisions are told.
    verb : str, optional
        One word for all that went well.
    """

    def __init__(
        self, plan: Planned, console: Console, *, dry_run: bool = False, verb: str | None = None
    ) -> None:
        self._plan = plan
        self._console = console
        self._dry_run = dry_run
        self._verb = verb
        self._tally = Counts()
        self._rows: list[tuple[str, str, str, str]] = []

    def follow(self, events: Generator[Event, None, None]) -> None:
        """Draw and tell events until there are no more."""
        bar = sys.stderr.isatty() and not self._dry_run and not self._console.json
        with closing(events), closing(draw(events, self._plan, enabled=bar)) as drawn:
            quiet = not self._console.json
            for event in drawn:
                self._tally.add(event)
                if not (quiet and isinstance(event, Finished)):
                    self._hear(event)

    def _hear(self, event: Event) -> None:
        match event:
            case Decided(entry=entry, action=action) if self._dry_run:
                self._decided(entry, action)
            case Finished(entry=entry, action=action, proof=proof):
                data = {"path": entry.path, "action": action.value, "proof": proof.value}
                self._row(data)
            case Skipped(entry=entry):
                self._row({"path": entry.path, "action": "skip"})
            case Failed(entry=entry, error=error):
                self._row({"path": entry.path, "error": error.code, **error_data(error)})
                self._console.error(str(error))
            case Waiting(holder=holder):
                self._console.say(f"waiting: {holder}")
            case Warned(problem=problem):
                self._console.warn([problem])
            case _:
                pass

    def _row(self, data: dict[str, Any]) -> None:
        if self._console.json:
            self._console.result("", data)

    def _decided(self, entry: Entry, action: Action) -> None:
        self._row({"path": entry.path, "action": action.value, "size": entry.size})
        self._rows.append((action.value, size(entry.size), entry.reason, entry.path))

    def finish(self) -> int:
        """Tell the summary, and give the exit code."""
        if self._dry_run and not self._console.json:
            self._table()
        if self._dry_run:
            text = intended(self._tally, self._plan.header.bytes)
        else:
            text = done(self._tally, self._verb)
        self._console.result(text, {"summary": text, **data_of(self._tally)})
        return 1 if self._tally.failed or self._tally.skipped else 0

    def _table(self) -> None:
        from tabulate import tabulate  # only for a dry run

        headers = ("action", "size", "reason", "path")
        aligned = ("left", "right", "left", "left")
        text = tabulate(self._rows, headers, "plain", colalign=aligned, disable_numparse=True)
        self._console.result(text)
