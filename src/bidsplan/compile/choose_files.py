"""Chooses the files of datasets that have the same filters."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.data_files import Holdings
from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.compile.companions import Companions, MissedTargets, References
from bidsplan.compile.context import Choice
from bidsplan.compile.entries import Source, description
from bidsplan.compile.layouts import batches, labels_in, units_of
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings
from bidsplan.compile.select.subjects import label_of
from bidsplan.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bidsplan.bids.data_files import Kind
    from bidsplan.compile.context import Context
    from bidsplan.compile.layouts import Listing, Pipeline
    from bidsplan.errors import Place
    from bidsplan.plan import Reason
    from bidsplan.storage import Object


class DatasetFiles:
    """Chooses one dataset's files, some subjects at a time.

    Files at the root may be companions of files in any part, so `add_root` adds them at the end.
    """

    def __init__(
        self, context: Context, listing: Listing, request: Request, source: Source
    ) -> None:
        self._context = context
        self._listing = listing
        self._request = request
        self._source = source
        self._at_root = dict(listing.at_root.files)
        self._root_reasons: dict[str, Reason] = {}
        dataset = listing.dataset

        def list_directory(directory: str) -> Mapping[str, Object]:
            [found] = context.lister.directories([(dataset, directory)])
            return found

        self._references = References(
            store=dataset.store,
            at_root=self._at_root,
            each=context.lister.each,
            list_directory=list_directory,
            warn=context.report.warn,
            unread=context.report.unread,
        )
        self.findings = Findings(request.filters)
        self._held: Holdings[str] = Holdings()
        self._orphans: dict[Kind, dict[str, str]] = defaultdict(dict)
        self.missed: list[MissedTargets] = []

    def choose(self) -> None:
        """Choose the files of all subjects, and note those at the root."""
        request, directories = self._request, self._listing.directories
        if self._context.record.detailed:
            # For explaining, all choices are kept anyway.
            [files] = batches(directories, whole=True)
            choice = FileSelection(files, self._at_root, request)
            self._add_part(choice, files, last=True)
            chosen = Choice(self._listing.dataset, choice, self._source.at)
            self._context.record.choices.append(chosen)
        else:
            root = FileSelection((), self._at_root, request)
            for files in batches(directories):
                self._add_part(FileSelection(files, (), request, root), files)
            self._add_part(root, {})
            self._add_part(FileSelection((), (), request, root), {}, last=True)
        self._references.warn_of_unread()

    def _add_part(
        self, choice: FileSelection, files: dict[str, Object], *, last: bool = False
    ) -> None:
        """Add the files chosen in some directories, and files that they name.

        The last part also gets the files outside their own directories that files of other parts
        name.
        """
        wanted, references = self._request.companions, self._references
        more = Companions(choice, ChainMap(files, self._at_root), references)
        if wanted.fieldmaps or wanted.targets:
            missed = more.add_fieldmaps(others=wanted.fieldmaps, targets=wanted.targets)
            self.missed.append(missed)
        if wanted.references:
            more.add_empty_rooms()
            if last:
                files.update(references.add_rooms(choice))
            if "stimuli" in self._listing.at_root.directories:
                more.find_stimuli()
            if last and references.stimuli:
                files.update(references.add_stimuli(choice))
        more.finish()
        self.findings.merge(choice.findings)
        self._held.merge(choice.held)
        for subject, kind, directory in choice.orphans:
            found = self._orphans[kind]
            found[subject] = min(directory, found.get(subject, directory))
        self._add(choice.reasons, files)

    def note_units(self, findings: Findings, units: Sequence[str]) -> None:
        """Add the units with data, with other files and with orphans to findings."""
        dataset = self._listing.dataset
        findings.units |= units_of(dataset, units, set(self._held.data()))
        findings.touched |= units_of(dataset, units, set(self._held.all()))
        for kind, found in self._orphans.items():
            for unit in units_of(dataset, units, set(found)) if self._held.describes(kind) else ():
                directory = found[label_of(unit)]
                findings.orphans[unit] = min(directory, findings.orphans.get(unit, directory))

    def _add(self, reasons: Mapping[str, Reason], files: Mapping[str, Object]) -> None:
        below: dict[str, Reason] = {}
        for path, reason in reasons.items():
            if "/" in path:
                below[path] = reason
            elif reason == "dataset":
                self._root_reasons.setdefault(path, reason)
            else:
                self._root_reasons[path] = reason
        self._context.selected.add(self._source, files, below)

    def add_root(self) -> None:
        """Add the root's files, and a description if there is none."""
        selected, dataset = self._context.selected, self._listing.dataset
        selected.add(self._source, self._at_root, self._root_reasons)
        if self._request.dataset_files != "none" and DESCRIPTION not in self._at_root:
            derivative = self._request.derivative
            selected.add_description(dataset, description(self._source.name, derivative=derivative))


class ChosenFiles(NamedTuple):
    """The chosen files of the study or a pipeline, and its filters' matches."""

    datasets: list[DatasetFiles]
    findings: Findings

    def add_root(self) -> None:
        """Add the files at the datasets' roots, which make them valid datasets."""
        for dataset in self.datasets:
            dataset.add_root()


def choose_files(
    context: Context,
    listings: Iterable[Listing],
    units: Sequence[str],
    pipeline: Pipeline | None = None,
) -> ChosenFiles:
    """Choose files in all datasets of the study or of a pipeline."""
    name = context.manifest.study.id if pipeline is None else pipeline.name
    place: Place = ("files",) if pipeline is None else ("derivatives", name, "filters")
    wanted = _request(context, pipeline)
    findings = Findings(wanted.filters)
    chosen: list[DatasetFiles] = []
    for listing in listings:
        dataset = listing.dataset
        labels = frozenset(labels_in(dataset, units))
        request = replace(wanted, subjects=labels, derivative=dataset.derivative)
        files = DatasetFiles(context, listing, request, Source(dataset, name, place))
        files.choose()
        findings.merge(files.findings)
        files.note_units(findings, units)
        chosen.append(files)
    _warn_of_missed(context, [count for files in chosen for count in files.missed])
    return ChosenFiles(chosen, findings)


def _request(context: Context, pipeline: Pipeline | None) -> Request:
    """Return the manifest's request to all datasets of a study or pipeline."""
    manifest = context.manifest
    derivative = pipeline.derivative if pipeline else None
    return Request(
        filters=derivative.filters if derivative else manifest.files,
        subjects=frozenset(),
        sessions=manifest.sessions,
        derivative=False,
        companions=manifest.companions,
        dataset_files=pipeline.dataset_files if pipeline else manifest.dataset_files,
        whole=derivative is not None and derivative.scope == "whole",
    )


def _warn_of_missed(context: Context, counts: Iterable[MissedTargets]) -> None:
    """Warn of files whose targets are not selected."""
    holders, targets = map(sum, zip(MissedTargets(), *counts, strict=True))
    if targets:
        problem = Problem(
            message=f"the IntendedFor of selected files ({holders:,}) names files that are not "
            f"selected ({targets:,}), which validators report as INTENDED_FOR",
            at=("companions",),
            hint="'companions: {targets: true}' selects these too, and 'targets: false' accepts it",
        )
        context.report.warn(problem)
