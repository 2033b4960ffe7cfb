"""The compiler: survey the study, choose subjects, choose files, make a plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.compile.context import Context, Report
from bidsplan.compile.derivatives import take_derivatives
from bidsplan.compile.listings import list_subjects
from bidsplan.compile.required import keep_required
from bidsplan.compile.roots import Roots
from bidsplan.compile.study import survey_study
from bidsplan.compile.subjects import choose_units
from bidsplan.compile.taken import Taken, collisions
from bidsplan.compile.taking import take
from bidsplan.compile.unsupported import refuse_unsupported
from bidsplan.errors import Problem, SelectionError
from bidsplan.listing import Lister
from bidsplan.participants import manifest_digest
from bidsplan.plan import Plan
from bidsplan.selection.findings import suggestion
from bidsplan.selection.globs import Globs
from bidsplan.storage import Access, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from bidsplan.compile.roots import Opener
    from bidsplan.compile.study import Located
    from bidsplan.events import Event
    from bidsplan.manifest import Manifest

__all__ = ["Compiled", "compile_manifest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """What compiling gives.

    Parameters
    ----------
    plan : Plan
    warnings : tuple of Problem
        What is odd about the manifest or the study, sorted.
    endpoints : tuple of str
        Where requests went, for object stores.
    """

    plan: Plan
    warnings: tuple[Problem, ...]
    endpoints: tuple[str, ...]


def compile_manifest(
    manifest: Manifest,
    *,
    base: str | PathLike[str] = ".",
    plan_directory: str | PathLike[str] | None = None,
    access: Access | None = None,
    notify: Callable[[Event], None] = lambda _: None,
    opener: Opener = open_store,
) -> Compiled:
    """Resolve a manifest over storage as it is now.

    Parameters
    ----------
    manifest : Manifest
    base : path
        The directory that the manifest's relative URLs are relative to: its own.
    plan_directory : path, optional
        The directory that the plan will stand in; `base` where it is not given.
    access : Access, optional
        How storage may be reached.
    notify : callable
        Takes each event; called from several threads, one at a time.
    opener : callable
        Opens a root, for stores of one's own.

    Returns
    -------
    Compiled
        The same plan for the same manifest and storage, whatever the listing's order.

    Raises
    ------
    UnsupportedError
        Where the manifest asks for what is not built yet.
    SelectionError
        Where the study does not hold what the manifest asks for; lists all that is missing.
    StorageError
        Where the study can't be listed or read.
    UrlError
        Where a URL is refused.
    """
    refuse_unsupported(manifest)
    access = access or Access()
    planned = Path(base if plan_directory is None else plan_directory)
    roots = Roots(access, Path(base), planned, opener)
    report = Report(notify)
    lister = Lister(access.jobs, report.hear)
    try:
        context = Context(manifest=manifest, roots=roots, lister=lister, report=report)
        plan = _compile(context, Path(base))
        return Compiled(plan=plan, warnings=report.warnings, endpoints=roots.endpoints)
    finally:
        lister.close()
        roots.close()


def _compile(context: Context, base: Path) -> Plan:
    manifest, report = context.manifest, context.report
    raw = survey_study(manifest, context.roots, context.lister)
    units = choose_units(context, raw, base, keep_required)
    listings = list_subjects(context, raw, units if manifest.files else ())
    taken, findings = take(
        context,
        listings,
        units,
        manifest.files,
        pipeline=None,
        dataset_files=manifest.dataset_files,
    )
    _check_names(context, raw)
    more, sessions = take_derivatives(context, raw, units)
    if _check_sessions(context, findings.sessions | sessions):
        report.blame(findings.errors(("files",)))
        report.warn(findings.warnings(("files",)))
    taken += [*more, *_take_directories(context, raw)]
    report.raise_errors()
    return _plan(context, taken, units, manifest_digest(manifest, base))


def _check_names(context: Context, raw: Located) -> None:
    """Tell the dataset files that are named and nowhere."""
    wanted = context.manifest.dataset_files
    there = {name for _, survey in raw for name in survey.files}
    if isinstance(wanted, tuple):
        context.report.blame(
            Problem(
                message=f"there is no file {name!r} at the dataset's root",
                at=("dataset_files", number),
                hint=suggestion(name, there),
            )
            for number, name in enumerate(wanted)
            if name not in there
        )


def _check_sessions(context: Context, met: set[str]) -> bool:
    """Tell the sessions that no subject has; with none of them there, filters say nothing more."""
    sessions = context.manifest.sessions
    wanted = (sessions.include or ()) if sessions else ()
    context.report.blame(
        Problem(
            message=f"no selected subject has a session {label!r}",
            at=("sessions", "include", number),
            hint=suggestion(label, met),
        )
        for number, label in enumerate(wanted)
        if label not in met
    )
    return not wanted or not met.isdisjoint(wanted)


def _take_directories(context: Context, raw: Located) -> list[Taken]:
    """Take whole directories of the datasets' roots, but for what filters exclude."""
    manifest = context.manifest
    names = manifest.directories
    there = {name for _, survey in raw for name in survey.directories}
    context.report.blame(
        Problem(
            message=f"there is no directory {name!r} at the dataset's root",
            at=("directories", number),
            hint=suggestion(name, there),
        )
        for number, name in enumerate(names)
        if name not in there
    )
    wanted = [
        (dataset, name) for dataset, survey in raw for name in names if name in survey.directories
    ]
    excludes = Globs([glob for filter_ in manifest.files for glob in filter_.exclude], dots=True)
    taken = []
    for (dataset, _), files in zip(wanted, context.lister.directories(wanted), strict=True):
        kept = [path for path in files if "/." not in path and not excludes.match(path)]
        taken.append(Taken(dataset=dataset, files=files, reasons=dict.fromkeys(kept, "dataset")))
    return taken


def _plan(context: Context, taken: Sequence[Taken], units: Sequence[str], digest: str) -> Plan:
    manifest = context.manifest
    sample = manifest.subjects.sample
    plan = Plan.build(
        (entry for some in taken for entry in some.entries()),
        manifest_sha256=digest,
        study=manifest.study.id,
        roots=context.roots.listed,
        subjects=units,
        random_seed=manifest.random_seed if sample else None,
        sampling=sample.method if sample else None,
    )
    context.report.warn(collisions(plan.entries))
    _check_limits(plan, manifest)
    return plan


def _check_limits(plan: Plan, manifest: Manifest) -> None:
    limits = manifest.limits
    problems = [
        Problem(message=f"the plan has {has:,} {what}, more than {limit:,}", at=("limits", field))
        for field, what, has, limit in (
            ("max_bytes", "bytes", plan.header.bytes, limits.max_bytes),
            ("max_files", "files", plan.header.files, limits.max_files),
        )
        if limit is not None and has > limit
    ]
    if problems:
        raise SelectionError(problems=problems)
