"""``bidsplan pin``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli.console import counted
from bidsplan.cli.options import console_options, destination_options, reach_options
from bidsplan.cli.plans import PlanPolicy, plan_for
from bidsplan.cli.report import Outcome
from bidsplan.errors import UsageError
from bidsplan.events import Pinned
from bidsplan.transfer.pins import pin
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Generator

    from bidsplan.cli.console import Console
    from bidsplan.events import Event
    from bidsplan.plan import Plan, Planned
    from bidsplan.storage import Access


@click.command("pin")
@click.argument("source", metavar="PLAN|MANIFEST", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the pinned plan goes. [default: in place of PLAN]",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="The most files read at a time.",
)
@reach_options
@destination_options
@console_options
def command(
    source: Path,
    destination: str,
    output: Path | None,
    jobs: int,
    access: Access,
    console: Console,
) -> int:
    """Add the SHA-256 of each file below DEST to PLAN, so that only these bytes will do.

    Makes no request where DEST is a directory. Every file must be there and verify; otherwise
    nothing is written.
    """
    from bidsplan.plan.file import plan_suffix, write_plan  # on demand

    path, plan = plan_for(
        source, PlanPolicy.FROZEN, access=access, console=console, strict=False, write=False
    )
    output = output or path
    # Told before a terabyte is read.
    plan_suffix(output)
    _refuse_move(plan, path, output)
    pinned: list[Plan] = []
    events = pin(plan, destination, jobs=jobs, access=access, base=path.parent)
    outcome = Outcome(plan, console, verb="verified")
    outcome.follow(_without_plan(events, pinned))
    code = outcome.finish()
    if not pinned:
        console.error(f"{output}: not written, since not all of its files are there and verify")
        return code
    write_plan(pinned[0], output)
    files = sum(entry.sha256 is not None for entry in pinned[0].entries)
    console.result(
        f"wrote {output}: with the sha256 of {counted(files, 'file')}",
        {"plan": str(output), "pinned": files},
    )
    return code


def _without_plan(
    events: Generator[Event, None, None], pinned: list[Plan]
) -> Generator[Event, None, None]:
    """Pass events on, and keep the plan that comes at last."""
    with closing(events):
        for event in events:
            if isinstance(event, Pinned):
                pinned.append(event.plan)
            else:
                yield event


def _refuse_move(plan: Planned, path: Path, output: Path) -> None:
    """Refuse another folder for a plan whose sources are relative to its own."""
    if output.parent.resolve() == path.parent.resolve():
        return
    for root in plan.header.roots:
        location = parse_url(root.url)
        if location.protocol == "file" and not Path(location.path).is_absolute():
            raise UsageError(
                f"{output}: its source {root.url!r} is relative to {path.parent}; write the "
                "pinned plan there"
            )
