"""Shows a run's results: progress bar, rows, table and summary."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan import events
from bidsplan.cli.console import error_data
from bidsplan.cli.like_errors import LikeErrors
from bidsplan.events import Action
from bidsplan.messages import counted, size
from bidsplan.plan.integrity import CHECK_NAMES, CheckMethod
from bidsplan.progress import Counts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Iterable

    from bidsplan.cli.console import Console
    from bidsplan.errors import Problem
    from bidsplan.events import Event
    from bidsplan.plan import Plan, Planned


_DONE = {Action.FETCH: "fetched", Action.REPLACE: "replaced", Action.KEEP: "kept"}


def _listed(pairs: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{number:,} {word}" for word, number in pairs if number]


class Outcome:
    """Shows a run's events as they arrive, and a summary.

    Parameters
    ----------
    verb : str, optional
        A word for every kind of success.
    place : str
        The destination, where the summary shall name it.
    prune : str
        The command that removes unplanned files, where a warning of them shall name it.
    """

    def __init__(
        self,
        plan: Planned,
        console: Console,
        *,
        dry_run: bool = False,
        verb: str | None = None,
        place: str = "",
        prune: str = "",
    ) -> None:
        self.pinned: Plan | None = None  # of a Pinned event
        self._plan = plan
        self._console = console
        self._dry_run = dry_run
        self._verb = verb
        self._place = place
        self._prune = prune
        self._counts = Counts()
        self._errors = LikeErrors(console)
        self._rows: list[tuple[str, str, str, str]] = []

    def follow(self, run: Generator[Event, None, None]) -> int:
        """Show a run's progress, events and summary; return the exit code."""
        json, add = self._console.json, self._counts.add
        drawn = nullcontext() if self._dry_run else self._console.progress(self._counts, self._plan)
        with closing(self._errors), closing(run), drawn:
            for event in run:
                add(event)
                if json or not isinstance(event, events.Finished):
                    self._show(event)
        text = "; ".join(self._intended() if self._dry_run else self._done()) or "nothing to do"
        shown = f"{self._place}: {text}" if self._place else text
        if self._dry_run and not json:
            shown = f"{self._table()}\n{shown}"
        self._console.result(shown, {"summary": text, **self._counts.summary()})
        self._console.refer(self._counts.help_codes)
        return 1 if self._counts.failures or self._counts.skipped else 0

    @property
    def changed(self) -> bool:
        """Whether files were fetched or replaced, and none is missing."""
        counts = self._counts
        done = counts.done[Action.FETCH] + counts.done[Action.REPLACE]
        return done > 0 and not counts.failures and not counts.skipped

    def _show(self, event: Event) -> None:
        console = self._console
        match event:
            case events.Decided(entry=entry, action=action) if self._dry_run:
                console.record({"path": entry.path, "action": action.value, "size": entry.size})
                self._rows.append((action.value, size(entry.size), entry.reason, entry.path))
            case events.Finished(entry=entry, action=action, proof=proof):
                row = {"path": entry.path, "action": action, "proof": proof}
                console.record({**row, "cached": True} if event.cached else row)
            case events.Skipped(entry=entry):
                console.record({"path": entry.path, "action": "skip"})
            case events.Failed(entry=entry, error=error):
                console.record({"path": entry.path, **error_data(error)})
                self._errors.add(entry, error)
            case events.Waiting(holder=holder):
                console.say(f"waiting: {holder}")
            case events.Warned(problem=problem):
                console.warn([self._named(problem)])
            case events.Pinned(plan=plan):
                self.pinned = plan

    def _named(self, problem: Problem) -> Problem:
        """Give a command in a hint the names and options that it needs."""
        from bidsplan.transfer.removal import (  # loaded by what warns
            UNPLANNED_COMMAND,
            UNPLANNED_HINT,
        )

        if problem.hint != UNPLANNED_HINT or not self._prune:
            return problem
        return replace(problem, hint=problem.hint.replace(UNPLANNED_COMMAND, self._prune))

    def _table(self) -> str:
        from tabulate import tabulate  # only for a dry run

        headers = ("action", "size", "reason", "path")
        aligned = ("left", "right", "left", "left")
        return tabulate(self._rows, headers, "plain", colalign=aligned, disable_numparse=True)

    def _intended(self) -> list[str]:
        """Describe what a dry run would do."""
        counts = self._counts
        failures = sorted(counts.failures.items())
        return [
            *_listed((f"to {action.value}", counts.decided[action]) for action in Action),
            *_listed((f"cannot be fetched ({code})", number) for code, number in failures),
            f"{size(self._plan.header.bytes)} in all",
        ]

    def _endpoints(self) -> str:
        """Name the endpoints that requests were sent to, if any."""
        counts = self._counts
        fetched = counts.done[Action.FETCH] + counts.done[Action.REPLACE]
        requested = counts.bytes or counts.failures or counts.skipped or fetched > counts.cached
        return (
            f"from {', '.join(sorted(counts.endpoints))}" if requested and counts.endpoints else ""
        )

    def _cached(self) -> str:
        number, held = self._counts.cached, self._counts.cached_bytes
        return f"{counted(number, 'file')} ({size(held)}) from the cache" if number else ""

    def _checks(self) -> str:
        """Describe how files were checked: ``20 files checked by MD5, 3 by size only``."""
        recalled = self._counts.recalled
        earlier = self._ways(recalled)
        parts = [self._ways(self._counts.proofs - recalled)]
        parts.append(f"{earlier} in an earlier run" if earlier else "")
        return "; ".join(filter(None, parts))

    def _ways(self, proofs: Counter[CheckMethod]) -> str:
        ways = [(way, proofs[way]) for way in CheckMethod if proofs[way]]
        texts = [f"{number:,} by {CHECK_NAMES[way]}" for way, number in ways]
        if texts:
            number = ways[0][1]
            by = texts[0].partition(" ")[2]
            texts[0] = f"{counted(number, 'file')} {self._verb or 'checked'} {by}"
        return ", ".join(texts)

    def _done(self) -> list[str]:
        """Describe what was done, how files were checked, and what failed."""
        counts = self._counts
        checks = self._checks()
        if self._verb:
            parts = [checks or f"0 files {self._verb}"]
        else:
            parts = [
                *_listed((word, counts.done[action]) for action, word in _DONE.items()),
                size(counts.bytes) if counts.bytes else "",
                f"{size(counts.resumed)} from earlier runs" if counts.resumed else "",
                self._cached(),
                self._endpoints(),
                f"to {counts.destination}" if counts.destination else "",
                checks,
            ]
        failures = sorted(counts.failures.items())
        parts += _listed((f"failed ({code})", number) for code, number in failures)
        kept = f"{size(counts.resumable)} kept for the next run" if counts.resumable else ""
        parts.append(", ".join(filter(None, [*_listed([("unfinished", counts.skipped)]), kept])))
        return [part for part in parts if part]
