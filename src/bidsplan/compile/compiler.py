"""The compiler: survey the study, choose subjects, choose files, make a plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile.carried_digests import Carrier
from bidsplan.compile.choose_files import take
from bidsplan.compile.context import Context, Record, Report
from bidsplan.compile.derivatives import take_derivatives
from bidsplan.compile.digests import add_digests
from bidsplan.compile.entries import DatasetEntries, collisions, drop_repeats
from bidsplan.compile.explain import Explanation
from bidsplan.compile.layouts import list_subjects
from bidsplan.compile.required import keep_required
from bidsplan.compile.select.globs import Globs
from bidsplan.compile.subjects import choose_units
from bidsplan.compile.survey.listing import Lister
from bidsplan.compile.survey.participants import manifest_digest
from bidsplan.compile.survey.sources import Roots
from bidsplan.compile.survey.study import survey_study
from bidsplan.compile.versions import only_versioned, pin_versions
from bidsplan.errors import Problem, SelectionError
from bidsplan.messages import suggestion
from bidsplan.plan import Plan
from bidsplan.storage import Access, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from os import PathLike

    from bidsplan.compile.survey.sources import Opener
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.events import Event
    from bidsplan.manifest import Manifest
    from bidsplan.plan import Entry, Planned


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
    previous: Planned | None = None,
    previous_directory: str | PathLike[str] | None = None,
    digest: bool = False,
    max_bytes: int | None = None,
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
    previous : Plan or StoredPlan, optional
        What the new plan replaces: digests that it has of unchanged objects are carried over.
    previous_directory : path, optional
        The directory that its relative URLs are relative to; `plan_directory` where not given.
    digest : bool
        Whether to read the files that nothing but their size would prove, such as local ones, and
        plan their SHA-256. What is read of local files is cached for the user.
    max_bytes : int, optional
        Refuse a larger plan, besides what the manifest's own limits say.

    Returns
    -------
    Compiled
        The same plan for the same manifest, storage and previous plan, whatever the listing's
        order.

    Raises
    ------
    SelectionError
        Where the study does not hold what the manifest asks for; lists all that is missing.
    StorageError
        Where the study can't be listed or read.
    UrlError
        Where a URL is refused.
    """
    with _context(manifest, base, plan_directory, access, notify, opener) as context:
        units = _choose(context, Path(base))
        taken = _take_all(context, units)
        context.report.raise_errors()
        if manifest.study.versions == "pinned":
            taken = pin_versions(context, taken)
        planned = [entry for some in taken for entry in some.entries()]
        # Told before anything is read.
        _check_limits(planned, manifest, max_bytes)
        entries: Iterable[Entry] = planned
        if digest:
            entries = add_digests(context, planned)
        if previous is not None:
            entries = _carried(context, entries, previous, previous_directory)
        sha256 = manifest_digest(manifest, Path(base), untrusted=context.untrusted)
        plan = _plan(context, entries, units.names, sha256)
        warnings, endpoints = context.report.warnings, context.roots.endpoints
        return Compiled(plan=plan, warnings=warnings, endpoints=endpoints)


def explain_manifest(
    manifest: Manifest,
    *,
    base: str | PathLike[str] = ".",
    access: Access | None = None,
    notify: Callable[[Event], None] = lambda _: None,
    opener: Opener = open_store,
) -> Explanation:
    """Say what compiling a manifest decides of its subjects and files.

    Parameters
    ----------
    manifest, base, access, notify, opener
        As in `compile_manifest`.

    Returns
    -------
    Explanation
        Also where the manifest does not compile: as far as it got, with what is wrong.

    Raises
    ------
    StorageError, UrlError
        As `compile_manifest`.
    """
    with _context(manifest, base, None, access, notify, opener, detailed=True) as context:
        units: tuple[str, ...] = ()
        raw: Located = []
        try:
            chosen = _choose(context, Path(base))
            raw = chosen.raw
            units = tuple(chosen.names)
            _take_all(context, chosen)
            context.report.raise_errors()
        except SelectionError as error:
            problems = error.problems
        else:
            problems = ()
        record = context.record
        return Explanation(
            units=units,
            dropped=record.dropped,
            choices=record.choices,
            directories=record.directories,
            study=raw,
            problems=problems,
        )


