"""Choosing the files of datasets that share their filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.compile import companions
from bidsplan.compile.context import Choice
from bidsplan.compile.entries import DatasetEntries, description
from bidsplan.compile.layouts import labels_in, units_of
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.layouts import Listing, Pipeline
    from bidsplan.compile.survey.datasets import Dataset, RootListing
    from bidsplan.errors import Place
    from bidsplan.storage import Object


def choose_files(
    context: Context,
    listings: Iterable[Listing],
    units: Sequence[str],
    pipeline: Pipeline | None = None,
) -> tuple[list[DatasetEntries], Findings]:
    """Choose files in the datasets of a pipeline, or of the study itself."""
    manifest = context.manifest
    name, filters, whole = manifest.study.id, manifest.files, False
    place: Place = ("files",)
    dataset_files: str | tuple[str, ...] = manifest.dataset_files
    if pipeline is not None:
        name, place = pipeline.name, ("derivatives", pipeline.name, "filters")
        filters, whole = pipeline.derivative.filters, pipeline.derivative.scope == "whole"
        dataset_files = pipeline.dataset_files
    findings = Findings(filters)
    chosen: list[DatasetEntries] = []
    for listing in listings:
        dataset, at_root, below = listing
        request = Request(
            filters=filters,
            subjects=frozenset(labels_in(dataset, units)),
            sessions=manifest.sessions,
            derivative=pipeline is not None or _is_derivative(context, dataset, at_root),
            companions=manifest.companions,
            dataset_files=dataset_files,
            whole=whole,
        )
        files = {**at_root.files, **below}
        choice = _select(context, listing, files, request, place)
        findings.merge(choice.findings)
        findings.units |= units_of(dataset, units, choice.subjects)
        text = None
        if dataset_files != "none" and DESCRIPTION not in at_root.files:
            text = description(name, derivative=request.derivative)
        chosen.append(
            DatasetEntries(dataset=dataset, files=files, reasons=choice.reasons, generated=text)
        )
    return chosen, findings


def _select(
    context: Context, listing: Listing, files: dict[str, Object], request: Request, place: Place
) -> FileSelection:
    """Choose files in one dataset, and those that their contents name."""
    dataset, at_root, below = listing
    choice = FileSelection(below, at_root.files, request)

    def list_directory(directory: str) -> list[str]:
        [found] = context.lister.directories([(dataset, directory)])
        files.update(found)
        return list(found)

    more = companions.Companions(
        choice=choice,
        store=dataset.store,
        files=files,
        each=context.lister.each,
        list_directory=list_directory,
        warn=context.report.warn,
        unread=context.report.unread,
    )
    if request.companions.fieldmaps:
        more.add_fieldmaps()
    if request.companions.references:
        more.add_empty_rooms()
        if "stimuli" in at_root.directories:
            more.add_stimuli()
    if context.record.detailed:
        context.record.choices.append(Choice(dataset, choice, place))
    return choice


def _is_derivative(context: Context, dataset: Dataset, at_root: RootListing) -> bool:
    """Read from its description whether a study is itself a derivative dataset."""
    found = at_root.files.get(DESCRIPTION)
    if found is None:
        return False
    if dataset.store.absent([found.key]):
        context.report.unread.add(f"{dataset.where}/{DESCRIPTION}")
        return False
    data = companions.read_small(dataset.store, found, companions.LARGEST_SIDECAR)
    text = companions.parse_json(data, f"{dataset.where}/{DESCRIPTION}", context.report.warn)
    return isinstance(text, dict) and text.get("DatasetType") == "derivative"
