"""Fetching what a manifest or a plan lists, in one call."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bidsplan.compile.plan_policy import (
    PlanPolicy,
    is_manifest,
    plan_beside,
    refuse_locked_plan,
    stored_plan,
)
from bidsplan.errors import ArgumentTypeError, BidsplanError, FailedFile, FetchFailed, UsageError
from bidsplan.events import Action, Failed, Skipped, Warned
from bidsplan.messages import listed, warn
from bidsplan.plan.file import StoredPlan, default_plan_path, write_plan
from bidsplan.plan.integrity import VerifyMode
from bidsplan.progress import Counts, Progress
from bidsplan.storage.access import Access
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.materialisation import materialise

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from bidsplan.destination.cache_options import CacheOptions
    from bidsplan.errors import Problem
    from bidsplan.events import Event
    from bidsplan.manifest import Manifest
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Plan, Planned
    from bidsplan.plan.integrity import CheckMethod


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchSummary:
    """What a fetch did; every planned file is at its path.

    Parameters
    ----------
    plan : Plan or StoredPlan
        What was fetched; it has a `header`, `entries` and `to_dicts`.
    fetched, replaced, kept : int
        Files that were fetched where there was none, that replaced another, and that were there.
    bytes, resumed : int
        Bytes that were received, and those that earlier runs had received of unfinished files.
    checks : dict of CheckMethod to int
        Files, by how they were checked.
    cached : int
        Files whose bytes came from the content cache.
    failed : tuple of FailedFile
        Empty, since `fetch` raises `FetchFailed` otherwise.
    warnings : tuple of Problem
        Those of the manifest, the compilation and the fetch, each also issued as a Python warning.
    """

    plan: Planned = field(repr=False)
    fetched: int
    replaced: int
    kept: int
    bytes: int
    resumed: int
    checks: dict[CheckMethod, int]
    cached: int = 0
    failed: tuple[FailedFile, ...] = ()
    warnings: tuple[Problem, ...] = ()


def fetch(  # noqa: PLR0913 - the options of a run
    source: str | PathLike[str] | Manifest | ManifestFile | Planned,
    destination: str | PathLike[str],
    *,
    progress: bool = True,
    locked: bool = False,
    frozen: bool = False,
    base: str | PathLike[str] = ".",
    access: Access | None = None,
    existing: Existing | str = Existing.KEEP,
    checking: VerifyMode | str = VerifyMode.FULL,
    wait: bool = False,
    cache: CacheOptions | str | PathLike[str] | None = None,
) -> FetchSummary:
    """Fetch what a manifest or a plan lists to a destination, and check every file.

    Parameters
    ----------
    source : path, Manifest, ManifestFile, or Plan
        The plan beside the file of a manifest is used if it was compiled from this manifest;
        otherwise the manifest is compiled, and the plan is written there.
    destination : path or str
        A local directory, made where it is not there, or any URL that fsspec writes.
    progress : bool
        Whether to draw a progress bar on standard error.
    locked : bool
        Fail if the plan beside the manifest is missing, or was compiled from another manifest.
    frozen : bool
        Use the plan beside the manifest as it is, whatever the manifest.
    base : path
        The directory that relative URLs of a Manifest or Plan are relative to; a file's are
        relative to its own.
    access : Access, optional
        How storage may be reached.
    existing : Existing or str
        What to do with files that are in the destination already.
    checking : VerifyMode or str
        How to check what arrives.
    wait : bool
        Whether to wait for another run that is at work in the destination.
    cache : CacheOptions or path, optional
        A directory that keeps contents, by digest, for other destinations.

    Returns
    -------
    FetchSummary

    Raises
    ------
    FetchFailed
        Where files failed, after all others were fetched; fetching again resumes.
    StalePlanError
        Where `locked` or `frozen` need a plan that does not exist, or is another manifest's.
    UsageError
        Where an argument, the manifest, the plan or a URL is not valid; a ValueError.
    SelectionError, StorageError, DestinationError
        Where the manifest can't be compiled, or the destination can't be opened.

    Examples
    --------
    >>> import bidsplan
    >>> summary = bidsplan.fetch("manifests/demo.yaml", "demo-dataset", progress=False)
    >>> summary.fetched + summary.kept
    23
    """
    policy = PlanPolicy.of(locked=locked, frozen=frozen)
    existing, checking = Existing(existing), VerifyMode(checking)
    run = _Run(access or Access(), progress=progress)
    plan, base = run.find_plan(source, Path(base), policy)
    events = materialise(
        plan,
        destination,
        access=run.access,
        base=base,
        existing=existing,
        checking=checking,
        wait=wait,
        cache=cache,
    )
    return run.follow(events, plan)


class _Run:
    """One fetch: what it shows, counts and warns of."""

    def __init__(self, access: Access, *, progress: bool) -> None:
        self.access = access
        self._progress = progress
        self._warnings: list[Problem] = []
        self._failed: list[FailedFile] = []
        self._skipped: list[str] = []

    def _shown(self, counts: Counts, plan: Planned | None = None) -> AbstractContextManager[object]:
        return Progress(counts, plan) if self._progress else nullcontext()

    def _warn(self, *problems: Problem) -> None:
        for problem in problems:
            self._warnings.append(problem)
            warn(str(problem))

    def find_plan(self, source: Any, base: Path, policy: PlanPolicy) -> tuple[Planned, Path]:
        """Return the plan that a source is or names, and what its URLs are relative to."""
        if isinstance(source, str | PathLike):
            source = Path(source)
            if not is_manifest(source):
                refuse_locked_plan(source, policy)
                return StoredPlan(source), source.parent
            if policy is PlanPolicy.FROZEN:
                return stored_plan(source, self.access), source.parent
        from bidsplan.manifest import Manifest  # imports pydantic
        from bidsplan.manifest.load import ManifestFile, load_manifest

        if isinstance(source, Path):
            source = load_manifest(
                source,
                allow_protocols=self.access.allow_protocols,
                untrusted=self.access.untrusted,
            )
        if isinstance(source, ManifestFile):
            self._warn(*source.warnings)
            return self._plan_of_file(source, policy), source.path.parent
        if isinstance(source, Manifest):
            if policy is not PlanPolicy.CURRENT:
                raise UsageError("`locked` and `frozen` need the path of a manifest's file")
            return self._compile(source, base), base
        if not (hasattr(source, "header") and hasattr(source, "entries")):
            expected = "a path, a Manifest, a ManifestFile or a Plan"
            raise ArgumentTypeError(f"`source` must be {expected}; got {type(source).__name__}")
        refuse_locked_plan("`source`", policy)
        return source, base

    def _plan_of_file(self, loaded: ManifestFile, policy: PlanPolicy) -> Planned:
        """Return the plan of a manifest's file, compiled and written where the policy says so."""
        plan, usable = plan_beside(loaded, self.access, policy)
        if plan is not None and usable:
            return plan
        try:
            compiled = self._compile(loaded.manifest, loaded.path.parent, plan, loaded.locate)
        except BidsplanError as error:
            raise error.located(loaded.locate) from error
        write_plan(compiled, default_plan_path(loaded.path))
        return compiled

    def _compile(
        self,
        manifest: Manifest,
        base: Path,
        previous: Planned | None = None,
        locate: Callable[[Problem], Problem] | None = None,
    ) -> Plan:
        from bidsplan.compile.compiler import compile_manifest  # imports storage

        counts = Counts()
        with self._shown(counts):
            compiled = compile_manifest(
                manifest, base=base, access=self.access, notify=counts.add, previous=previous
            )
        self._warn(*(map(locate, compiled.warnings) if locate else compiled.warnings))
        return compiled.plan

    def follow(self, events: Generator[Event, None, None], plan: Planned) -> FetchSummary:
        """Show and count all events of a run."""
        counts = Counts()
        with closing(events), self._shown(counts, plan):
            for event in events:
                counts.add(event)
                match event:
                    case Failed(entry=entry, error=error):
                        self._failed.append(FailedFile(entry.path, error))
                    case Skipped(entry=entry):
                        self._skipped.append(entry.path)
                    case Warned(problem=problem):
                        self._warn(problem)
        if self._failed or self._skipped:
            errors = [failed.error for failed in self._failed]
            message = failure_message(errors, len(self._skipped), plan.header.files)
            raise FetchFailed(message, failed=self._failed, skipped=self._skipped)
        return FetchSummary(
            plan=plan,
            fetched=counts.done[Action.FETCH],
            replaced=counts.done[Action.REPLACE],
            kept=counts.done[Action.KEEP],
            bytes=counts.bytes,
            resumed=counts.resumed,
            checks=dict(counts.proofs),
            cached=counts.cached,
            warnings=tuple(self._warnings),
        )


def failure_message(failed: Sequence[BidsplanError], skipped: int, files: int) -> str:
    """Describe which of a plan's files could not be fetched."""
    untried = f", and {skipped} were not finished" if skipped else ""
    return (
        f"{len(failed)} of {files} files could not be fetched{untried}; all others are complete, "
        f"and another fetch continues from here: {listed(map(str, failed), separator='; ')}"
    )
