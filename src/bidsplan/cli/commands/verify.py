"""``bidsplan verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli.options import console_options, destination_options, reach_options
from bidsplan.cli.plans import PlanPolicy, plan_for
from bidsplan.cli.report import Outcome
from bidsplan.transfer.verification import verify

if TYPE_CHECKING:
    from bidsplan.cli.console import Console
    from bidsplan.storage.access import Access


@click.command("verify")
@click.argument("source", metavar="PLAN|MANIFEST", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="The most files read at a time.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Also check that NIfTI files hold the data that their headers say, and whole gzip.",
)
@reach_options
@destination_options
@console_options
def command(
    source: Path, destination: str, jobs: int, deep: bool, access: Access, console: Console
) -> int:
    """Read every file of PLAN below DEST and check that it is the planned one.

    Makes no request where DEST is a directory. Exits with 1 and names the files that differ or are
    missing.
    """
    path, plan = plan_for(
        source, PlanPolicy.FROZEN, access=access, console=console, strict=False, write=False
    )
    outcome = Outcome(plan, console, verb="verified")
    outcome.follow(verify(plan, destination, jobs=jobs, deep=deep, access=access, base=path.parent))
    return outcome.finish()
