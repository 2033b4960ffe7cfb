"""``bidsplan pin``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plans import plan_for
from bidsplan.cli.report import Outcome
from bidsplan.errors import UsageError
from bidsplan.messages import counted
from bidsplan.transfer.pins import pin
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from bidsplan.plan import Planned


@click.command(
    "pin",
    epilog=options.examples(
        "bidsplan pin ds000114.yaml data",
        "bidsplan pin -o pinned.plan.jsonl ds000114.plan.jsonl data",
    ),
)
@options.plan_argument
@options.destination_argument
@options.output_option("The file to write the pinned plan to. [default: replace PLAN]")
@options.readers_option
@options.settings_of(*options.STORAGE, *options.DESTINATION)
def command(
    source: Path, destination: str, output: Path | None, readers: int, settings: options.Settings
) -> int:
    """Add the SHA-256 of each file in DEST to PLAN, so that only these bytes are accepted later.

    If DEST is a directory, the command sends no requests. If a file is missing or differs, the
    command writes nothing.
    """
    from bidsplan.plan.file import plan_suffix, write_plan  # on demand

    console = settings.console
    path, plan = plan_for(source, settings)
    output = output or path
    # The next step may read a terabyte, so a wrong output is refused first.
    plan_suffix(output)
    _refuse_move(plan, path, output)
    outcome = Outcome(plan, console, verb="read and verified")
    events = pin(plan, destination, jobs=readers, access=settings.access, base=path.parent)
    code = outcome.follow(events)
    if outcome.pinned is None:
        console.error(f"{output}: not written, since not all of its files are there and verify")
        return code
    write_plan(outcome.pinned, output)
    files = sum(entry.sha256 is not None for entry in outcome.pinned.entries)
    console.result(
        f"wrote {output}: with the sha256 of {counted(files, 'file')}",
        {"plan": str(output), "pinned": files},
    )
    return code


def _refuse_move(plan: Planned, path: Path, output: Path) -> None:
    """Refuse another directory for a plan with relative sources."""
    if output.parent.resolve() == path.parent.resolve():
        return
    for root in plan.header.roots:
        location = parse_url(root.url)
        if location.protocol == "file" and not Path(location.path).is_absolute():
            raise UsageError(
                f"{output}: its source {root.url!r} is relative to {path.parent}; write the "
                "pinned plan there"
            )
