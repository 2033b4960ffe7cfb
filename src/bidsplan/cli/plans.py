"""The plan that a command works with: a given one, or the one of a manifest."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from bidsplan.cli.console import counted, size
from bidsplan.errors import BidsplanError, ManifestError, SelectionError, StalePlanError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.cli.console import Console
    from bidsplan.compile import Compiled
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Plan, Planned
    from bidsplan.storage.access import Access


def load(path: Path, access: Access, console: Console, *, strict: bool = False) -> ManifestFile:
    """Load a manifest and tell its warnings."""
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    loaded = load_manifest(path, allow_protocols=access.allow_protocols, untrusted=access.untrusted)
    if strict and loaded.warnings:
        raise ManifestError(problems=loaded.warnings)
    console.warn(loaded.warnings)
    return loaded


def compile_file(
    loaded: ManifestFile,
    plan_path: Path,
    access: Access,
    console: Console,
    *,
    strict: bool = False,
    max_bytes: int | None = None,
    previous: Planned | None = None,
    previous_directory: Path | None = None,
    digest: bool = False,
) -> Compiled:
    """Compile a loaded manifest over the plan that it had, and tell what is odd with its line."""
    from bidsplan.compile import compile_manifest  # imports storage
    from bidsplan.progress import drawn_digests

    bar = digest and sys.stderr.isatty() and not console.json
    try:
        with drawn_digests(enabled=bar) as notify:
            compiled = compile_manifest(
                loaded.manifest,
                base=loaded.path.parent,
                plan_directory=plan_path.parent,
                access=access,
                notify=notify,
                previous=previous,
                previous_directory=previous_directory,
                digest=digest,
                max_bytes=max_bytes,
            )
    except BidsplanError as error:
        raise error.located(loaded.locate) from error
    warnings = [loaded.locate(problem) for problem in compiled.warnings]
    if strict and warnings:
        raise SelectionError(problems=warnings)
    console.warn(warnings)
    return replace(compiled, warnings=tuple(warnings))


def summary(plan: Plan, endpoints: tuple[str, ...] = ()) -> str:
    """Say in a few words what a plan holds, and where it comes from."""
    header = plan.header
    subjects = counted(len(header.subjects), "subject")
    files = counted(header.files, "file")
    source = f", from {', '.join(endpoints)}" if endpoints else ""
    return f"{subjects}, {files}, {size(header.bytes)}{source}"


class PlanPolicy(Enum):
    """How far the plan beside a manifest is trusted.

    Attributes
    ----------
    CURRENT
        Use it where it was compiled from this manifest; else compile.
    LOCKED
        Use it, and fail where it was not compiled from this manifest.
    FROZEN
        Use it as it stands.
    """

    CURRENT = auto()
    LOCKED = auto()
    FROZEN = auto()


def plan_for(
    source: Path, use: PlanPolicy, *, access: Access, console: Console, strict: bool, write: bool
) -> tuple[Path, Planned]:
    """Read or compile the plan that a source stands for.

    Parameters
    ----------
    source : Path
        A manifest (``.yaml``, ``.yml``) or a plan.
    strict : bool
        Whether warnings are errors.
    write : bool
        Whether a plan that had to be compiled is written.

    Returns
    -------
    path : Path
        Where the plan stands, or would.

    Raises
    ------
    StalePlanError
        Where `use` asks for a plan that is not there or is another manifest's.
    """
    from bidsplan.plan.file import StoredPlan, default_plan_path  # on demand

    if source.suffix not in {".yaml", ".yml"}:
        if use is PlanPolicy.LOCKED:
            raise UsageError(f"--locked compares a manifest with its plan; {source} is a plan")
        return source, StoredPlan(source)
    path = default_plan_path(source)
    if use is PlanPolicy.FROZEN:
        if not path.exists():
            raise StalePlanError(
                f"{path}: there is no plan; write it by 'bidsplan compile {source}'"
            )
        return path, StoredPlan(path)
    return path, _plan_of_manifest(source, path, use, access, console, strict=strict, write=write)


def _plan_of_manifest(
    source: Path,
    path: Path,
    use: PlanPolicy,
    access: Access,
    console: Console,
    *,
    strict: bool,
    write: bool,
) -> Planned:
    from bidsplan.cli.plans import compile_file, load, summary  # on demand
    from bidsplan.compile.survey.participants import manifest_digest  # on demand
    from bidsplan.plan.file import StoredPlan, write_plan  # on demand

    loaded = load(source, access, console, strict=strict)
    plan = StoredPlan(path) if path.exists() else None
    try:
        digest = manifest_digest(loaded.manifest, loaded.path.parent, untrusted=access.untrusted)
    except SelectionError as error:
        raise error.located(loaded.locate) from error
    if plan is not None and plan.header.manifest_sha256 == digest:
        return plan
    if use is PlanPolicy.LOCKED:
        state = "was compiled from another manifest" if plan else "is not there"
        raise StalePlanError(f"{path}: the plan {state}; bring it up to date by 'bidsplan compile'")
    compiled = compile_file(loaded, path, access, console, strict=strict, previous=plan)
    if write:
        write_plan(compiled.plan, path)
        console.say(f"wrote {path}: {summary(compiled.plan, compiled.endpoints)}")
    return compiled.plan
