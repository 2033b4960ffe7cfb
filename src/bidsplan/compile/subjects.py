"""Which subjects of the study are selected: from, where, include, exclude, require, sample."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bidsplan.compile.cohort import read_tables, strata_columns
from bidsplan.compile.layouts import Pipeline, labels_in, list_subjects
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings
from bidsplan.compile.select.subjects import draw, excluded, included, site_of
from bidsplan.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.compile.cohort import Cohort
    from bidsplan.compile.context import Context
    from bidsplan.errors import Place
    from bidsplan.manifest import Requirement


_MOST_REPORTED = 100
"""Participants without a directory that are reported one by one."""


def choose_subjects(context: Context) -> list[str]:
    """Choose the study's subjects: sorted labels, or ``site/label`` where there are sites.

    Raises SelectionError where a named subject or column does not exist, where too many are to be
    drawn, or where none is left.
    """
    subjects, report = context.manifest.subjects, context.report
    tree = {dataset.unit(label) for dataset, at_root in context.study for label in at_root.subjects}
    needed = subjects.from_ != "tree" or subjects.where or strata_columns(context.manifest)
    cohort = read_tables(context) if needed else None
    report.raise_errors()
    units, absent = _from_and_where(context, cohort, tree)
    if subjects.include is not None or subjects.exclude:
        shown = cohort.shown(absent) if cohort else []
        units = _include_and_exclude(context, units, [*tree, *absent], [*tree, *shown])
    report.raise_errors()
    if subjects.require:
        units = _require(context, units)
    drawn = _sample(context, cohort, units)
    context.record.drop(units, drawn, "it is not in the random sample")
    if not drawn:
        report.add_errors(Problem(message="no subject is left to select", at=("subjects",)))
    report.raise_errors()
    return drawn


def _include_and_exclude(
    context: Context, units: list[str], known: list[str], shown: list[str]
) -> list[str]:
    subjects, record = context.manifest.subjects, context.record
    kept, missing = included(units, known, subjects, shown)
    record.drop(units, kept, "subjects.include does not name it")
    _report_missing(context, missing)
    left, unknown = excluded(kept, known, subjects, shown)
    record.drop(kept, left, "subjects.exclude names it")
    context.report.warn(*unknown)
    return left


def _report_missing(context: Context, problems: Iterable[Problem]) -> None:
    report = context.report
    (report.warn if context.manifest.subjects.missing == "skip" else report.add_errors)(*problems)


def _from_and_where(
    context: Context, cohort: Cohort | None, tree: set[str]
) -> tuple[list[str], set[str]]:
    """Return the units to start from, and those that only the table has."""
    subjects, record = context.manifest.subjects, context.record
    if cohort is None:
        return sorted(tree), set()
    listed, absent = cohort.listed(tree)
    units = tree if subjects.from_ == "tree" else tree & listed
    record.drop(tree, units, "it has no row in the table")
    unseen: set[str] = set() if cohort.shared else absent
    record.drop(cohort.shown(unseen), (), "it has no directory in the study")
    if subjects.from_ == "participants":
        _report_missing(context, _without_directory(cohort, absent))
    if subjects.where:
        where = cohort.conditions(subjects.where)
        context.report.add_errors(*cohort.problems(where))
        context.report.raise_errors()
        context.report.warn(*cohort.warnings(where))
        kept = {unit for unit in units if cohort.matches(unit, where)}
        record.drop(units, kept, lambda unit: cohort.mismatch(unit, where))
        units = kept
    return sorted(units), unseen


def _without_directory(cohort: Cohort, absent: set[str]) -> list[Problem]:
    shown = sorted(cohort.shown(absent))[:_MOST_REPORTED]
    messages = [f"the participant {unit!r} has no directory in the study" for unit in shown]
    more = len(absent) - len(shown)
    if more:
        others = "other " if shown else ""
        verb = "participant has" if more == 1 else "participants have"
        messages.append(f"{more:,} {others}{verb} no directory in the study")
    hint = "write 'missing: skip' to continue without"
    return [Problem(message=text, at=("subjects", "from"), hint=hint) for text in messages]


def _require(context: Context, units: list[str]) -> list[str]:
    """Keep the units that have a file for each requirement, within the selected sessions."""
    for number, requirement in enumerate(context.manifest.subjects.require):
        having = _having(context, units, requirement, ("subjects", "require", number))
        kept = [unit for unit in units if unit in having]
        context.record.drop(units, kept, f"it has no file for subjects.require[{number}]")
        units = kept
    context.report.raise_errors()
    return units


def _having(
    context: Context, units: Sequence[str], requirement: Requirement, place: Place
) -> set[str]:
    """Find the units that have a file for one requirement; report it where none has."""
    from bidsplan.manifest import Companions, Derivative  # imports pydantic

    wanted, name = context.manifest.derivatives, requirement.derivative
    if name is None:
        listings = list_subjects(context, context.study, units)
    else:
        derivative = Derivative() if wanted == "all" else wanted.get(name, Derivative())
        pipeline = Pipeline(context, name, derivative, units)
        listings = pipeline.listings()
        if units and not listings:
            context.report.add_errors(pipeline.missing((*place, "derivative")))
            return set()
    having: set[str] = set()
    findings = Findings((requirement.filter,))
    for dataset, _, below in listings:
        labels = labels_in(dataset, units)
        request = Request(
            filters=(requirement.filter,),
            subjects=frozenset(labels),
            sessions=context.manifest.sessions,
            derivative=name is not None,
            companions=Companions.model_validate("none"),
            dataset_files="none",
        )
        found = FileSelection(below, (), request)
        findings.merge(found.findings)
        having.update(labels[label] for label in found.subjects)
    if units:
        context.report.add_errors(*findings.errors(place))
    return having


def _sample(context: Context, cohort: Cohort | None, units: list[str]) -> list[str]:
    manifest, report = context.manifest, context.report
    sample = manifest.subjects.sample
    if sample is None:
        return units
    if cohort is not None:
        place = ("subjects", "sample", "stratify_by")
        report.add_errors(*cohort.missing_columns(strata_columns(manifest), place))
        report.raise_errors()
    stratum = partial(cohort.stratum, columns=sample.stratify_by) if cohort else site_of
    drawn, short = draw(units, sample, manifest.random_seed or 0, stratum)
    report.add_errors(*short)
    report.raise_errors()
    return drawn
