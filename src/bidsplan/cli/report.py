"""Results of a run: progress bar, rows, table and summary."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from bidsplan import events
from bidsplan.cli.console import counted, error_data, size
from bidsplan.events import Action
from bidsplan.plan.integrity import CheckMethod
from bidsplan.progress import draw

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from bidsplan.cli.console import Console
    from bidsplan.events import Event
    from bidsplan.plan import Plan, Planned


@dataclass(kw_only=True, slots=True)
class Counts:
    """Totals over a run's events; the fields are those of the summary in JSON."""

    decided: Counter[Action] = field(default_factory=Counter)
    done: Counter[Action] = field(default_factory=Counter)
    proofs: Counter[CheckMethod] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)  # by error code
    skipped: int = 0
    bytes: int = 0
    resumed: int = 0  # bytes of earlier runs
    endpoints: set[str] = field(default_factory=set)
    destination: str | None = None
    slow: events.Slowed | None = None

    def add(self, event: Event) -> None:
        """Count an event."""
        # Two or more a file: slots and isinstance take half the time of a Struct and patterns.
        if isinstance(event, events.Finished):
            self.done[event.action] += 1
            self.proofs[event.proof] += 1
            self.bytes += event.bytes
        elif isinstance(event, events.Decided):
            self.decided[event.action] += 1
        elif isinstance(event, events.Progressed):
            self.bytes += event.bytes
        elif isinstance(event, events.Resumed):
            self.resumed += event.bytes
        elif isinstance(event, events.Failed):
            self.failures[event.error.code] += 1
        elif isinstance(event, events.Skipped):
            self.skipped += 1
        elif isinstance(event, events.Slowed):
            self.slow = event
        elif isinstance(event, events.Opened) and event.written:
            self.destination = event.endpoint
        elif isinstance(event, events.Opened) and event.endpoint is not None:
            self.endpoints.add(event.endpoint)


_CHECKS = {
    CheckMethod.CONTENT: "content",
    CheckMethod.SHA256: "SHA-256",
    CheckMethod.MD5: "MD5",
    CheckMethod.CHECKSUM: "S3 checksum",
    CheckMethod.ETAG_MD5: "MD5 (entity tag)",
    CheckMethod.MULTIPART: "multipart entity tag",
    CheckMethod.SIZE: "size only",
}
_DONE = {Action.FETCH: "fetched", Action.REPLACE: "replaced", Action.KEEP: "kept"}


def _listed(pairs: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{number:,} {word}" for word, number in pairs if number]


class Outcome:
    """Shows a run's events as they come, and its summary; `verb` says any success in one word."""

    def __init__(
        self, plan: Planned, console: Console, *, dry_run: bool = False, verb: str | None = None
    ) -> None:
        self.pinned: Plan | None = None  # of a Pinned event
        self._plan = plan
        self._console = console
        self._dry_run = dry_run
        self._verb = verb
        self._counts = Counts()
        self._rows: list[tuple[str, str, str, str]] = []

    def follow(self, run: Generator[Event, None, None]) -> int:
        """Draw and show all events of a run and a summary, and return the exit code."""
        json = self._console.json
        bar = sys.stderr.isatty() and not self._dry_run and not json
        with closing(run), closing(draw(run, self._plan, enabled=bar)) as drawn:
            for event in drawn:
                self._counts.add(event)
                if json or not isinstance(event, events.Finished):
                    self._show(event)
        text = "; ".join(self._intended() if self._dry_run else self._done()) or "nothing to do"
        shown = f"{self._table()}\n{text}" if self._dry_run and not json else text
        counts = msgspec.to_builtins(self._counts, order="deterministic")
        self._console.result(shown, {"summary": text, **counts})
        return 1 if self._counts.failures or self._counts.skipped else 0

    def _show(self, event: Event) -> None:
        console = self._console
        match event:
            case events.Decided(entry=entry, action=action) if self._dry_run:
                console.record({"path": entry.path, "action": action.value, "size": entry.size})
                self._rows.append((action.value, size(entry.size), entry.reason, entry.path))
            case events.Finished(entry=entry, action=action, proof=proof):
                console.record({"path": entry.path, "action": action, "proof": proof})
            case events.Skipped(entry=entry):
                console.record({"path": entry.path, "action": "skip"})
            case events.Failed(entry=entry, error=error):
                console.record({"path": entry.path, **error_data(error)})
                console.error(str(error))
            case events.Waiting(holder=holder):
                console.say(f"waiting: {holder}")
            case events.Warned(problem=problem):
                console.warn([problem])
            case events.Pinned(plan=plan):
                self.pinned = plan

    def _table(self) -> str:
        from tabulate import tabulate  # only for a dry run

        headers = ("action", "size", "reason", "path")
        aligned = ("left", "right", "left", "left")
        return tabulate(self._rows, headers, "plain", colalign=aligned, disable_numparse=True)

    def _intended(self) -> list[str]:
        """Describe what would be done."""
        counts = self._counts
        failures = sorted(counts.failures.items())
        return [
            *_listed((f"to {action.value}", counts.decided[action]) for action in Action),
            *_listed((f"cannot be fetched ({code})", number) for code, number in failures),
            f"{size(self._plan.header.bytes)} in all",
        ]

    def _checks(self) -> str:
        """Describe by what files were checked: ``20 files checked by MD5, 3 by size only``."""
        ways = [(way, self._counts.proofs[way]) for way in CheckMethod if self._counts.proofs[way]]
        texts = [f"{number:,} by {_CHECKS.get(way, way.value)}" for way, number in ways]
        if texts:
            number = ways[0][1]
            by = texts[0].partition(" ")[2]
            texts[0] = f"{counted(number, 'file')} {self._verb or 'checked'} {by}"
        return ", ".join(texts)

    def _done(self) -> list[str]:
        """Describe what was done, how it was checked, and what failed."""
        counts = self._counts
        checks = self._checks()
        if self._verb:
            parts = [checks or f"0 files {self._verb}"]
        else:
            parts = [
                *_listed((word, counts.done[action]) for action, word in _DONE.items()),
                size(counts.bytes) if counts.bytes else "",
                f"{size(counts.resumed)} from earlier runs" if counts.resumed else "",
                f"from {', '.join(sorted(counts.endpoints))}" if counts.endpoints else "",
                f"to {counts.destination}" if counts.destination else "",
                checks,
            ]
        failures = sorted(counts.failures.items())
        parts += _listed((f"failed ({code})", number) for code, number in failures)
        parts += _listed([("not tried", counts.skipped)])
        return [part for part in parts if part]
