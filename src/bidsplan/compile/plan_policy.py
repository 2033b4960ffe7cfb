"""Finds the plan next to a manifest, and checks whether it is current."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

from bidsplan.command_lines import command_line
from bidsplan.errors import BidsplanError, SelectionError, StalePlanError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import near_document

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Planned
    from bidsplan.plan.file import StoredPlan
    from bidsplan.storage import Access


_MANIFESTS = (".yaml", ".yml")


class PlanPolicy(Enum):
    """Whether a plan must be current, or is used as it is."""

    CURRENT = auto()
    """Use the plan if it was compiled from this manifest; otherwise compile."""
    LOCKED = auto()
    """Use the plan; fail if it was not compiled from this manifest."""
    FROZEN = auto()
    """Use the plan, even if the manifest has changed."""

    @classmethod
    def of(cls, *, locked: bool, frozen: bool) -> PlanPolicy:
        """Return the policy of two options; raises UsageError if both are set."""
        if locked and frozen:
            raise UsageError("--locked and --frozen cannot be used together")
        return cls.LOCKED if locked else cls.FROZEN if frozen else cls.CURRENT


def is_manifest(path: Path) -> bool:
    """Report whether a file is a manifest, by its name."""
    return path.suffix in _MANIFESTS


def manifest_beside(path: Path) -> Path:
    """Return the manifest of a plan's file, by its name; manifests are returned unchanged.

    Raises UsageError if there is no such manifest.
    """
    if found := path if is_manifest(path) else find_manifest(path):
        return found
    raise UsageError(
        f"{path}: expected a manifest, or the plan beside one: study.plan.jsonl beside study.yaml",
        help_code=HelpCode.WRONG_DOCUMENT,
    )


def find_manifest(plan: Path) -> Path | None:
    """Return the manifest next to a plan, if it exists."""
    stem = plan.name.removesuffix(".plan.jsonl")
    beside = [plan.with_name(stem + suffix) for suffix in _MANIFESTS if stem != plan.name]
    return next((path for path in beside if path.exists()), None)


def refuse_locked_plan(source: object, policy: PlanPolicy) -> None:
    """Raise UsageError if `locked` or `frozen` is used with a plan."""
    if policy is PlanPolicy.LOCKED:
        raise UsageError(
            f"{source} is a plan, and --locked compares a manifest with its plan; name the "
            "manifest, or leave --locked out"
        )


def stored_plan(manifest: Path, access: Access) -> StoredPlan:
    """Read the plan next to a manifest; raises StalePlanError if there is none."""
    from bidsplan.plan.file import StoredPlan, default_plan_path  # on demand

    path = default_plan_path(manifest)
    if not path.exists():
        hint = None if manifest.exists() else near_document(manifest)
        hint = hint or f"write it with '{command_line('compile', access, manifest)}'"
        raise StalePlanError(f"{path}: there is no plan; {hint}", help_code=HelpCode.PLAN_MISSING)
    return StoredPlan(path)


def plan_beside(
    loaded: ManifestFile, access: Access, policy: PlanPolicy
) -> tuple[StoredPlan | None, bool]:
    """Return the plan next to a manifest, and whether it may be used.

    Raises StalePlanError if it may not be used, and the policy does not allow compiling.
    """
    from bidsplan.plan.file import default_plan_path  # on demand

    path = default_plan_path(loaded.path)
    if policy is not PlanPolicy.CURRENT or path.exists():
        plan = stored_plan(loaded.path, access)
    else:
        return None, False
    if policy is PlanPolicy.FROZEN:
        return plan, True
    current = plan.header.manifest_sha256 == digest_of(loaded, access)
    if policy is PlanPolicy.LOCKED and not current:
        raise StalePlanError(f"{path}: {stale_text(plan, loaded, access)}")
    return plan, current


def stale_text(plan: Planned, loaded: ManifestFile, access: Access) -> str:
    """Say that a plan was compiled from another manifest, and what to do."""
    from bidsplan.compile.survey.participants import names_files  # on demand

    same = plan.header.study == loaded.manifest.study.id
    source = "an earlier version of this manifest" if same else "another manifest"
    if same and names_files(loaded.manifest):
        source += " or of the files that it names"
    compiling = command_line("compile", access, loaded.path)
    return f"the plan was compiled from {source}; update it with '{compiling}'"


def own_manifest(path: Path, plan: Planned, access: Access) -> Path | None:
    """Return the manifest next to a plan, if the plan is current."""
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    # If the manifest can't be read, it is not known to be the plan's.
    with suppress(BidsplanError):
        manifest = manifest_beside(path)
        loaded = load_manifest(
            manifest, allow_protocols=access.allow_protocols, untrusted=access.untrusted
        )
        if digest_of(loaded, access) == plan.header.manifest_sha256:
            return manifest
    return None


def digest_of(loaded: ManifestFile, access: Access) -> str:
    """Return the manifest's digest in plans; a SelectionError has its lines."""
    from bidsplan.compile.survey.participants import manifest_digest  # on demand

    try:
        return manifest_digest(loaded.manifest, loaded.path.parent, untrusted=access.untrusted)
    except SelectionError as error:
        raise error.located(loaded.locate) from error
