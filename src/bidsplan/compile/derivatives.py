"""Chooses the files of the pipelines that a manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.choose_files import choose_files
from bidsplan.compile.layouts import Pipeline, subject_pipelines
from bidsplan.compile.omissions import find_without_files
from bidsplan.compile.survey.sources import errors_at
from bidsplan.compile.survey.study import pipelines, place_of_derivative
from bidsplan.errors import Problem
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.select.findings import Findings
    from bidsplan.manifest import Derivative


_NO_FILES = "the pipeline {!r} has no file of the selected subjects"


def choose_in_derivatives(context: Context, units: Sequence[str]) -> set[str]:
    """Choose files in all of the manifest's pipelines; return their sessions."""
    sessions: set[str] = set()
    for name, derivative in _wanted(context, units):
        pipeline = Pipeline(context, name, derivative, units)
        with errors_at(place_of_derivative(context.manifest, name)):
            sessions |= _choose_in(pipeline)
    return sessions


def _choose_in(pipeline: Pipeline) -> set[str]:
    """Choose files in a pipeline; return their sessions."""
    context, name, derivative, units = pipeline
    listings = pipeline.listings()
    if not listings:
        context.report.add_errors(pipeline.missing(("derivatives", name)))
        return set()
    before = len(context.record.choices)
    chosen = choose_files(context, listings, units, pipeline)
    findings = chosen.findings
    if context.manifest.derivatives == "all" and [*findings.errors(())]:
        message = f"{_NO_FILES.format(name)} and is left out"
        context.report.warn(Problem(message=message, at=("derivatives",)))
        del context.record.choices[before:]
        return set()
    chosen.add_root()
    _check_findings(context, name, derivative, findings)
    if derivative.scope != "whole":
        at = ("derivatives", name)
        context.report.add_omissions(find_without_files(units, findings, at))
    return findings.sessions


def _wanted(context: Context, units: Sequence[str]) -> list[tuple[str, Derivative]]:
    from bidsplan.manifest import Derivative  # keeps pydantic out of the imports

    wanted = context.manifest.derivatives
    if wanted != "all":
        return sorted(wanted.items())
    if context.manifest.study.layout != "pipeline-first":
        return [(name, Derivative()) for name in subject_pipelines(context, units)]
    found, others = pipelines(context.study, context.lister)
    for name in others:
        problem = Problem(
            message=f"derivatives/{name} has no subject directories and is left out",
            at=("derivatives",),
            hint="name it with 'scope: whole' to select its whole directory",
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
            message=_NO_FILES.format(name),
            at=("derivatives", name),
            hint="write 'scope: whole' to select the pipeline's whole directory",
            help_code=HelpCode.DERIVATIVE,
        )
        errors = [problem]
    context.report.add_errors(*errors)
    context.report.warn(*findings.warnings(place))
