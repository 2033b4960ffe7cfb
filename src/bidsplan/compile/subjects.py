"""Selects the study's subjects, by all rules of the manifest in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.bids.data_files import Holdings
from bidsplan.compile import table_omissions
from bidsplan.compile.cohort import NO_ROW, group_columns, read_tables
from bidsplan.compile.context import Dropped
from bidsplan.compile.draws import draw_sample
from bidsplan.compile.layouts import Pipeline, batches, labels_in, list_subjects, units_of
from bidsplan.compile.omissions import OmissionKind
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings
from bidsplan.compile.select.subjects import (
    NameChoice,
    find_mistakes,
    match_labels,
    named_label,
    report_missing,
)
from bidsplan.compile.survey.participants import parse_labels
from bidsplan.compile.survey.sources import errors_at
from bidsplan.compile.survey.study import place_of_derivative
from bidsplan.errors import Problem, dotted
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.cohort import Cohort
    from bidsplan.compile.context import Context
    from bidsplan.errors import Place
    from bidsplan.manifest import Requirement


def choose_subjects(context: Context) -> list[str]:
    """Choose the study's subjects, as sorted labels or ``site/label``.

    Raises SelectionError if a named subject or column does not exist, if the sample is larger than
    the number of subjects, or if no subject is left.
    """
    subjects, report = context.manifest.subjects, context.report
    tree = {dataset.unit(label) for dataset, at_root in context.study for label in at_root.subjects}
    needed = subjects.from_ != "tree" or subjects.where or group_columns(context.manifest)
    cohort = read_tables(context) if needed else None
    report.raise_errors()
    units, absent = _from_and_where(context, cohort, tree)
    by_name = _names(context, cohort, tree, absent)
    included = [unit for unit in units if by_name.includes(unit)]
    unnamed = Dropped("subjects.include does not name it", ("subjects", "include"))
    context.record.drop(units, included, unnamed)
    units = [unit for unit in included if by_name.keeps(unit)]
    named = Dropped("subjects.exclude names it", ("subjects", "exclude"))
    context.record.drop(included, units, named)
    context.record.units = units
    if cohort and (subjects.from_ != "tree" or subjects.where):
        _report_omissions(context, cohort, tree, by_name)
    report.raise_errors()
    if subjects.require:
        units = _require(context, units)
    drawn = draw_sample(context, cohort, units, filter(by_name.includes, tree))
    not_drawn = Dropped("it is not in the random sample", ("subjects", "sample"))
    context.record.drop(units, drawn, not_drawn)
    if not drawn:
        nobody = Problem(message="no subject is left to select", at=("subjects",))
        problems = (nobody, *(omission.problem for omission in report.omissions))
        report.add_errors(*problems, help_code=HelpCode.SUBJECT_MISSING)
    report.raise_errors()
    context.record.units, context.record.decided = drawn, True
    return drawn


def _names(context: Context, cohort: Cohort | None, tree: set[str], absent: set[str]) -> NameChoice:
    """Find the labels to include and to exclude; report unknown names."""
    subjects = context.manifest.subjects
    known = [*tree, *absent]
    included = None if subjects.include is None else _named(context, cohort, "include", known, tree)
    excluded = _named(context, cohort, "exclude", known, tree) if subjects.exclude else set()
    return NameChoice(included, excluded)


def _named(
    context: Context, cohort: Cohort | None, field: str, known: list[str], tree: set[str]
) -> set[str]:
    """Find the labels that a field, or the file in it, names."""
    report, subjects = context.report, context.manifest.subjects
    wanted = getattr(subjects, field)
    file: str | None = getattr(wanted, "file", None)
    if file is not None:
        wanted, problems = parse_labels(context.read_beside(file, field), file)
        located = (replace(problem, at=("subjects", field)) for problem in problems)
        report.add_errors(*located, help_code=HelpCode.TABLE)
    named, missing = match_labels(wanted, known)
    absent = set(known) - tree
    shown = cohort.shown(absent) if cohort else []
    units, wrong = [*tree, *shown], missing
    if field == "exclude":
        # Lists of exclusions are often shared by studies, so labels may be those of another study.
        units = [unit for unit in units if named_label(unit) not in named]
        wrong = find_mistakes(missing, units)
    if subjects.missing == "skip":
        wrong = {}
    others = {number: text for number, text in missing.items() if number not in wrong}
    errors = report_missing(wrong, units, field, file)
    report.add_errors(*errors, help_code=HelpCode.SUBJECT_MISSING)
    report.warn(*report_missing(others, units, field, file))
    return named


def _report_omissions(
    context: Context, cohort: Cohort, tree: set[str], by_name: NameChoice
) -> None:
    """Report the subjects that are in only one of directories and table."""
    subjects, record, report = context.manifest.subjects, context.record, context.report
    strict = subjects.from_ == "participants" and subjects.missing == "error"
    for omission in table_omissions.find_table_omissions(subjects, cohort, tree, by_name):
        if strict and omission.kind is not OmissionKind.NO_ROW:
            report.add_errors(omission.problem, help_code=HelpCode.SUBJECT_MISSING)
        else:
            report.add_omissions([omission])
        if omission.kind is OmissionKind.SPELLING:
            for unit in omission.subjects:
                why = f"{NO_ROW.why}, but for another spelling of its label"
                record.dropped[unit] = Dropped(why, NO_ROW.at)
    dropped = [unit for unit in record.dropped if unit in tree and by_name.keeps(unit)]
    report.add_omissions(table_omissions.find_not_comparable(subjects, cohort, dropped))


def _from_and_where(
    context: Context, cohort: Cohort | None, tree: set[str]
) -> tuple[list[str], set[str]]:
    """Return the units to start from, and those only in the table."""
    subjects, record = context.manifest.subjects, context.record
    if cohort is None:
        return sorted(tree), set()
    listed, absent = cohort.listed(tree)
    units = tree if subjects.from_ == "tree" else tree & listed
    record.drop(tree, units, NO_ROW)
    unseen: set[str] = set() if cohort.shared else absent
    no_directory = Dropped("it has no directory in the study", ("subjects", "from"))
    record.drop(cohort.shown(unseen), (), no_directory)
    if subjects.where:
        where = cohort.conditions(subjects.where)
        context.report.add_errors(*cohort.problems(where), help_code=HelpCode.TABLE)
        context.report.raise_errors()
        context.report.warn(*cohort.warnings(where))
        kept = {unit for unit in units if cohort.matches(unit, where)}
        record.drop(units, kept, lambda unit: cohort.mismatch(unit, where))
        units = kept
    return sorted(units), unseen


def _require(context: Context, units: list[str]) -> list[str]:
    """Keep the units that have a file for each requirement."""
    for number, requirement in enumerate(context.manifest.subjects.require):
        place: Place = ("subjects", "require", number)
        with errors_at(place_of_derivative(context.manifest, requirement.derivative)):
            having, touched = _having(context, units, requirement, place)
        kept = [unit for unit in units if unit in having]
        lacking = Dropped(f"it has no file for {dotted(place)}", place)
        described = Dropped(f"it has only metadata, and no data file, for {dotted(place)}", place)
        context.record.drop(units, {*kept, *touched}, lacking)
        context.record.drop(touched, kept, described)
        units = context.record.units = kept
    context.report.raise_errors()
    return units


def _having(
    context: Context, units: Sequence[str], requirement: Requirement, place: Place
) -> tuple[set[str], set[str]]:
    """Find the units with data, and with any file, for a requirement; report if there are none."""
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
            return set(), set()
    having: set[str] = set()
    touched: set[str] = set()
    findings = Findings((requirement.filter,))
    for dataset, _, directories in listings:
        request = Request(
            filters=(requirement.filter,),
            subjects=frozenset(labels_in(dataset, units)),
            sessions=context.manifest.sessions,
            derivative=dataset.derivative,
            companions=Companions.model_validate("none"),
            dataset_files="none",
        )
        held: Holdings[str] = Holdings()
        for files in batches(directories):
            found = FileSelection(files, (), request)
            findings.merge(found.findings)
            held.merge(found.held)
        having |= units_of(dataset, units, set(held.data()))
        touched |= units_of(dataset, units, set(held.all()))
    if units:
        errors = [*findings.errors(place)]
        context.report.add_errors(*errors)
        if not (errors or having):
            context.report.add_errors(_only_metadata(place))
    return having, touched


def _only_metadata(place: Place) -> Problem:
    return Problem(
        message="this filter matches only metadata, such as sidecars, and no data file",
        at=place,
        hint="to ask for metadata, name it: 'extensions: [.json]' or 'suffixes: [events]'",
    )
