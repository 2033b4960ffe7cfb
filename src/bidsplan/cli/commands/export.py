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


_HELP = """Write PLAN in the form that another tool reads. Makes no request.

\b
{forms}

Warnings say what a form can't say, such as entity tags and digests. Files that it can't have at all
are an error.
"""


@click.command(
    "export",
    help=_HELP.format(forms="\n".join(f"{name:10} {form.about}" for name, form in FORMATS.items())),
    epilog=options.examples(
        "bidsplan export ds000114.plan.jsonl --to aria2 -o ds000114.aria2",
        "bidsplan export ds000114.yaml --to checksums > SHA256SUMS",
        "bidsplan export ds000114.plan.jsonl --to bagit -o ds000114-bag",
    ),
)
@options.plan_argument
@click.option(
    "--to",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="The tool, or the form.",
)
@options.output_option("The file or directory to write. [default: standard output]")
@options.settings_of(*options.STRICT, *options.PLACES)
def command(source: Path, to: str, output: Path | None, settings: options.Settings) -> None:
    """See `_HELP`."""
    console = settings.console
    path, plan = plan_for(source, settings)
    if output is None and console.json:
        raise UsageError("with --json the export itself needs a file: name one with '-o'")
    export = export_plan(plan, to, access=settings.access, base=path.parent)
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
