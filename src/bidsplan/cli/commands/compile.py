"""``bidsplan compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli.console import problem_data
from bidsplan.cli.options import BYTES, access_options, console_options, strict_option
from bidsplan.cli.plans import compile_file, load, summary
from bidsplan.errors import PlanError, Problem
from bidsplan.plan import Plan

if TYPE_CHECKING:
    from bidsplan.cli.console import Console
    from bidsplan.compile import Compiled
    from bidsplan.storage import Access


_SHOWN = 20
"""Differences that --check names."""


@click.command("compile")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the plan goes: .jsonl, .jsonl.gz or .jsonl.zst. [default: beside the manifest]",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the plan would change.")
@click.option("--max-bytes", type=BYTES, help="Refuse a larger plan, such as 500GB.")
@click.option(
    "--digest",
    is_flag=True,
    help="Read files that only their size would prove, such as local ones, and plan their SHA-256.",
)
@strict_option
@access_options
@console_options
def command(
    manifest: Path,
    output: Path | None,
    check: bool,
    max_bytes: int | None,
    digest: bool,
    strict: bool,
    access: Access,
    console: Console,
) -> int:
    """Resolve MANIFEST over storage as it is now, and write its plan.

    Digests that the plan which stands there has of unchanged files are carried over; where no plan
    stands at OUTPUT, those of the plan beside the manifest.
    """
    from bidsplan.plan.file import default_plan_path, write_plan  # imports YAML

    loaded = load(manifest, access, console, strict=strict)
    path = output or default_plan_path(manifest)
    previous = _previous(path)
    if isinstance(previous, PlanError) and path.exists() and not check:
        console.warn([Problem(message=f"no digests are carried over: {previous}")])
    beside = default_plan_path(manifest)
    known, place = (previous, path) if path.exists() else (_previous(beside), beside)
    compiled = compile_file(
        loaded,
        path,
        access,
        console,
        strict=strict,
        max_bytes=max_bytes,
        previous=known if isinstance(known, Plan) else None,
        previous_directory=place.parent,
        digest=digest,
    )
    if check:
        return _check(path, previous, compiled.plan, console)
    write_plan(compiled.plan, path)
    _report(path, compiled, console)
    return 0


def _report(path: Path, compiled: Compiled, console: Console) -> None:
    """Report the plan that was written."""
    header = compiled.plan.header
    console.result(
        f"wrote {path}: {summary(compiled.plan, compiled.endpoints)}",
        {
            "plan": str(path),
            "subjects": list(header.subjects),
            "files": header.files,
            "bytes": header.bytes,
            "endpoints": list(compiled.endpoints),
            "warnings": [problem_data(problem) for problem in compiled.warnings],
        },
    )


def _check(path: Path, old: Plan | PlanError, plan: Plan, console: Console) -> int:
    """Tell how a plan differs from the one that stands at a path, and give the exit code."""
    differences = _differences(path, old, plan)
    console.result(
        "\n".join(differences) or f"{path} is current",
        {"plan": str(path), "current": not differences, "differences": differences},
    )
    return 1 if differences else 0


def _previous(path: Path) -> Plan | PlanError:
    """Read the plan that stands at a path, or tell why it can't be read."""
    from bidsplan.plan.file import read_plan

    try:
        return read_plan(path)
    except PlanError as error:
        return error


def _differences(path: Path, old: Plan | PlanError, plan: Plan) -> list[str]:
    """Say how a plan differs from the one that stands at a path; nothing where it does not."""
    if isinstance(old, PlanError):
        return [f"{path} would be written anew: {old}"]
    if list(old.lines()) == list(plan.lines()):
        return []
    before = {entry.path: entry for entry in old.entries}
    after = {entry.path: entry for entry in plan.entries}
    lines = [f"+ {name}" for name in after.keys() - before.keys()]
    lines += [f"- {name}" for name in before.keys() - after.keys()]
    lines += [f"~ {name}" for name in before.keys() & after.keys() if before[name] != after[name]]
    lines.sort(key=lambda line: (line[2:], line))
    total = len(lines)
    if total > _SHOWN:
        lines = [*lines[:_SHOWN], f"… and {total - _SHOWN} more"]
    return [f"{path} is out of date: {total} entries differ", *lines]
