"""Finds the plan for a command: a plan's file, or the plan of a manifest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.command_lines import command_line
from bidsplan.compile.plan_policy import (
    PlanPolicy,
    digest_of,
    find_manifest,
    is_manifest,
    plan_beside,
    stale_text,
    stored_plan,
)
from bidsplan.errors import (
    BidsplanError,
    ManifestError,
    Problem,
    SelectionError,
    UsageError,
    dotted,
)
from bidsplan.help_codes import HelpCode
from bidsplan.messages import counted, listed, size
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bidsplan.cli.options import Settings
    from bidsplan.compile.compiler import Compiled
    from bidsplan.compile.context import DrawnGroup
    from bidsplan.compile.omissions import Omission
    from bidsplan.compile.survey.shared import SharedListings
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Planned
    from bidsplan.plan.file import StoredPlan


def load(path: Path, settings: Settings, *, show: bool = True) -> ManifestFile:
    """Load a manifest and show its warnings, which `strict` makes errors.

    If `show` is false, `compile_file` shows the warnings later.
    """
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    access = settings.access
    loaded = load_manifest(path, allow_protocols=access.allow_protocols, untrusted=access.untrusted)
    if settings.strict and loaded.warnings:
        raise ManifestError(problems=loaded.warnings, help_code=HelpCode.STRICT)
    if show:
        settings.console.warn(loaded.warnings)
    return loaded


def warn_besides(loaded: ManifestFile, problems: Iterable[Problem], settings: Settings) -> None:
    """Show a manifest's warnings, except at the places of other problems."""
    reported = {(problem.line, problem.at) for problem in problems}
    settings.console.warn(
        warning for warning in loaded.warnings if (warning.line, warning.at) not in reported
    )


def compile_file(
    loaded: ManifestFile,
    plan_path: Path,
    settings: Settings,
    *,
    known: tuple[Path, Planned] | None = None,
    digest: bool = False,
    max_bytes: int | None = None,
    listings: SharedListings | None = None,
) -> Compiled:
    """Compile a loaded manifest, and show all warnings with their lines.

    `known` is a plan's file and this plan, whose digests are copied.
    """
    from bidsplan.compile.compiler import compile_manifest  # imports storage

    try:
        with settings.console.progress() as notify:
            compiled = compile_manifest(
                loaded.manifest,
                base=loaded.path.parent,
                plan_directory=plan_path.parent,
                access=settings.access,
                notify=notify,
                previous=known[1] if known else None,
                previous_directory=known[0].parent if known else None,
                digest=digest,
                max_bytes=max_bytes,
                listings=listings,
                spool=True,
            )
    except BidsplanError as error:
        located = error.located(loaded.locate)
        warn_besides(loaded, located.problems, settings)
        raise located from error
    warnings = [loaded.locate(problem) for problem in compiled.warnings]
    if settings.strict and warnings:
        raise SelectionError(problems=warnings, help_code=HelpCode.STRICT)
    warn_besides(loaded, warnings, settings)
    settings.console.warn(warnings)
    return replace(compiled, warnings=tuple(warnings))


def written(compiled: Compiled, path: Path) -> str:
    """Describe a plan that was written: its size, and its origin."""
    header = compiled.plan.header
    subjects, files = counted(len(header.subjects), "subject"), counted(header.files, "file")
    source = f", from {', '.join(compiled.endpoints)}" if compiled.endpoints else ""
    counts: Counter[str] = Counter()
    for omission in compiled.omissions:
        counts[_OMITTED[omission.kind]] += omission.number
    omitted = ", ".join(f"{counted(number, 'subject')} {why}" for why, number in counts.items())
    text = f"wrote {path}: {subjects}, {files}, {size(header.bytes)}{source}"
    return "\n".join([f"{text}; {omitted}" if omitted else text, *drawn_lines(compiled.drawn)])


def drawn_lines(groups: Iterable[DrawnGroup]) -> list[str]:
    """Describe a sample that has groups, in one line."""
    counts = [
        f"{group.drawn:,} of {group.of:,} {'/'.join(map(_group_value, group.group.values()))}"
        for group in groups
        if group.group
    ]
    return [f"drawn: {listed(counts)}"] if counts else []


def _group_value(value: str | None) -> str:
    return "(not shown)" if value is None else printable(value)


def drawn_data(groups: Iterable[DrawnGroup]) -> list[dict[str, object]]:
    """Return the groups of a sample as ``--json`` writes them."""
    return [{"group": dict(group.group), "drawn": group.drawn, "of": group.of} for group in groups]


_OMITTED = {
    "no-row": "left out without a row in the table",
    "no-directory": "left out without a directory",
    "spelling": "left out by another spelling in the table",
    "not-comparable": "left out by a value that can't be compared",
    "no-file": "without a selected file",
    "no-data": "with metadata without its data file",
}
"""The summary's text for each kind of omission."""


def omission_data(omission: Omission) -> dict[str, object]:
    """Return an omission as ``--json`` writes it."""
    problem = omission.problem
    return {
        "omission": omission.kind,
        "number": omission.number,
        "subjects": list(omission.subjects),
        "settled": omission.settled,
        "at": dotted(problem.at),
        "message": problem.message,
        "hint": problem.hint,
    }


def plan_of_file(path: Path) -> StoredPlan:
    """Read a plan's file; raises UsageError if the name is not a plan's."""
    from bidsplan.plan.file import StoredPlan  # on demand

    if ".jsonl" not in path.suffixes:
        raise UsageError(
            f"{path}: expected a manifest (.yaml, .yml) or a plan (.jsonl, .jsonl.gz, .jsonl.zst), "
            "by its name",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
    return StoredPlan(path)


def warn_if_stale(path: Path, plan: Planned, settings: Settings) -> None:
    """Warn if a plan's manifest has changed since it was compiled."""
    manifest = find_manifest(path)
    if manifest is None:
        return
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    access = settings.access
    try:
        loaded = load_manifest(
            manifest, allow_protocols=access.allow_protocols, untrusted=access.untrusted
        )
        stale = plan.header.manifest_sha256 != digest_of(loaded, access)
        message = stale_text(plan, loaded, access) if stale else ""
    except BidsplanError:
        validate = command_line("validate", access, "--locked", manifest)
        message = f"the plan may be stale: see '{validate}'"
    if message:
        settings.console.warn([Problem(message=message, file=str(path))])


def plan_for(
    source: Path, settings: Settings, policy: PlanPolicy = PlanPolicy.LOCKED, *, write: bool = False
) -> tuple[Path, Planned]:
    """Return the path and the plan that a source names.

    If `write` is true, a plan that had to be compiled is also written. Raises StalePlanError if the
    policy needs a current plan, and the plan is missing or stale.
    """
    from bidsplan.plan.file import default_plan_path, write_plan  # on demand

    if not is_manifest(source):
        return source, plan_of_file(source)
    path = default_plan_path(source)
    if policy is PlanPolicy.FROZEN:
        return path, stored_plan(source, settings.access)
    loaded = load(source, settings, show=False)
    plan, usable = plan_beside(loaded, settings.access, policy)
    if plan is not None and usable:
        settings.console.warn(loaded.warnings)
        return path, plan
    compiled = compile_file(loaded, path, settings, known=(path, plan) if plan else None)
    if write:
        write_plan(compiled.plan, path)
        settings.console.say(written(compiled, path))
    return path, compiled.plan
