"""The plan that a command works with: the given one, or a manifest's."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from bidsplan.cli.console import counted, size
from bidsplan.errors import BidsplanError, ManifestError, SelectionError, StalePlanError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.cli.options import Settings
    from bidsplan.compile.compiler import Compiled
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Planned


def load(path: Path, settings: Settings) -> ManifestFile:
    """Load a manifest and show its warnings, which are errors where `settings` is strict."""
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    access = settings.access
    loaded = load_manifest(path, allow_protocols=access.allow_protocols, untrusted=access.untrusted)
    if settings.strict and loaded.warnings:
        raise ManifestError(problems=loaded.warnings)
    settings.console.warn(loaded.warnings)
    return loaded


def compile_file(
    loaded: ManifestFile,
    plan_path: Path,
    settings: Settings,
    *,
    previous: Planned | None = None,
    previous_directory: Path | None = None,
    digest: bool = False,
    max_bytes: int | None = None,
) -> Compiled:
    """Compile a loaded manifest, and show its warnings with their lines."""
    from bidsplan.compile.compiler import compile_manifest  # imports storage
    from bidsplan.progress import drawn_digests

    bar = digest and sys.stderr.isatty() and not settings.console.json
    try:
        with drawn_digests(enabled=bar) as notify:
            compiled = compile_manifest(
                loaded.manifest,
                base=loaded.path.parent,
                plan_directory=plan_path.parent,
                access=settings.access,
                notify=notify,
                previous=previous,
                previous_directory=previous_directory,
                digest=digest,
                max_bytes=max_bytes,
            )
    except BidsplanError as error:
        raise error.located(loaded.locate) from error
    warnings = [loaded.locate(problem) for problem in compiled.warnings]
    if settings.strict and warnings:
        raise SelectionError(problems=warnings)
    settings.console.warn(warnings)
    return replace(compiled, warnings=tuple(warnings))


def written(compiled: Compiled, path: Path) -> str:
    """Describe a plan that was written: how much it holds, and from where."""
    header = compiled.plan.header
    subjects, files = counted(len(header.subjects), "subject"), counted(header.files, "file")
    source = f", from {', '.join(compiled.endpoints)}" if compiled.endpoints else ""
    return f"wrote {path}: {subjects}, {files}, {size(header.bytes)}{source}"


class PlanPolicy(Enum):
    """How far the plan beside a manifest is trusted."""

    CURRENT = auto()
    """Use it if it was compiled from this manifest, or else compile."""
    LOCKED = auto()
    """Use it, and fail if it was not compiled from this manifest."""
    FROZEN = auto()
    """Use it, whatever the manifest."""


def plan_for(
    source: Path, settings: Settings, policy: PlanPolicy = PlanPolicy.FROZEN, *, write: bool = False
) -> tuple[Path, Planned]:
    """Return the path and the plan that a source names: a plan's, or a manifest's.

    Where `write` is set, a plan that had to be compiled is written. Raises StalePlanError where the
    policy needs a plan that does not exist or is another manifest's.
    """
    from bidsplan.plan.file import StoredPlan, default_plan_path  # on demand

    if source.suffix not in {".yaml", ".yml"}:
        if ".jsonl" not in source.suffixes:
            raise UsageError(
                f"{source}: expected a manifest (.yaml, .yml) or a plan (.jsonl, .jsonl.gz, "
                ".jsonl.zst), by its name"
            )
        if policy is PlanPolicy.LOCKED:
            raise UsageError(
                f"{source} is a plan, and --locked compares a manifest with its plan; name the "
                "manifest, or leave --locked out"
            )
        return source, StoredPlan(source)
    path = default_plan_path(source)
    if policy is not PlanPolicy.FROZEN:
        return path, _current_plan(source, path, settings, policy, write=write)
    if not path.exists():
        raise StalePlanError(f"{path}: there is no plan; write it with 'bidsplan compile {source}'")
    return path, StoredPlan(path)


def _current_plan(
    source: Path, path: Path, settings: Settings, policy: PlanPolicy, *, write: bool
) -> Planned:
    """Return the plan of the manifest as it is now, compiled where the policy allows it."""
    from bidsplan.compile.survey.participants import manifest_digest  # on demand
    from bidsplan.plan.file import StoredPlan, write_plan  # on demand

    loaded = load(source, settings)
    plan = StoredPlan(path) if path.exists() else None
    untrusted = settings.access.untrusted
    try:
        digest = manifest_digest(loaded.manifest, loaded.path.parent, untrusted=untrusted)
    except SelectionError as error:
        raise error.located(loaded.locate) from error
    if plan is not None and plan.header.manifest_sha256 == digest:
        return plan
    if policy is PlanPolicy.LOCKED:
        state = "was compiled from another manifest" if plan else "does not exist"
        raise StalePlanError(f"{path}: the plan {state}; update it with 'bidsplan compile'")
    compiled = compile_file(loaded, path, settings, previous=plan)
    if write:
        write_plan(compiled.plan, path)
        settings.console.say(written(compiled, path))
    return compiled.plan
