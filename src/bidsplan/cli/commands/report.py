"""``bidsplan report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plans import load, plan_for
from bidsplan.compile.plan_policy import PlanPolicy, is_manifest
from bidsplan.errors import UsageError
from bidsplan.plan.integrity import CheckMethod

if TYPE_CHECKING:
    from bidsplan.plan import Planned
    from bidsplan.review.proofs import Proofs
    from bidsplan.review.reasons import Reasons


@click.command(
    "report",
    epilog=options.examples(
        "bidsplan report ds000114.yaml -o report.html",
        "bidsplan report ds000114.plan.jsonl",
        "bidsplan report --dest data --verify ds000114.yaml",
    ),
)
@options.plan_argument
@options.output_option("The page's file. [default: the name of PLAN, ending in .report.html]")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="The manifest of PLAN, to show why files are missing.",
)
@click.option(
    "--dest",
    "destination",
    metavar="DEST",
    help="Also show which files in DEST are proved to be the planned ones.",
)
@click.option(
    "--verify", "read", is_flag=True, help="Read the files in DEST, and not only their receipts."
)
@options.settings_of(*options.SOURCES, *options.DESTINATION)
def command(
    source: Path,
    output: Path | None,
    manifest: Path | None,
    destination: str | None,
    read: bool,
    settings: options.Settings,
) -> None:
    """Write an HTML page that shows which subjects of PLAN lack which files, and why.

    If you name a MANIFEST, the command uses the plan next to it. With MANIFEST or --manifest, the
    command lists the study again, and the page also says which rule leaves out a file or a subject.
    The page is a single file that needs no network.
    """
    from bidsplan.review.report import check_page_name, write_report  # on demand

    if read and destination is None:
        raise UsageError("--verify reads the files of a destination; name it by --dest")
    manifest = _manifest(source, manifest)
    path, plan = plan_for(source, settings, PlanPolicy.FROZEN)
    page = output or path.with_name(f"{path.name.partition('.plan.')[0]}.report.html")
    # The next steps may list a study and read a destination, so a wrong output is refused first.
    check_page_name(page)
    reasons = _reasons(plan, manifest, settings) if manifest else None
    proofs = _proofs(plan, destination, path, settings, read=read) if destination else None
    write_report(plan, page, reasons=reasons, proofs=proofs)
    settings.console.result(*_description(page, plan, proofs))


def _manifest(source: Path, manifest: Path | None) -> Path | None:
    """Return the manifest that explains missing files, if there is one."""
    if not is_manifest(source):
        return manifest
    if manifest is not None:
        raise UsageError(f"{source} is a manifest; --manifest belongs to a plan")
    return source


def _reasons(plan: Planned, manifest: Path, settings: options.Settings) -> Reasons:
    """List the study of a manifest, and find why files are missing."""
    from bidsplan.review.report import find_reasons

    loaded = load(manifest, settings)
    with settings.console.progress() as notify:
        return find_reasons(plan, loaded, access=settings.access, notify=notify)


def _proofs(
    plan: Planned, destination: str, path: Path, settings: options.Settings, *, read: bool
) -> Proofs:
    """Check the files in a destination, by their receipts or by reading them."""
    from bidsplan.progress import Counts  # on demand
    from bidsplan.review.report import find_proofs

    access, counts = settings.access, Counts()
    with settings.console.progress(counts, plan):
        return find_proofs(
            plan, destination, read=read, access=access, base=path.parent, notify=counts.add
        )


def _description(page: Path, plan: Planned, proofs: Proofs | None) -> tuple[str, dict[str, object]]:
    """Describe what was written, as text and as data for ``--json``."""
    data: dict[str, object] = {"report": str(page)}
    if proofs is None:
        return f"wrote {page}", data
    files, size = plan.header.files, proofs.proofs[CheckMethod.SIZE]
    proved = proofs.proofs.total() - size
    text = f"wrote {page}: {proved:,} of {files:,} files are proved in {proofs.destination}"
    text += f", {size:,} checked by size only" if size else ""
    wrong = len(proofs.states)
    text += f", {wrong:,} missing, different or unproved" if wrong else ""
    return text, {**data, "proved": proved, "size_only": size, "wrong": wrong, "files": files}