@contextmanager
def _context(
    manifest: Manifest,
    base: str | PathLike[str],
    plan_directory: str | PathLike[str] | None,
    access: Access | None,
    notify: Callable[[Event], None],
    opener: Opener,
    *,
    detailed: bool = False,
) -> Iterator[Context]:
    """Open what a compilation needs, and close it afterwards."""
    access = access or Access()
    planned = Path(base if plan_directory is None else plan_directory)
    if manifest.study.versions == "pinned":
        opener = only_versioned(opener)
    roots = Roots(access, Path(base), planned, opener)
    report = Report(notify)
    lister = Lister(access.jobs, report.add_event)
    try:
        yield Context(
            manifest=manifest,
            roots=roots,
            lister=lister,
            report=report,
            record=Record(detailed=detailed),
            untrusted=access.untrusted,
        )
    finally:
        lister.close()
        roots.close()


class _Units(NamedTuple):
    """The selected units, and the datasets that they were chosen in."""

    names: list[str]
    raw: Located


def _choose(context: Context, base: Path) -> _Units:
    raw = survey_study(context.manifest, context.roots, context.lister)
    return _Units(choose_units(context, raw, base, keep_required), raw)


def _take_all(context: Context, units: _Units) -> list[DatasetEntries]:
    """Take files of the study, of its derivatives, and its whole directories."""
    manifest, report, raw = context.manifest, context.report, units.raw
    listings = list_subjects(context, raw, units.names if manifest.files else ())
    taken, findings = take(
        context,
        listings,
        units.names,
        manifest.files,
        pipeline=None,
        dataset_files=manifest.dataset_files,
    )
    _check_names(context, raw)
    more, sessions = take_derivatives(context, raw, units.names)
    if _check_sessions(context, findings.sessions | sessions):
        report.add_errors(findings.errors(("files",)))
        report.warn(findings.warnings(("files",)))
    whole = _take_directories(context, raw)
    context.record.directories.extend(whole)
    kept, doubled = drop_repeats(
        [(("files",), taken), (("derivatives",), more), (("directories",), whole)]
    )
    report.add_errors(doubled)
    return kept


def _check_names(context: Context, raw: Located) -> None:
    """Tell the dataset files that are named and nowhere."""
    wanted = context.manifest.dataset_files
    there = {name for _, survey in raw for name in survey.files}
    if isinstance(wanted, tuple):
        context.report.add_errors(
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
    context.report.add_errors(
        Problem(
            message=f"no selected subject has a session {label!r}",
            at=("sessions", "include", number),
            hint=suggestion(label, met),
        )
        for number, label in enumerate(wanted)
        if label not in met
    )
    return not wanted or not met.isdisjoint(wanted)


def _take_directories(context: Context, raw: Located) -> list[DatasetEntries]:
    """Take whole directories of the datasets' roots, but for what filters exclude."""
    manifest = context.manifest
    names = manifest.directories
    there = {name for _, survey in raw for name in survey.directories}
    context.report.add_errors(
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
        taken.append(
            DatasetEntries(dataset=dataset, files=files, reasons=dict.fromkeys(kept, "dataset"))
        )
    return taken


def _carried(
    context: Context,
    entries: Iterable[Entry],
    previous: Planned,
    directory: str | PathLike[str] | None,
) -> Iterator[Entry]:
    """Carry digests over, and warn of those that are lost."""
    roots = context.roots
    before = roots.plan_directory if directory is None else Path(directory)
    carrier = Carrier(previous, before, roots.access)
    yield from carrier.carry(entries, roots.listed, roots.plan_directory)
    context.report.warn(carrier.problems())


def _plan(context: Context, entries: Iterable[Entry], units: Sequence[str], sha256: str) -> Plan:
    manifest = context.manifest
    sample = manifest.subjects.sample
    plan = Plan.build(
        entries,
        manifest_sha256=sha256,
        study=manifest.study.id,
        roots=context.roots.listed,
        subjects=units,
        random_seed=manifest.random_seed if sample else None,
        sampling=sample.method if sample else None,
    )
    context.report.warn(collisions(plan.entries))
    return plan


def _check_limits(entries: Sequence[Entry], manifest: Manifest, max_bytes: int | None) -> None:
    limits, files = manifest.limits, len(entries)
    total = sum(entry.size for entry in entries)
    rules: tuple[tuple[Place, str, int, int | None], ...] = (
        ((), "bytes", total, max_bytes),
        (("limits", "max_bytes"), "bytes", total, limits.max_bytes),
        (("limits", "max_files"), "files", files, limits.max_files),
    )
    problems = [
        Problem(message=f"the plan has {has:,} {what}, more than {limit:,}", at=at)
        for at, what, has, limit in rules
        if limit is not None and has > limit
    ]
    if problems:
        raise SelectionError(problems=problems)
