"""Which plan a command works with: one that is named, or the one of a manifest."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from bidsplan.errors import SelectionError, StalePlanError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.cli.console import Console
    from bidsplan.plan import Planned
    from bidsplan.storage.access import Access

__all__ = ["Use", "plan_for"]


class Use(Enum):
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
    source: Path, use: Use, *, access: Access, console: Console, strict: bool, write: bool
) -> tuple[Path, Planned]:
    """Read or compile the plan that a source stands for.

    Parameters
    ----------
    source : Path
        A manifest (``.yaml``, ``.yml``) or a plan.
    use : Use
    access : Access
    console : Console
    strict : bool
        Whether warnings are errors.
    write : bool
        Whether a plan that had to be compiled is written.

    Returns
    -------
    path : Path
        Where the plan stands, or would.
    plan : Plan

    Raises
    ------
    StalePlanError
        Where `use` asks for a plan that is not there or is another manifest's.
    """
    from bidsplan.files.plans import StoredPlan, default_plan_path  # noqa: PLC0415 - on demand

    if source.suffix not in {".yaml", ".yml"}:
        if use is Use.LOCKED:
            raise UsageError(f"--locked compares a manifest with its plan; {source} is a plan")
        return source, StoredPlan(source)
    path = default_plan_path(source)
    if use is Use.FROZEN:
        if not path.exists():
            raise StalePlanError(
                f"{path}: there is no plan; write it by 'bidsplan compile {source}'"
            )
        return path, StoredPlan(path)
    return path, _plan_of_manifest(source, path, use, access, console, strict=strict, write=write)


def _plan_of_manifest(
    source: Path,
    path: Path,
    use: Use,
    access: Access,
    console: Console,
    *,
    strict: bool,
    write: bool,
) -> Planned:
    from bidsplan.cli.compiling import compile_file, load, summary  # noqa: PLC0415 - on demand
    from bidsplan.files.plans import StoredPlan, write_plan  # noqa: PLC0415 - on demand
    from bidsplan.participants import manifest_digest  # noqa: PLC0415 - on demand

    loaded = load(source, access, console, strict=strict)
    plan = StoredPlan(path) if path.exists() else None
    try:
        digest = manifest_digest(loaded.manifest, loaded.path.parent, untrusted=access.untrusted)
    except SelectionError as error:
        raise error.located(loaded.locate) from error
    if plan is not None and plan.header.manifest_sha256 == digest:
        return plan
    if use is Use.LOCKED:
        state = "was compiled from another manifest" if plan else "is not there"
        raise StalePlanError(f"{path}: the plan {state}; bring it up to date by 'bidsplan compile'")
    compiled = compile_file(loaded, path, access, console, strict=strict, previous=plan)
    if write:
        write_plan(compiled.plan, path)
        console.say(f"wrote {path}: {summary(compiled.plan, compiled.endpoints)}")
    return compiled.plan
