"""``bidsplan verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plans import plan_for
from bidsplan.cli.report import Outcome
from bidsplan.transfer.verification import verify

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "verify",
    epilog=options.examples(
        "bidsplan verify ds000114.yaml data",
        "bidsplan verify --deep ds000114.plan.jsonl data",
    ),
)
@options.plan_argument
@options.destination_argument
@options.readers_option
@click.option(
    "--deep",
    is_flag=True,
    help="Also check that NIfTI files contain all data that their headers describe, and that files "
    "compressed with gzip are complete.",
)
@options.settings_of(*options.PART, *options.STORAGE, *options.DESTINATION)
def command(
    source: Path, destination: str, readers: int, deep: bool, settings: options.Settings
) -> int:
    """Read every file of PLAN in DEST, and check that it is the planned one.

    If DEST is a directory, the command sends no requests. If files differ or are missing, the
    command names them and exits with 1. A later fetch no longer keeps these files by their
    receipts.
    """
    path, plan = plan_for(source, settings)
    plan = settings.part.of(plan)
    outcome = Outcome(plan, settings.console, verb="read and verified")
    return outcome.follow(
        verify(plan, destination, jobs=readers, deep=deep, access=settings.access, base=path.parent)
    )
