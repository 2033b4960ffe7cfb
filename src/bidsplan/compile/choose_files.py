"""Taking files of datasets that share their filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.compile.companions import (
    LARGEST_SIDECAR,
    Contents,
    follow_fieldmaps,
    follow_references,
    read_small,
)
from bidsplan.compile.context import Chosen
from bidsplan.compile.entries import DatasetEntries, description
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings
from bidsplan.compile.subjects import labels_in
from bidsplan.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.layouts import Listing
    from bidsplan.compile.survey.datasets import Dataset, RootListing
    from bidsplan.errors import Place
    from bidsplan.manifest import Filter
    from bidsplan.storage import Object


def take(
    context: Context,
    listings: Iterable[Listing],
    units: Sequence[str],
    filters: tuple[Filter, ...],
    *,
    pipeline: str | None,
    dataset_files: str | tuple[str, ...],
    whole: bool = False,
) -> tuple[list[DatasetEntries], Findings]:
    """Choose in datasets that share their filters.

    Parameters
    ----------
    units : sequence of str
        The selected subjects.
    pipeline : str or None
        The derivative pipeline's name; None for the study itself.
    whole : bool
        Whether to choose among all files that were listed, not only among subjects'.

    Returns
    -------
    taken : list of DatasetEntries
        One for each dataset.
    findings : Findings
        What the filters met in all of them.

    Raises
    ------
    StorageError
        Where something can't be listed or read.
    """
    findings = Findings(filters)
    taken: list[DatasetEntries] = []
    for listing in listings:
        dataset, survey, _ = listing
        request = Request(
            filters=filters,
            subjects=frozenset(labels_in(dataset, units)),
            sessions=context.manifest.sessions,
            derivative=pipeline is not None or _is_derivative(context, dataset, survey),
            companions=context.manifest.companions,
            dataset_files=dataset_files,
            whole=whole,
        )
        name = pipeline or context.manifest.study.id
        place = ("files",) if pipeline is None else ("derivatives", pipeline, "filters")
        some, met = _take_one(context, listing, request, name, place)
        findings.merge(met)
        taken.append(some)
    return taken, findings


def _take_one(
    context: Context, listing: Listing, request: Request, name: str, place: Place
) -> tuple[DatasetEntries, Findings]:
    dataset, survey, below = listing
    files = {**survey.files, **below}
    choice = FileSelection(below, survey.files, request)
    _follow_contents(context, dataset, survey, files, choice)
    context.record.choose(Chosen(dataset, choice, place))
    generated = None
    if request.dataset_files != "none" and DESCRIPTION not in survey.files:
        generated = description(name, derivative=request.derivative)
    reasons = choice.reasons
    taken = DatasetEntries(dataset=dataset, files=files, reasons=reasons, generated=generated)
    return taken, choice.findings


def _follow_contents(
    context: Context,
    dataset: Dataset,
    survey: RootListing,
    files: dict[str, Object],
    choice: FileSelection,
) -> None:
    """Take the companions that only the contents of files name."""
    wanted = context.manifest.companions
    contents = Contents(dataset.store, files, context.lister.each, context.report.warn)

    def learn(directory: str) -> list[str]:
        [found] = context.lister.directories([(dataset, directory)])
        files.update(found)
        return list(found)

    if wanted.fieldmaps:
        follow_fieldmaps(choice, contents)
    if wanted.references:
        follow_references(choice, contents, learn, survey.directories)


def _is_derivative(context: Context, dataset: Dataset, survey: RootListing) -> bool:
    """Read off its description whether a study is itself a derivative dataset."""
    found = survey.files.get(DESCRIPTION)
    if found is None:
        return False
    try:
        data = read_small(dataset.store, found, LARGEST_SIDECAR)
        text: object = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = f"{dataset.where}/{DESCRIPTION} is not valid JSON: {error}"
        context.report.warn([Problem(message=problem)])
        return False
    return isinstance(text, dict) and text.get("DatasetType") == "derivative"
