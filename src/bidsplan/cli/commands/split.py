"""``bidsplan split``."""

from __future__ import annotations

from pathlib import Path

import click

from bidsplan.cli import options
from bidsplan.cli.plans import plan_for
from bidsplan.errors import UsageError
from bidsplan.messages import counted, size


@click.command(
    "split",
    epilog=options.examples(
        "bidsplan split ds000114.plan.jsonl -o parts",
        "bidsplan split --shards 16 ds000114.plan.jsonl.zst -o parts",
    ),
)
@options.plan_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the parts; made if it is not there.",
)
@click.option(
    "--by",
    type=click.Choice(["subject", "site"]),
    help="Write a plan for each subject, or for each site.  [default: subject]",
)
@click.option(
    "--shards",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Write N plans with about the same bytes and files instead.",
)
@options.settings_of(*options.ALLOWED)
def command(
    source: Path, output: Path, by: str | None, shards: int | None, settings: options.Settings
) -> None:
    """Split PLAN into plans that may be fetched side by side, and list them in an index.

    The index is written as index.tsv and index.json, for array jobs and workflow engines: name,
    plan, files, bytes and key of each part. The key changes if any file of the part does. The part
    of a subject is a valid dataset. A part that would stay the same is not written again.
    """
    from bidsplan.plan import split  # on demand

    if by and shards:
        raise UsageError("--by and --shards cannot be used together; choose one")
    path, plan = plan_for(source, settings)
    if shards:
        parts = split.split_evenly(plan, output, shards, source=path)
    else:
        split_by = split.split_by_site if by == "site" else split.split_by_subject
        parts = split_by(plan, output, source=path)
    number = files = total = 0
    for part in parts:
        number, files, total = number + 1, files + part.files, total + part.bytes
    text = f"{counted(number, 'plan')}, {counted(files, 'file')}, {size(total)}"
    settings.console.result(
        f"wrote {text} in {output}; they are listed in {output / 'index.tsv'}",
        {"index": str(output / "index.json"), "plans": number, "files": files, "bytes": total},
    )
