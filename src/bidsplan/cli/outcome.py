"""What became of each file: a bar while it goes on, a row or a table, and a summary."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from bidsplan.cli.console import error_data, size
from bidsplan.cli.summary import data_of, done, intended
from bidsplan.cli.tally import Tally
from bidsplan.events import Action, Decided, Failed, Finished, Skipped, Waiting, Warned
from bidsplan.progress import draw

if TYPE_CHECKING:
    from collections.abc import Generator

    from bidsplan.cli.console import Console
    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned

__all__ = ["Outcome"]


class Outcome:
    """Follows events and tells them.

    Parameters
    ----------
    plan : Plan
    console : Console
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
        self._tally = Tally()
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
        from tabulate import tabulate  # noqa: PLC0415 - only for a dry run

        headers = ("action", "size", "reason", "path")
        aligned = ("left", "right", "left", "left")
        text = tabulate(self._rows, headers, "plain", colalign=aligned, disable_numparse=True)
        self._console.result(text)
