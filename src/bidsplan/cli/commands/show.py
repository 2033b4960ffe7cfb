"""``bidsplan show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from bidsplan.cli import options
from bidsplan.cli.plans import plan_for
from bidsplan.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "show",
    epilog=options.examples(
        "bidsplan show ds000114.plan.jsonl",
        "bidsplan show --tree ds000114.yaml",
        "bidsplan show --csv ds000114.plan.jsonl.gz > files.csv",
    ),
)
@options.document_argument("source", "PLAN|MANIFEST")
@click.option("--tree", is_flag=True, help="Show directories, with files and bytes below each.")
@click.option("--csv", is_flag=True, help="Write a table of all files, for spreadsheets.")
@click.option("--all", "show_all", is_flag=True, help="Show every row, subject and file.")
@options.settings_of(*options.ALLOWED)
def command(
    source: Path, tree: bool, csv: bool, show_all: bool, settings: options.Settings
) -> None:
    """Show what PLAN holds: subjects, files and bytes, and how each file can be proved.

    Counts are by pipeline, datatype, suffix, session, reason and proof; the largest files follow.
    With --json, everything is counted by subject too.
    """
    console = settings.console
    if tree + csv + console.json > 1:
        raise UsageError("--tree, --csv and --json cannot be used together; choose one")
    _, plan = plan_for(source, settings)
    if csv:
        from bidsplan.cli.plan_csv import csv_lines  # on demand

        for text in csv_lines(plan, console.redact):
            console.write(text)
    elif tree:
        from bidsplan.cli.plan_tree import tree_lines  # on demand

        console.result("\n".join(tree_lines(plan, show_all=show_all)), {})
    else:
        from bidsplan.cli.plan_summary import summary_lines  # on demand
        from bidsplan.review.summary import summarise_plan

        summary = summarise_plan(plan)
        lines = summary_lines(summary, show_all=show_all)
        console.result("\n".join(lines), msgspec.to_builtins(summary))
