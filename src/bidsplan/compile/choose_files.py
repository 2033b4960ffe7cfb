"""Choosing the files of datasets that share their filters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.compile.companions import Companions, Shared
from bidsplan.compile.context import Choice
from bidsplan.compile.entries import DatasetEntries, description
from bidsplan.compile.layouts import labels_in, units_of
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings
from bidsplan.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.layouts import Listing, Pipeline
    from bidsplan.errors import Place
    from bidsplan.storage import Object


def choose_files(
    context: Context,
    listings: Iterable[Listing],
    units: Sequence[str],
    pipeline: Pipeline | None = None,
) -> tuple[list[DatasetEntries], Findings]:
    """Choose files in the datasets of a pipeline, or of the study itself."""
    name = context.manifest.study.id if pipeline is None else pipeline.name
    place: Place = ("files",) if pipeline is None else ("derivatives", name, "filters")
    wanted = _request(context, pipeline)
    findings = Findings(wanted.filters)
    chosen: list[DatasetEntries] = []
    counts: list[Shared] = []
    for listing in listings:
        dataset, at_root, below = listing
        labels = frozenset(labels_in(dataset, units))
        request = replace(wanted, subjects=labels, derivative=dataset.derivative)
        files = {**at_root.files, **below}
        choice, shared = _select(context, listing, files, request, place)
        findings.merge(choice.findings)
        findings.units |= units_of(dataset, units, choice.subjects)
        counts.append(shared)
        text = None
        if request.dataset_files != "none" and DESCRIPTION not in at_root.files:
            text = description(name, derivative=request.derivative)
        chosen.append(
            DatasetEntries(dataset=dataset, files=files, reasons=choice.reasons, generated=text)
        )
    _warn_of_missed(context, counts)
    return chosen, findings


def _request(context: Context, pipeline: Pipeline | None) -> Request:
    """Return what is asked of all datasets of a pipeline, or of the study."""
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


def _warn_of_missed(context: Context, counts: Iterable[Shared]) -> None:
    """Warn of files that are meant for others that are not selected."""
    holders, targets = map(sum, zip(Shared(), *counts, strict=True))
    if targets:
        problem = Problem(
            message=f"the IntendedFor of selected files ({holders:,}) names files that are not "
            f"selected ({targets:,}), which validators report as INTENDED_FOR",
            at=("companions",),
            hint="'companions: {targets: true}' selects these too, and 'targets: false' accepts it",
        )
        context.report.warn(problem)


def _select(
    context: Context, listing: Listing, files: dict[str, Object], request: Request, place: Place
) -> tuple[FileSelection, Shared]:
    """Choose files in one dataset, and those that their contents name."""
    dataset, at_root, below = listing
    choice = FileSelection(below, at_root.files, request)

    def list_directory(directory: str) -> list[str]:
        [found] = context.lister.directories([(dataset, directory)])
        files.update(found)
        return list(found)

    more = Companions(
        choice=choice,
        store=dataset.store,
        files=files,
        each=context.lister.each,
        list_directory=list_directory,
        warn=context.report.warn,
        unread=context.report.unread,
    )
    shared = Shared()
    wanted = request.companions
    if wanted.fieldmaps or wanted.targets:
        shared = more.add_fieldmaps(others=wanted.fieldmaps, targets=wanted.targets)
    if wanted.references:
        more.add_empty_rooms()
        if "stimuli" in at_root.directories:
            more.add_stimuli()
    more.warn_of_unread()
    if context.record.detailed:
        context.record.choices.append(Choice(dataset, choice, place))
    return choice, shared
