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
@click.option(
    "--tree", is_flag=True, help="Show the directories, each with the number and size of its files."
)
@click.option("--csv", is_flag=True, help="Write a CSV table of all files.")
@click.option("--all", "show_all", is_flag=True, help="Show all rows, subjects and files.")
@options.settings_of(*options.ALLOWED)
def command(
    source: Path, tree: bool, csv: bool, show_all: bool, settings: options.Settings
) -> None:
    """Show what PLAN contains: subjects, files, bytes, and how files can be proved.

    The command counts files and bytes by pipeline, datatype, suffix, session, reason and proof, and
    lists the largest files. With --json, it also counts them by subject.
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
