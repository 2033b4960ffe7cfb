"""The compiler: lists a study, chooses files, and makes a plan."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile.choose_files import choose_files
from bidsplan.compile.context import Context, Record, Report, Whole
from bidsplan.compile.derivatives import choose_in_derivatives
from bidsplan.compile.digests import add_digests, carry_digests
from bidsplan.compile.entries import Selected, Source
from bidsplan.compile.explain import Explanation, selection_rule
from bidsplan.compile.layouts import list_subjects
from bidsplan.compile.omissions import find_without_files
from bidsplan.compile.select.globs import Globs
from bidsplan.compile.subjects import choose_subjects
from bidsplan.compile.survey.listing import Lister
from bidsplan.compile.survey.participants import manifest_digest
from bidsplan.compile.survey.shared import SharedListings
from bidsplan.compile.survey.sources import STUDY_URL, Roots, errors_at
from bidsplan.compile.survey.study import survey_study
from bidsplan.compile.versions import only_versioned, pin_versions
from bidsplan.errors import Problem, SelectionError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.plan import Plan
from bidsplan.plan.spool import collect
from bidsplan.storage import Access, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

    from bidsplan.compile.context import DrawnGroup
    from bidsplan.compile.omissions import Omission
    from bidsplan.compile.survey.sources import Opener
    from bidsplan.errors import Place
    from bidsplan.events import Event
    from bidsplan.manifest import Manifest
    from bidsplan.plan import Entry, Planned, Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """The result of compiling a manifest.

    Parameters
    ----------
    plan : Plan
    warnings : tuple of Problem
        Problems in the manifest or the study that did not stop the compilation, sorted.
    omissions : tuple of Omission
        Subjects that were left out, or that have none of the selected files, although no rule of
        the manifest says so.
    endpoints : tuple of str
        The URLs that requests were sent to, for object stores.
    drawn : tuple of DrawnGroup
        The groups of the random sample, each with its number of drawn subjects.
    """

    plan: Plan
    warnings: tuple[Problem, ...]
    omissions: tuple[Omission, ...]
    endpoints: tuple[str, ...]
    drawn: tuple[DrawnGroup, ...] = ()


def compile_manifest(  # noqa: PLR0913 - each is an option of the command
    manifest: Manifest,
    *,
    base: str | PathLike[str] = ".",
    plan_directory: str | PathLike[str] | None = None,
    access: Access | None = None,
    notify: Callable[[Event], None] | None = None,
    opener: Opener = open_store,
    previous: Planned | None = None,
    previous_directory: str | PathLike[str] | None = None,
    digest: bool = False,
    max_bytes: int | None = None,
    listings: SharedListings | None = None,
    spool: bool = False,
) -> Compiled:
    """Compile a manifest into a plan of the files that are in storage now.

    Parameters
    ----------
    manifest : Manifest
    base : path
        The directory that the manifest's relative URLs are relative to. Use the directory of the
        manifest's file.
    plan_directory : path, optional
        The directory that the plan will be written to; by default `base`.
    access : Access, optional
        How storage may be reached.
    notify : callable, optional
        Called with each event of listing and digesting. The calls come from several threads, but
        one at a time.
    opener : callable
        Opens a dataset's root in storage, as `open_store` does. Pass another function to use your
        own kind of store.
    previous : Plan or StoredPlan, optional
        The plan that the new one replaces. Its digests of unchanged objects are copied to the new
        plan.
    previous_directory : path, optional
        The directory that relative URLs of `previous` are relative to; by default
        `plan_directory`.
    digest : bool
        Whether to read the files that could otherwise only be checked by size, such as local
        files, and add their SHA-256 to the plan. Digests of local files are kept in the user's
        cache.
    max_bytes : int, optional
        The largest total size of the planned files, in addition to the manifest's own limits.
    listings : SharedListings, optional
        Listings to reuse and to add to, so that several compilations list a study once.
    spool : bool
        Whether to store the entries of a large plan in a temporary file. `Plan.entries` then reads
        them when they are needed. In memory, a million entries take half a gigabyte.

    Returns
    -------
    Compiled
        The plan is always the same for the same manifest, storage and previous plan.

    Raises
    ------
    SelectionError
        If the study does not have what the manifest selects, or a limit is exceeded. The error
        lists everything that is missing.
    StorageError
        If the study can't be listed or read.
    UrlError
        If a URL is refused.
    """
    directory = Path(base if plan_directory is None else plan_directory)
    where = _Where(Path(base), directory, access or Access(), opener, listings)
    with _open(manifest, where, notify, spool=spool) as context:
        selected = _choose(context)
        context.selected.check_content(context.report.unread)
        context.report.warn(*context.selected.archive_warnings())
        # Limits are checked before any file is read.
        _check_limits(len(selected), context.selected.bytes, manifest, max_bytes)
        if manifest.study.versions == "pinned":
            selected = collect(pin_versions(context, selected), spool=spool)
        if digest:
            selected = collect(add_digests(context, selected), spool=spool)
        if previous is not None:
            before = Path(directory if previous_directory is None else previous_directory)
            selected = collect(carry_digests(context, selected, previous, before), spool=spool)
        return Compiled(
            plan=_plan(context, selected),
            warnings=tuple(sorted(context.report.warnings, key=str)),
            omissions=tuple(context.report.omissions),
            endpoints=context.roots.endpoints,
            drawn=context.record.drawn,
        )


def explain_manifest(
    manifest: Manifest,
    *,
    base: str | PathLike[str] = ".",
    access: Access | None = None,
    notify: Callable[[Event], None] | None = None,
    opener: Opener = open_store,
) -> Explanation:
    """Explain which subjects and files compiling a manifest selects, and why.

    Parameters
    ----------
    manifest, base, access, notify, opener
        As in `compile_manifest`.

    Returns
    -------
    Explanation
        If the manifest does not compile, the result explains the steps up to the failure and lists
        the problems.

    Raises
    ------
    StorageError, UrlError
        As in `compile_manifest`.
    """
    problems: tuple[Problem, ...] = ()
    selected: Sequence[Entry] = ()
    where = _Where(Path(base), Path(base), access or Access(), opener)
    with _open(manifest, where, notify, detailed=True) as context:
        try:
            selected = _choose(context)
        except SelectionError as error:
            problems = error.problems
        return Explanation(
            record=context.record,
            study=context.study,
            problems=problems,
            omissions=tuple(context.report.omissions),
            rule=selection_rule(manifest.subjects),
            entries=selected,
            archived=context.selected.archived if selected else (),
        )


class _Where(NamedTuple):
    """The places of manifest and plan, and the access to storage."""

    base: Path
    plan_directory: Path
    access: Access
    opener: Opener
    listings: SharedListings | None = None


@contextmanager
def _open(
    manifest: Manifest,
    where: _Where,
    notify: Callable[[Event], None] | None,
    *,
    detailed: bool = False,
    spool: bool = False,
) -> Iterator[Context]:
    """Open the roots and listings of a compilation, and close them afterwards."""
    base, plan_directory, access, opener, listings = where
    report = Report(notify)
    with ExitStack() as stack:
        if listings is None and manifest.subjects.require:
            # Required files are listed before selected ones, often in the same directories.
            listings = stack.enter_context(SharedListings())
        shared = listings is not None
        if listings is not None:
            opener = listings.sharing(opener)
        if manifest.study.versions == "pinned":
            opener = only_versioned(opener)
        roots = Roots(access, base, plan_directory, opener, keep_open=shared)
        lister = Lister(access.jobs, report.add_event, shared=listings)
        stack.enter_context(closing(roots))
        stack.enter_context(closing(lister))
        yield Context(
            manifest=manifest,
            base=base,
            roots=roots,
            lister=lister,
            report=report,
            record=Record(detailed=detailed),
            selected=Selected(spool=spool),
        )


def _choose(context: Context) -> Sequence[Entry]:
    """Choose subjects, their files and derivatives, and whole directories."""
    with errors_at(STUDY_URL):
        _choose_all(context)
    entries, conflicts = context.selected.entries()
    context.report.add_errors(*conflicts, help_code=HelpCode.CLASH)
    context.report.raise_errors()
    return entries


def _choose_all(context: Context) -> None:
    """Choose everything, and report what is wrong."""
    manifest, report = context.manifest, context.report
    context.study = survey_study(manifest, context.roots, context.lister)
    units = choose_subjects(context)
    listings = list_subjects(context, context.study, units if manifest.files else ())
    chosen = choose_files(context, listings, units)
    chosen.add_root()
    findings = chosen.findings
    if manifest.files:
        report.add_omissions(find_without_files(units, findings, ("files",)))
    if isinstance(manifest.dataset_files, tuple):
        names = {name for _, at_root in context.study for name in at_root.files}
        message = "there is no file {!r} at the dataset's root"
        report.check_known(manifest.dataset_files, names, message, ("dataset_files",))
    sessions = choose_in_derivatives(context, units) | findings.sessions
    wanted = (manifest.sessions.include or ()) if manifest.sessions else ()
    message = "no selected subject has a session {!r}"
    report.check_known(wanted, sessions, message, ("sessions", "include"))
    # If no wanted session exists, every filter matches nothing, and one error is enough.
    if not wanted or not sessions.isdisjoint(wanted):
        report.add_errors(*findings.errors(("files",)))
        report.warn(*findings.warnings(("files",)))
    _choose_directories(context)


def _choose_directories(context: Context) -> None:
    """Choose whole directories at the datasets' roots, without excluded files."""
    manifest, at = context.manifest, ("directories",)
    names = {name for _, at_root in context.study for name in at_root.directories}
    message = "there is no directory {!r} at the dataset's root"
    context.report.check_known(manifest.directories, names, message, at)
    wanted = [
        (dataset, name)
        for dataset, at_root in context.study
        for name in manifest.directories
        if name in at_root.directories
    ]
    excludes = Globs([glob for filter_ in manifest.files for glob in filter_.exclude], dots=True)
    contents = context.lister.stream_directories(wanted)
    for (dataset, _), files in zip(wanted, contents, strict=True):
        kept = [path for path in files if "/." not in path and not excludes.match(path)]
        reasons: dict[str, Reason] = dict.fromkeys(kept, "dataset")
        context.selected.add(Source(dataset, manifest.study.id, at), files, reasons)
        if context.record.detailed:
            context.record.directories.append(Whole(dataset, files, reasons))


def _check_limits(files: int, total: int, manifest: Manifest, max_bytes: int | None) -> None:
    limits = manifest.limits
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
        raise SelectionError(problems=problems, help_code=HelpCode.LIMIT)


def _plan(context: Context, entries: Sequence[Entry]) -> Plan:
    """Build the plan; warn of paths that some file systems confuse."""
    manifest = context.manifest
    sample, untrusted = manifest.subjects.sample, context.roots.access.untrusted
    plan = Plan.build(
        entries,
        manifest_sha256=manifest_digest(manifest, context.base, untrusted=untrusted),
        study=manifest.study.id,
        roots=context.roots.listed,
        subjects=context.record.units,
        random_seed=manifest.random_seed if sample else None,
        sampling=sample.method if sample else None,
    )
    for first, other in context.selected.clashes.pairs(plan.entries):
        names = f"{printable(first.path)!r} and {printable(other.path)!r}"
        message = f"{names} are the same file where case or Unicode form is ignored"
        context.report.warn(Problem(message=message))
    return plan
