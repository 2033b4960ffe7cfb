"""``bidsplan fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli import signals
from bidsplan.cli.options import (
    access_options,
    console_options,
    destination_options,
    strict_option,
    wait_option,
)
from bidsplan.cli.plans import PlanPolicy, plan_for
from bidsplan.cli.report import Outcome
from bidsplan.errors import UsageError
from bidsplan.plan.integrity import VerifyMode
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.fetch import materialise

if TYPE_CHECKING:
    from bidsplan.cli.console import Console
    from bidsplan.storage import Access


@click.command("fetch")
@click.argument("source", metavar="MANIFEST|PLAN", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST")
@click.option("--locked", is_flag=True, help="A missing or outdated plan is an error.")
@click.option("--frozen", is_flag=True, help="Take the plan as it stands, whatever the manifest.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option(
    "--existing",
    type=click.Choice([policy.value for policy in Existing]),
    default=Existing.KEEP.value,
    show_default=True,
    help="What to do with files that stand in the destination: keep those that verify and refuse "
    "others, replace those that differ, or refuse all.",
)
@click.option(
    "--verify",
    "checking",
    type=click.Choice([checking.value for checking in VerifyMode]),
    default=VerifyMode.FULL.value,
    show_default=True,
    help="How to check what arrives: by the strongest digest that is known, or by its size and "
    "entity tag only, which costs large files half the time.",
)
@wait_option
@strict_option
@access_options
@destination_options
@console_options
def command(
    source: Path,
    destination: str,
    locked: bool,
    frozen: bool,
    dry_run: bool,
    existing: str,
    checking: str,
    wait: bool,
    strict: bool,
    access: Access,
    console: Console,
) -> int:
    """Bring what a MANIFEST or PLAN lists to DEST, verified, and resume what was interrupted.

    DEST is a directory, or any URL that fsspec writes, such as s3://bucket/prefix.
    """
    if locked and frozen:
        raise UsageError("--locked and --frozen exclude each other: choose one")
    use = PlanPolicy.LOCKED if locked else PlanPolicy.FROZEN if frozen else PlanPolicy.CURRENT
    path, plan = plan_for(
        source, use, access=access, console=console, strict=strict, write=not dry_run
    )
    outcome = Outcome(plan, console, dry_run=dry_run)
    with signals.noted() as note:
        events = materialise(
            plan,
            destination,
            access=access,
            base=path.parent,
            existing=Existing(existing),
            checking=VerifyMode(checking),
            dry_run=dry_run,
            wait=wait,
            stopping=note.is_set,
        )
        outcome.follow(events)
    return outcome.finish()
