"""``bidsplan prune``."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.console import coded, error_data
from bidsplan.cli.plans import plan_for
from bidsplan.errors import UsageError
from bidsplan.events import Kept, KeptReason, Pruned, PruneFailed, Waiting, Warned
from bidsplan.messages import counted, size
from bidsplan.transfer.removal import prune

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bidsplan.cli.console import Console
    from bidsplan.help_codes import HelpCode


_MOST_NAMED = 20
"""The most files that the question names before files are removed."""

_KEPT = {
    KeptReason.FOREIGN: "kept, not fetched by bidsplan",
    KeptReason.CHANGED: "kept, changed since bidsplan fetched it",
}


@click.command(
    "prune",
    epilog=options.examples(
        "bidsplan prune -n ds000114.yaml data",
        "bidsplan prune --yes ds000114.plan.jsonl data",
    ),
)
@options.plan_argument
@options.destination_argument
@click.option("-y", "--yes", is_flag=True, help="Remove without asking.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also remove files that bidsplan did not fetch or that have changed. Hidden files and "
    "directories are kept.",
)
@click.option(
    "-n", "--dry-run", is_flag=True, help="Show what would be removed, and remove nothing."
)
@options.wait_option
@options.settings_of(*options.STORAGE, *options.DESTINATION)
def command(
    source: Path,
    destination: str,
    yes: bool,
    everything: bool,
    dry_run: bool,
    wait: bool,
    settings: options.Settings,
) -> int:
    """Remove files in DEST that are not in PLAN, and directories that become empty.

    The command asks before it removes anything. Without --all, it removes only files that bidsplan
    fetched and that have not changed since. It never follows symbolic links.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise UsageError(
            "prune asks before it removes files, and standard input is not a terminal; give --yes, "
            "or --dry-run to see what it would remove"
        )
    path, plan = plan_for(source, settings)
    outcome = _Outcome(settings.console, dry_run=dry_run)
    events = prune(
        plan,
        destination,
        access=settings.access,
        base=path.parent,
        everything=everything,
        keep=_documents(source, path),
        dry_run=dry_run,
        agree=None if yes else lambda found: outcome.ask(found, destination),
        wait=wait,
    )
    with closing(events):
        for event in events:
            outcome.show(event)
    return outcome.finish()


def _documents(source: Path, plan: Path) -> Iterator[Path]:
    """Yield the paths of the plan and its manifest, which are kept."""
    yield from (source, plan)
    stem = plan.name.partition(".plan.jsonl")[0]
    yield from (plan.with_name(f"{stem}{suffix}") for suffix in (".yaml", ".yml"))


class _Outcome:
    """Shows what happened to each file, and a summary."""

    def __init__(self, console: Console, *, dry_run: bool) -> None:
        self._console = console
        self._dry_run = dry_run
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._declined = False
        self._help_codes: set[HelpCode] = set()

    def ask(self, found: Sequence[Pruned], destination: str) -> bool:
        """Name the files to remove, and ask whether to remove them."""
        for event in found[:_MOST_NAMED]:
            self._console.say(f"{event.path}  {size(event.bytes)}")
        if len(found) > _MOST_NAMED:
            self._console.say(f"… and {len(found) - _MOST_NAMED:,} more")
        total = size(sum(event.bytes for event in found))
        question = f"Remove {counted(len(found), 'file')}, {total}, from {destination!r}?"
        self._declined = not self._console.confirm(question)
        return not self._declined

    def show(self, event: Pruned | Kept | PruneFailed | Waiting | Warned) -> None:
        """Show what happened to a file, or why the run waits."""
        console = self._console
        match event:
            case Waiting(holder=holder):
                console.say(f"waiting: {holder}")
            case Warned(problem=problem):
                console.warn([problem])
            case Pruned(bytes=number):
                self._counts["removed"] += 1
                self._bytes += number
                path = _encodable(event.path)
                row = {"path": path, "action": "remove", "size": number}
                if self._dry_run:
                    console.result(f"{path}  {size(number)}", row)
                else:
                    console.record(row)
            case Kept(path=path, why=why):
                self._counts[why.value] += 1
                console.record({"path": _encodable(path), "action": "keep", "why": why.value})
            case PruneFailed(path=path, error=error):
                self._counts["failed"] += 1
                console.record({"path": _encodable(path), **error_data(error)})
                console.error(coded(str(error), error.help_code))
                self._help_codes |= error.help_codes()

    def finish(self) -> int:
        """Show the summary, and return the exit code."""
        text = "; ".join(self._parts()) or "nothing to remove"
        counts = {kind: self._counts[kind] for kind in (*_KEPT, "failed")}
        removed = {"to_remove" if self._dry_run else "removed": self._counts["removed"]}
        self._console.result(text, {"summary": text, **removed, **counts, "bytes": self._bytes})
        self._console.refer(self._help_codes)
        return 1 if self._declined or self._counts["failed"] else 0

    def _parts(self) -> Iterator[str]:
        removed = self._counts["removed"]
        if self._declined:
            yield "nothing was removed"
        elif removed:
            yield f"{removed:,} {'to remove' if self._dry_run else 'removed'}, {size(self._bytes)}"
        for kind, words in [*_KEPT.items(), ("failed", "failed")]:
            if self._counts[kind]:
                yield f"{self._counts[kind]:,} {words}"


def _encodable(path: str) -> str:
    """Escape bytes of a name that JSON can't represent."""
    return path.encode(errors="backslashreplace").decode()
