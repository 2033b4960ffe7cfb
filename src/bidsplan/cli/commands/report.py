"""``bidsplan report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plans import load, plan_for
from bidsplan.compile.plan_policy import PlanPolicy, is_manifest
from bidsplan.errors import UsageError

if TYPE_CHECKING:
    from bidsplan.plan import Planned
    from bidsplan.progress import Counts


@click.command(
    "report",
    epilog=options.examples(
        "bidsplan report ds000114.yaml -o report.html",
        "bidsplan report ds000114.plan.jsonl",
        "bidsplan report --dest data --verify ds000114.yaml",
    ),
)
@options.plan_argument
@options.output_option("The page's file. [default: PLAN's name with .report.html]")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="The manifest of PLAN, which shows why files are missing.",
)
@click.option("--dest", "destination", metavar="DEST", help="Also show what was proved in DEST.")
@click.option("--verify", "read", is_flag=True, help="Read the files in DEST, not only receipts.")
@options.settings_of(*options.SOURCES, *options.DESTINATION)
def command(
    source: Path,
    output: Path | None,
    manifest: Path | None,
    destination: str | None,
    read: bool,
    settings: options.Settings,
) -> None:
    """Write a page that shows which subjects of PLAN lack which files, and why.

    MANIFEST stands for the plan beside it. With a manifest, the study is listed as it is now: the
    page then also says which rule drops a file or a subject. It is one HTML file, which needs no
    network.
    """
    from bidsplan.progress import Counts  # on demand
    from bidsplan.review.report import write_report

    if read and destination is None:
        raise UsageError("--verify reads the files of a destination; name it by --dest")
    path, plan = plan_for(source, settings, PlanPolicy.FROZEN)
    manifest = _manifest(source, manifest)
    page = output or path.with_name(f"{path.name.partition('.plan.')[0]}.report.html")
    loaded = load(manifest, settings) if manifest else None
    counts = Counts()
    with settings.console.progress(counts, plan if destination and not loaded else None):
        write_report(
            plan,
            page,
            manifest=loaded,
            destination=destination,
            read=read,
            access=settings.access,
            base=path.parent,
            notify=counts.add,
        )
    settings.console.result(_said(page, counts, plan, destination), {"report": str(page)})


def _manifest(source: Path, manifest: Path | None) -> Path | None:
    """Return the manifest that says why files are missing, if any is named."""
    if not is_manifest(source):
        return manifest
    if manifest is not None:
        raise UsageError(f"{source} is a manifest; --manifest belongs to a plan")
    return source


def _said(page: Path, counts: Counts, plan: Planned, destination: str | None) -> str:
    """Describe what was written."""
    if destination is None:
        return f"wrote {page}"
    proved = sum(counts.proofs.values())
    return f"wrote {page}: {proved:,} of {plan.header.files:,} files are proved in {destination}"
