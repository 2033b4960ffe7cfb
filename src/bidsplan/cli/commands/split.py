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
    help="The directory to write the parts to, which is created if it does not exist.",
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
    help="Instead of --by, write N plans with about the same number of bytes and files.",
)
@options.settings_of(*options.ALLOWED)
def command(
    source: Path, output: Path, by: str | None, shards: int | None, settings: options.Settings
) -> None:
    """Split PLAN into parts that may be fetched at the same time, and write an index of them.

    Array jobs and workflow engines can read the index, which is written as index.tsv and
    index.json. For each part, it has the name, the plan, the number of files and bytes, and a key,
    which changes if a file of the part changes. The part of each subject is a valid dataset. A part
    that has not changed is not written again.
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
