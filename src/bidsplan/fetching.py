"""Fetches the files of a manifest or a plan in one call."""

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
    """The result of a fetch in which no file failed.

    Parameters
    ----------
    plan : Plan or StoredPlan
        The plan that was fetched, with its `header`, `entries` and `to_dicts`.
    fetched, replaced, kept : int
        Number of files that were new, that replaced a different file, and that already existed.
    bytes, resumed : int
        Bytes that this run received, and bytes of unfinished files that earlier runs had received.
    checks : dict of CheckMethod to int
        The number of files that were checked by each method.
    cached : int
        Number of files whose bytes came from the content cache.
    failed : tuple of FailedFile
        Always empty, since `fetch` raises `FetchFailed` if a file fails.
    warnings : tuple of Problem
        Warnings about the manifest, the compilation and the fetch. Each of them is also issued as
        a Python warning.
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
    """Fetch the files of a manifest or a plan to a destination, and check every file.

    Parameters
    ----------
    source : path, Manifest, ManifestFile, or Plan
        What to fetch. For a manifest's file, bidsplan uses the plan next to it if that plan was
        compiled from this manifest. Otherwise it compiles the manifest and writes the plan there.
    destination : path or str
        A local directory, which is created if it does not exist, or a URL that fsspec can write to.
    progress : bool
        Whether to draw a progress bar on standard error. If that is not a terminal, a line is
        written every 30 seconds instead.
    locked : bool
        Whether to fail if the plan next to the manifest is missing or stale.
    frozen : bool
        Whether to use the plan next to the manifest even if it is stale.
    base : path
        The directory that relative URLs of a `Manifest` or `Plan` are relative to. Relative URLs in
        a file are relative to the directory of that file.
    access : Access, optional
        How storage may be reached.
    existing : Existing or str
        What to do with files that already exist in the destination.
    checking : VerifyMode or str
        How to check the bytes that arrive.
    wait : bool
        Whether to wait if another run is using the destination.
    cache : CacheOptions or path, optional
        A content cache: a directory that stores file contents by their digest, so that other
        destinations need not fetch them again.

    Returns
    -------
    FetchSummary

    Raises
    ------
    FetchFailed
        If files could not be fetched. All other files are complete, and the next fetch resumes the
        unfinished files.
    StalePlanError
        If the plan is missing, and `locked` or `frozen` is true. Also if the plan is stale, and
        `locked` is true.
    UsageError
        If an argument, the manifest, the plan or a URL is not valid. It is also a `ValueError`.
    SelectionError, StorageError, DestinationError
        If the manifest can't be compiled, or the destination can't be opened.

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
    """One fetch, with its progress bar, counts and warnings."""

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
        """Return a source's plan, and the directory of its relative URLs."""
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
        """Return a manifest file's plan; compile and write it if needed."""
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
        """Show and count a run's events, and return its summary."""
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
