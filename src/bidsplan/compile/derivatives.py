"""Choosing the files of the derivative pipelines that a manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile import layouts
from bidsplan.compile.choose_files import choose_files
from bidsplan.compile.survey.study import locate_derivative, pipelines
from bidsplan.errors import Problem
from bidsplan.messages import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.entries import DatasetEntries
    from bidsplan.compile.layouts import Listing
    from bidsplan.compile.select.findings import Findings
    from bidsplan.errors import Place
    from bidsplan.manifest import Derivative


_NAMED_AT_MOST = 10
"""Subjects that one warning names."""


class Pipeline(NamedTuple):
    """A derivative pipeline that a manifest names, and the units to look for in it."""

    context: Context
    name: str
    derivative: Derivative
    units: Sequence[str]

    @property
    def layout(self) -> str:
        """Where its files are; a pipeline with a URL of its own has no directories by subject."""
        if self.derivative.url is not None:
            return "pipeline-first"
        return self.derivative.layout or self.context.manifest.study.layout

    @property
    def dataset_files(self) -> str | tuple[str, ...]:
        """Which files at its root come along; only its own rule may leave the description out."""
        if self.layout == "subject-first-kept":
            # What is written by subject has no directory of its own to describe.
            return "none"
        if self.derivative.dataset_files is not None:
            return self.derivative.dataset_files
        rule = self.context.manifest.dataset_files
        return "description" if rule == "none" else rule

    def listings(self) -> list[Listing]:
        """List what it has of the units; empty where there is no such pipeline."""
        context, units = self.context, self.units
        if self.layout != "pipeline-first":
            kept = self.layout == "subject-first-kept"
            listings = layouts.list_subject_first(context, units, self.name, kept=kept)
            return listings if any(listing.below for listing in listings) else []
        datasets = locate_derivative(
            self.name, self.derivative, context.manifest, context.study, context.roots
        )
        surveys = context.lister.surveys(datasets)
        located = [pair for pair in zip(datasets, surveys, strict=True) if not pair[1].empty]
        if self.derivative.scope == "whole":
            return layouts.list_whole(context, located)
        return layouts.list_subjects(context, located, units)

    def missing(self, at: Place) -> Problem:
        """Report that it does not exist, and which pipelines do."""
        if self.derivative.url is not None:
            return Problem(
                message=f"there is nothing at the url of the derivative {self.name!r}",
                at=("derivatives", self.name, "url"),
                hint="check its spelling, upper and lower case included",
            )
        if self.layout == "pipeline-first":
            found, others = pipelines(self.context.study, self.context.lister)
            known, whose = [*found, *others], ""
        else:
            known = layouts.subject_pipelines(self.context, self.units)
            whose = " of the selected subjects"
        message = f"there is no derivative pipeline {self.name!r}{whose}"
        return Problem(message=message, at=at, hint=suggestion(self.name, known))


def choose_in_derivatives(
    context: Context, units: Sequence[str]
) -> tuple[list[DatasetEntries], set[str]]:
    """Choose files in every derivative pipeline of the manifest; also return their sessions."""
    chosen: list[DatasetEntries] = []
    sessions: set[str] = set()
    for name, derivative in _wanted(context, units):
        pipeline = Pipeline(context, name, derivative, units)
        listings = pipeline.listings()
        if not listings:
            context.report.add_errors(pipeline.missing(("derivatives", name)))
            continue
        whole = derivative.scope == "whole"
        some, findings = choose_files(
            context,
            listings,
            units,
            derivative.filters,
            pipeline=name,
            dataset_files=pipeline.dataset_files,
            whole=whole,
        )
        chosen += some
        sessions |= findings.sessions
        _check_findings(context, name, derivative, findings)
        if not whole:
            _warn_of_lacking(context, name, listings, units)
    return chosen, sessions


def _wanted(context: Context, units: Sequence[str]) -> list[tuple[str, Derivative]]:
    from bidsplan.manifest import Derivative  # keeps pydantic out of the imports

    wanted = context.manifest.derivatives
    if wanted != "all":
        return sorted(wanted.items())
    if context.manifest.study.layout != "pipeline-first":
        return [(name, Derivative()) for name in layouts.subject_pipelines(context, units)]
    found, others = pipelines(context.study, context.lister)
    for name in others:
        problem = Problem(
            message=f"derivatives/{name} has no subject directories and is left out",
            at=("derivatives",),
            hint="name it with 'scope: whole' to take it as it is",
        )
        context.report.warn(problem)
    return [(name, Derivative()) for name in found]


def _check_findings(
    context: Context, name: str, derivative: Derivative, findings: Findings
) -> None:
    place = ("derivatives", name, "filters")
    errors = [*findings.errors(place)]
    if errors and not any(filter_.restricts for filter_ in derivative.filters):
        problem = Problem(
            message=f"the pipeline {name!r} has no file of the selected subjects",
            at=("derivatives", name),
            hint="say 'scope: whole' to take the pipeline's directory as it is",
        )
        errors = [problem]
    context.report.add_errors(*errors)
    context.report.warn(*findings.warnings(place))


def _warn_of_lacking(
    context: Context, name: str, listings: Sequence[Listing], units: Sequence[str]
) -> None:
    """Warn of selected subjects that a pipeline does not have, unless it has none at all."""
    found: set[str] = set()
    for dataset, at_root, _ in listings:
        labels = layouts.labels_in(dataset, units)
        found.update(labels[label] for label in labels.keys() & set(at_root.subjects))
    lacking = sorted(set(units) - found)
    if lacking and found:
        listed = ", ".join(lacking[:_NAMED_AT_MOST])
        more = ", …" if len(lacking) > _NAMED_AT_MOST else ""
        message = (
            f"{len(lacking)} of {len(units)} selected subjects have no {name!r}: {listed}{more}"
        )
        context.report.warn(Problem(message=message, at=("derivatives", name)))
