"""Taking files of the derivative pipelines that a manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.choose_files import take
from bidsplan.compile.layouts import (
    list_subject_first,
    list_subjects,
    list_whole,
    subject_pipelines,
)
from bidsplan.compile.subjects import labels_in
from bidsplan.compile.survey.study import locate_derivative, pipelines
from bidsplan.errors import Problem
from bidsplan.messages import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.entries import DatasetEntries
    from bidsplan.compile.layouts import Listing
    from bidsplan.compile.select.findings import Findings
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.manifest import Derivative


_NAMED_AT_MOST = 10
"""Subjects that one warning names."""


def take_derivatives(
    context: Context, raw: Located, units: Sequence[str]
) -> tuple[list[DatasetEntries], set[str]]:
    """List and choose in every derivative pipeline of the manifest.

    Parameters
    ----------
    raw : list of (Dataset, Survey)
        The study's own datasets.
    units : sequence of str
        The selected subjects.

    Returns
    -------
    sessions : set of str
        The sessions met.
    """
    taken: list[DatasetEntries] = []
    sessions: set[str] = set()
    for name, derivative in _wanted(context, raw, units):
        listings = list_pipeline(context, raw, units, name, derivative)
        if not listings:
            place = ("derivatives", name)
            context.report.add_errors([no_pipeline(context, raw, units, name, derivative, place)])
            continue
        whole = derivative.scope == "whole"
        some, findings = take(
            context,
            listings,
            units,
            derivative.filters,
            pipeline=name,
            dataset_files=_dataset_files(context, derivative),
            whole=whole,
        )
        taken += some
        sessions |= findings.sessions
        _diagnose(context, name, derivative, findings)
        if not whole:
            _warn_lacking(context, name, listings, units)
    return taken, sessions


def _dataset_files(context: Context, derivative: Derivative) -> str | tuple[str, ...]:
    """Give a pipeline's rule; only its own may leave its description out."""
    if _kept(context, derivative):
        # What lands by subject has no directory of its own to describe.
        return "none"
    if derivative.dataset_files is not None:
        return derivative.dataset_files
    rule = context.manifest.dataset_files
    return "description" if rule == "none" else rule


def _subject_first(context: Context, derivative: Derivative) -> bool:
    return _layout(context, derivative) != "pipeline-first" and derivative.url is None


def _kept(context: Context, derivative: Derivative) -> bool:
    return _layout(context, derivative) == "subject-first-kept" and derivative.url is None


def _layout(context: Context, derivative: Derivative) -> str:
    return derivative.layout or context.manifest.study.layout


def _wanted(context: Context, raw: Located, units: Sequence[str]) -> list[tuple[str, Derivative]]:
    from bidsplan.manifest import Derivative  # keeps pydantic out of the imports

    wanted = context.manifest.derivatives
    if wanted != "all":
        return sorted(wanted.items())
    if _subject_first(context, Derivative()):
        return [(name, Derivative()) for name in subject_pipelines(context, raw, units)]
    found, others = pipelines(raw, context.lister)
    context.report.warn(
        Problem(
            message=f"derivatives/{name} has no subject directories and is left out",
            at=("derivatives",),
            hint="name it with 'scope: whole' to take it as it is",
        )
        for name in others
    )
    return [(name, Derivative()) for name in found]


def list_pipeline(
    context: Context, raw: Located, units: Sequence[str], name: str, derivative: Derivative
) -> list[Listing]:
    """List what a pipeline has of units, wherever and in whichever layout it is.

    Parameters
    ----------
    raw : list of (Dataset, Survey)
        The study's own datasets.

    Returns
    -------
    list of Listing
        None where there is no such pipeline.
    """
    if _subject_first(context, derivative):
        kept = _kept(context, derivative)
        listings = list_subject_first(context, raw, units, name, kept=kept)
        return listings if any(listing.below for listing in listings) else []
    datasets = locate_derivative(name, derivative, context.manifest, raw, context.roots)
    surveys = context.lister.surveys(datasets)
    located = [pair for pair in zip(datasets, surveys, strict=True) if not pair[1].empty]
    if derivative.scope == "whole":
        return list_whole(context, located)
    return list_subjects(context, located, units)


def no_pipeline(
    context: Context,
    raw: Located,
    units: Sequence[str],
    name: str,
    derivative: Derivative,
    at: Place,
) -> Problem:
    """Say that a pipeline which is named somewhere is not there, and which ones are."""
    if derivative.url is not None:
        return Problem(
            message=f"there is nothing at the url of the derivative {name!r}",
            at=("derivatives", name, "url"),
            hint="check its spelling, upper and lower case included",
        )
    if _subject_first(context, derivative):
        known = subject_pipelines(context, raw, units)
        whose = " of the selected subjects"
    else:
        found, others = pipelines(raw, context.lister)
        known, whose = [*found, *others], ""
    return Problem(
        message=f"there is no derivative pipeline {name!r}{whose}",
        at=at,
        hint=suggestion(name, known),
    )


def _diagnose(context: Context, name: str, derivative: Derivative, findings: Findings) -> None:
    place = ("derivatives", name, "filters")
    if any(filter_.restricts for filter_ in derivative.filters):
        context.report.add_errors(findings.errors(place))
    elif any(findings.errors(place)):
        problem = Problem(
            message=f"the pipeline {name!r} has no file of the selected subjects",
            at=("derivatives", name),
            hint="say 'scope: whole' to take the pipeline's directory as it is",
        )
        context.report.add_errors([problem])
    context.report.warn(findings.warnings(place))


def _warn_lacking(
    context: Context, name: str, listings: Sequence[Listing], units: Sequence[str]
) -> None:
    there: set[str] = set()
    for dataset, survey, _ in listings:
        labels = labels_in(dataset, units)
        there.update(labels[label] for label in labels.keys() & set(survey.subjects))
    lacking = sorted(set(units) - there)
    if lacking and there:
        listed = ", ".join(lacking[:_NAMED_AT_MOST])
        more = ", …" if len(lacking) > _NAMED_AT_MOST else ""
        problem = Problem(
            message=f"{len(lacking)} of {len(units)} selected subjects have no {name!r}: "
            f"{listed}{more}",
            at=("derivatives", name),
        )
        context.report.warn([problem])
