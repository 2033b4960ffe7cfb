"""``bidsplan export``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.console import problem_data
from bidsplan.cli.plans import plan_for
from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.review.export.formats import FORMATS, export_plan

if TYPE_CHECKING:
    from pathlib import Path


_HELP = """Write PLAN in a form that another tool reads. The command sends no requests.

\b
{forms}

A warning names information that a form can't express, such as entity tags and digests. A file that
a form can't contain is reported as an error.
"""


def _columns(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Parse the option ``--column`` of a sample sheet."""
    columns: dict[str, str] = {}
    for value in values:
        name, equals, glob = value.partition("=")
        if not equals or not glob:
            raise click.BadParameter(f"{value!r} is no column; write it as t1='**/*_T1w.nii.gz'")
        if name in columns:
            raise click.BadParameter(f"column {name!r} is given twice")
        columns[name] = glob
    return columns


@click.command(
    "export",
    help=_HELP.format(forms="\n".join(f"{name:10} {form.about}" for name, form in FORMATS.items())),
    epilog=options.examples(
        "bidsplan export ds000114.plan.jsonl --to aria2 -o ds000114.aria2",
        "bidsplan export ds000114.yaml --to checksums > SHA256SUMS",
        "bidsplan export ds000114.plan.jsonl --to samplesheet --dest /data/ds000114 "
        "--column t1='**/*_T1w.nii.gz' --column dwi='**/*_dwi.nii.gz' -o samples.csv",
    ),
)
@options.plan_argument
@click.option(
    "--to",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="The form to write, or the tool that will read it.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=GLOB",
    callback=_columns,
    help="A column of a samplesheet, and a glob for its files, such as t1='**/*_T1w.nii.gz'. May "
    "be repeated.  [default: a column for each suffix of the raw files]",
)
@click.option(
    "--dest",
    default="",
    help="The directory or URL to put before each path in a samplesheet.",
)
@options.output_option("The file or directory to write. [default: standard output]")
@options.settings_of(*options.STRICT, *options.PLACES)
def command(
    source: Path,
    to: str,
    columns: dict[str, str],
    dest: str,
    output: Path | None,
    settings: options.Settings,
) -> None:
    """See `_HELP`."""
    console = settings.console
    path, plan = plan_for(source, settings)
    if output is None and console.json:
        raise UsageError("with --json the export itself needs a file: name one with '-o'")
    export = export_plan(
        plan, to, access=settings.access, base=path.parent, columns=columns, dest=dest
    )
    if settings.strict and export.warnings:
        raise UsageError(problems=export.warnings, help_code=HelpCode.STRICT)
    if output is None:
        blocks = export.blocks()
        console.warn(export.warnings)
        sys.stdout.buffer.writelines(blocks)
        sys.stdout.buffer.flush()
        return
    export.write(output)
    console.warn(export.warnings)
    use = export.use(str(output))
    data = {
        "export": str(output),
        "to": to,
        "files": plan.header.files,
        "bytes": plan.header.bytes,
        "use": use,
        "warnings": [problem_data(problem) for problem in export.warnings],
    }
    console.result(f"wrote {output}" + (f"; use it by: {use}" if use else ""), data)
