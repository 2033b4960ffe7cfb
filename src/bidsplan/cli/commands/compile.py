"""``bidsplan compile``."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bidsplan.cli import options
from bidsplan.cli.console import problem_data
from bidsplan.cli.plan_changes import changed_lines
from bidsplan.cli.plans import compile_file, drawn_data, load, omission_data, written
from bidsplan.command_lines import command_line
from bidsplan.errors import BidsplanError, PlanError, Problem, UsageError
from bidsplan.review.changes import compare_plans

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.cli.console import Console
    from bidsplan.compile.compiler import Compiled
    from bidsplan.compile.survey.shared import SharedListings
    from bidsplan.plan import Plan
    from bidsplan.plan.file import StoredPlan


class _Compilation(NamedTuple):
    """The options with which a command compiles its manifests."""

    check: bool
    max_bytes: int | None
    digest: bool
    settings: options.Settings
    listings: SharedListings | None


@click.command(
    "compile",
    epilog=options.examples(
        "bidsplan compile ds000114.yaml",
        "bidsplan compile --check manifests/*.yaml",
        "bidsplan compile --max-bytes 500GB -o plans/ds000114.jsonl.gz ds000114.yaml",
    ),
)
@options.manifest_argument("manifests", several=True)
@options.output_option(
    "The plan's file, if there is one manifest. Its name ends in .jsonl, .jsonl.gz or .jsonl.zst. "
    "[default: next to the manifest]"
)
@click.option(
    "--check", is_flag=True, help="Write nothing, and exit with 1 if a plan would change."
)
@click.option(
    "--max-bytes",
    type=options.parse_bytes,
    metavar="SIZE",
    help="Fail if a plan's files are larger than this in total, e.g. 500GB.",
)
@click.option(
    "--digest",
    is_flag=True,
    help="Read files that could only be checked by size, such as local files, and add their "
    "SHA-256 to the plan.",
)
@options.settings_of(*options.STRICT, *options.SOURCES)
def command(
    manifests: tuple[Path, ...],
    output: Path | None,
    check: bool,
    max_bytes: int | None,
    digest: bool,
    settings: options.Settings,
) -> int:
    """List the studies of MANIFESTS, and write a plan for each manifest.

    Manifests of the same study share one listing. Digests of unchanged files are copied from the
    plan that --output names or, if it does not exist, from the plan next to the manifest. If a
    manifest can't be compiled, the other manifests are still compiled.

    Use --check in a script or CI job, to find out for any number of manifests whether their plans
    are current. To read what has changed in one plan, use 'bidsplan diff MANIFEST'.
    """
    from bidsplan.compile.survey.shared import SharedListings  # imports storage

    manifests = tuple(dict.fromkeys(manifests))
    several = len(manifests) > 1
    if several and output is not None:
        raise UsageError(
            f"-o names the plan of one manifest, and there are {len(manifests)}; leave it out to "
            "write each plan beside its manifest, or compile them one by one"
        )
    with SharedListings() if several else nullcontext() as listings:
        how = _Compilation(check, max_bytes, digest, settings, listings)
        return max(_try(manifest, output, how) for manifest in manifests)


def _try(manifest: Path, output: Path | None, how: _Compilation) -> int:
    """Compile a manifest, report errors, and return the exit code."""
    try:
        return _compile(manifest, output, how)
    except BidsplanError as error:
        return how.settings.console.fail(error)


def _compile(manifest: Path, output: Path | None, how: _Compilation) -> int:
    """Compile a manifest, and write or check its plan."""
    from bidsplan.plan.file import default_plan_path, write_plan  # imports YAML

    settings = how.settings
    loaded = load(manifest, settings, show=False)
    path = output or default_plan_path(manifest)
    old = _read(path)
    if isinstance(old, PlanError) and path.exists() and not how.check:
        settings.console.warn([Problem(message=f"digests are not carried over: {old}")])
    known_path = path if path.exists() else default_plan_path(manifest)
    known = old if known_path == path else _read(known_path)
    compiled = compile_file(
        loaded,
        path,
        settings,
        known=None if isinstance(known, PlanError) else (known_path, known),
        digest=how.digest,
        max_bytes=how.max_bytes,
        listings=how.listings,
    )
    if how.check:
        command = command_line("diff", settings.access, "--all", path, manifest)
        return _check(path, old, compiled.plan, settings.console, command)
    write_plan(compiled.plan, path)
    settings.console.result(written(compiled, path), {"plan": str(path), **_data(compiled)})
    return 0


def _data(compiled: Compiled) -> dict[str, object]:
    header = compiled.plan.header
    return {
        "subjects": list(header.subjects),
        "files": header.files,
        "bytes": header.bytes,
        "endpoints": list(compiled.endpoints),
        "drawn": drawn_data(compiled.drawn),
        "omissions": list(map(omission_data, compiled.omissions)),
        "warnings": [problem_data(problem) for problem in compiled.warnings],
    }


def _read(path: Path) -> StoredPlan | PlanError:
    """Read a plan, or return why it can't be read."""
    from bidsplan.plan.file import StoredPlan

    try:
        return StoredPlan(path)
    except PlanError as error:
        return error


def _check(
    path: Path, old: StoredPlan | PlanError, plan: Plan, console: Console, command: str
) -> int:
    """Show how a plan differs from the existing one; return the exit code.

    `command` names all differences.
    """
    differences: list[str] = []
    data: dict[str, Any] = {}
    if isinstance(old, PlanError):
        differences = [f"{path} would be rewritten: {old}"]
    else:
        changes = compare_plans(old, plan)
        data = changes.to_dict()
        if changes:
            summary, *more = changed_lines(changes, by_subject=False, command=command)
            differences = [f"{path} is stale: {summary}", *more]
    console.result(
        "\n".join(differences) or f"{path} is current",
        {"plan": str(path), "current": not differences, "differences": differences, **data},
    )
    return 1 if differences else 0
