"""``bidsplan prune``."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli.console import counted, error_data, size
from bidsplan.cli.options import (
    console_options,
    destination_options,
    reach_options,
    wait_option,
)
from bidsplan.cli.plans import PlanPolicy, plan_for
from bidsplan.errors import UsageError
from bidsplan.events import Kept, KeptReason, Pruned, PruneFailed, Waiting, Warned
from bidsplan.transfer.removal import prune

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bidsplan.cli.console import Console
    from bidsplan.storage.access import Access


_SHOWN = 20
"""Files that are named before it is asked whether to remove them."""

_WHY = {
    KeptReason.FOREIGN: "left alone that bidsplan did not bring",
    KeptReason.CHANGED: "left alone that changed since bidsplan brought it",
}


@click.command("prune")
@click.argument("source", metavar="PLAN|MANIFEST", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST")
@click.option("-y", "--yes", is_flag=True, help="Remove without asking.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also what bidsplan did not bring, or what was changed since; hidden files and "
    "directories are left alone.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be removed; remove nothing.")
@wait_option
@reach_options
@destination_options
@console_options
def command(
    source: Path,
    destination: str,
    yes: bool,
    everything: bool,
    dry_run: bool,
    wait: bool,
    access: Access,
    console: Console,
) -> int:
    """Remove files below DEST that are not in PLAN, and directories that this leaves empty.

    Asks before. Only what bidsplan brought, and nobody changed, is removed; no link is followed.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise UsageError(
            "prune asks before it removes, and standard input is no terminal; give --yes, or "
            "--dry-run to see what would go"
        )
    path, plan = plan_for(
        source, PlanPolicy.FROZEN, access=access, console=console, strict=False, write=False
    )
    outcome = _Outcome(console, dry_run=dry_run)
    events = prune(
        plan,
        destination,
        access=access,
        base=path.parent,
        everything=everything,
        keep=_documents(source, path),
        dry_run=dry_run,
        agree=None if yes else lambda found: outcome.ask(found, destination),
        wait=wait,
    )
    with closing(events):
        for event in events:
            outcome.add_event(event)
    return outcome.finish()


def _documents(source: Path, plan: Path) -> Iterator[Path]:
    """Give the plan and its manifest, which may stand in the destination."""
    yield from (source, plan)
    stem = plan.name.partition(".plan.jsonl")[0]
    yield from (plan.with_name(f"{stem}{suffix}") for suffix in (".yaml", ".yml"))


class _Outcome:
    """Tells what became of each file."""

    def __init__(self, console: Console, *, dry_run: bool) -> None:
        self._console = console
        self._dry_run = dry_run
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._declined = False

    def ask(self, found: Sequence[Pruned], destination: str) -> bool:
        """Name what would be removed, and ask whether to."""
        for event in found[:_SHOWN]:
            self._console.say(f"{event.path}  {size(event.bytes)}")
        if len(found) > _SHOWN:
            self._console.say(f"… and {len(found) - _SHOWN:,} more")
        total = size(sum(event.bytes for event in found))
        # click prints what it is given as it stands, and a folder's name may hold anything.
        question = f"Remove {counted(len(found), 'file')}, {total}, from {destination!r}?"
        self._declined = not self._console.confirm(question)
        return not self._declined

    def add_event(self, event: Pruned | Kept | PruneFailed | Waiting | Warned) -> None:
        """Tell of one file, or of what holds the work up."""
        if isinstance(event, Waiting):
            self._console.say(f"waiting: {event.holder}")
            return
        if isinstance(event, Warned):
            self._console.warn([event.problem])
            return
        # A name of no known encoding has no form in JSON.
        path = event.path.encode(errors="backslashreplace").decode()
        match event:
            case Pruned(bytes=number):
                self._counts["removed"] += 1
                self._bytes += number
                self._row({"path": path, "action": "remove", "size": number})
                if self._dry_run and not self._console.json:
                    self._console.result(f"{path}  {size(number)}")
            case Kept(why=why):
                self._counts[why.value] += 1
                self._row({"path": path, "action": "keep", "why": why.value})
            case PruneFailed(error=error):
                self._counts["failed"] += 1
                self._row({"path": path, "error": error.code, **error_data(error)})
                self._console.error(str(error))

    def _row(self, data: dict[str, object]) -> None:
        if self._console.json:
            self._console.result("", data)

    def finish(self) -> int:
        """Tell the summary, and give the exit code."""
        text = "; ".join(self._parts()) or "nothing to remove"
        counts = {kind: self._counts[kind] for kind in (*_WHY, "failed")}
        removed = {"to_remove" if self._dry_run else "removed": self._counts["removed"]}
        self._console.result(text, {"summary": text, **removed, **counts, "bytes": self._bytes})
        return 1 if self._declined or self._counts["failed"] else 0

    def _parts(self) -> Iterator[str]:
        removed = self._counts["removed"]
        if self._declined:
            yield "nothing was removed"
        elif removed:
            said = "to remove" if self._dry_run else "removed"
            yield f"{removed:,} {said}, {size(self._bytes)}"
        for why, words in _WHY.items():
            if self._counts[why]:
                yield f"{self._counts[why]:,} {words}"
        if self._counts["failed"]:
            yield f"{self._counts['failed']:,} failed"
