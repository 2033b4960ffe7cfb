"""``bidsplan validate``."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.console import problem_data
from bidsplan.compile.plan_policy import PlanPolicy, manifest_beside, plan_beside
from bidsplan.errors import BidsplanError, ManifestError, Problem
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bidsplan.manifest.load import ManifestFile


@click.command(
    "validate",
    epilog=options.examples(
        "bidsplan validate ds000114.yaml",
        "bidsplan validate --strict studies/hbn.yaml studies/adhd200.yaml",
        "bidsplan validate --locked studies/hbn.yaml studies/adhd200.plan.jsonl",
    ),
)
@options.manifest_argument("manifests", several=True)
@click.option(
    "--locked",
    is_flag=True,
    help="Also check that each manifest's plan is complete and was compiled from this manifest. "
    "If you name a plan, bidsplan checks the manifest next to it.",
)
@options.settings_of(*options.ALLOWED, *options.STRICT)
def command(manifests: tuple[Path, ...], locked: bool, settings: options.Settings) -> int:
    """Check MANIFESTS, without network access or credentials.

    The command shows all problems of each manifest, and exits with 2 if there are any.
    """
    paths = map(manifest_beside, manifests) if locked else manifests
    valid = [_is_valid(path, locked, settings) for path in dict.fromkeys(paths)]
    return 0 if all(valid) else ManifestError.exit_code


def _is_valid(path: Path, locked: bool, settings: options.Settings) -> bool:
    """Check a manifest, and show the outcome."""
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    access, console = settings.access, settings.console
    found: dict[str, Sequence[Problem]] = {}
    outcome = "not valid"
    try:
        loaded = load_manifest(
            path, allow_protocols=access.allow_protocols, untrusted=access.untrusted
        )
        warnings = [replace(problem, help_code=HelpCode.STRICT) for problem in loaded.warnings]
        found["warnings"] = warnings if settings.strict else loaded.warnings
        if locked and (error := _plan_error(loaded, settings)):
            found["problems"] = _plan_problems(error, loaded)
            if not (settings.strict and warnings):
                outcome = _OUTCOMES.get(error.help_code, outcome)
    except ManifestError as error:
        found["problems"] = error.problems
    valid = "problems" not in found and not (settings.strict and found["warnings"])
    console.warn(found.get("warnings", ()), "error" if settings.strict else "warning")
    console.warn(found.get("problems", ()), "error")
    failed = () if valid else chain.from_iterable(found.values())
    console.refer(problem.help_code for problem in failed if problem.help_code)
    listed = {key: [*map(problem_data, problems)] for key, problems in found.items()}
    console.result(
        f"{path}: {'valid' if valid else outcome}",
        {"manifest": str(path), "valid": valid, **listed},
    )
    return valid


_OUTCOMES = {
    HelpCode.PLAN_STALE: "valid, but its plan is stale",
    HelpCode.PLAN_MISSING: "valid, but it has no plan",
    HelpCode.PLAN: "valid, but its plan is not valid",
}
"""The text about a valid manifest whose plan is not valid."""


def _plan_error(loaded: ManifestFile, settings: options.Settings) -> BidsplanError | None:
    """Return why the plan next to a manifest can't be used, or None."""
    try:
        plan_beside(loaded, settings.access, PlanPolicy.LOCKED)
    except BidsplanError as error:
        return error
    return None


def _plan_problems(error: BidsplanError, loaded: ManifestFile) -> Sequence[Problem]:
    from bidsplan.plan.file import default_plan_path

    file = str(default_plan_path(loaded.path))
    message = str(error).removeprefix(f"{file}: ")
    return error.problems or [Problem(message=message, file=file, help_code=error.help_code)]
