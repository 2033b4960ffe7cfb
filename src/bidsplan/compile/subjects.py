"""Which subjects of the study are selected: from, where, include, exclude, require, sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.cohort import Cohort, needs_table, read_tables, strata_columns
from bidsplan.compile.select.subjects import draw, excluded, included, label_of, site_of
from bidsplan.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bidsplan.compile.context import Context
    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.compile.survey.study import Located


_MOST_TOLD = 100
"""Participants without a directory that are told one by one."""


def choose_units(
    context: Context,
    raw: Located,
    base: Path,
    require: Callable[[Context, Located, list[str]], list[str]],
) -> list[str]:
    """Choose the study's subjects.

    Parameters
    ----------
    raw : list of (Dataset, Survey)
        The study's own datasets.
    base : Path
        The manifest's directory.
    require : callable
        Keeps the units that have the files that the manifest requires.

    Returns
    -------
    list of str
        Labels, or ``site/label`` where the manifest lists sites; sorted.

    Raises
    ------
    SelectionError
        Where a named subject or column is not there, too many are to be drawn, or none is left.
    """
    manifest, report = context.manifest, context.report
    tree = {dataset.unit(label) for dataset, survey in raw for label in survey.subjects}
    cohort = read_tables(context, raw, base) if needs_table(manifest) else None
    report.raise_errors()
    units, absent = _from_and_where(context, cohort, tree)
    if manifest.subjects.include is not None or manifest.subjects.exclude:
        shown = cohort.shown(absent) if cohort else []
        units = _named(context, units, [*tree, *absent], [*tree, *shown])
    report.raise_errors()
    if manifest.subjects.require:
        units = require(context, raw, units)
    drawn = _sample(context, cohort, units)
    context.record.drop(units, drawn, lambda _: "it was not drawn")
    units = drawn
    if not units:
        report.add_errors([Problem(message="no subject is left to select", at=("subjects",))])
    report.raise_errors()
    return units


def _named(context: Context, units: list[str], known: list[str], shown: list[str]) -> list[str]:
    """Apply include and exclude."""
    subjects, record = context.manifest.subjects, context.record
    kept, missing = included(units, known, subjects, shown)
    record.drop(units, kept, lambda _: "subjects.include does not name it")
    _tell_missing(context, missing)
    left, unknown = excluded(kept, known, subjects, shown)
    record.drop(kept, left, lambda _: "subjects.exclude names it")
    context.report.warn(unknown)
    return left


def _tell_missing(context: Context, problems: Iterable[Problem]) -> None:
    report = context.report
    (report.warn if context.manifest.subjects.missing == "skip" else report.add_errors)(problems)


def _from_and_where(
    context: Context, cohort: Cohort | None, tree: set[str]
) -> tuple[list[str], set[str]]:
    """Give the units to start from, and those that only the table has."""
    subjects = context.manifest.subjects
    if cohort is None:
        return sorted(tree), set()
    listed, absent = cohort.listed(tree)
    units = tree if subjects.from_ == "tree" else tree & listed
    context.record.drop(tree, units, lambda _: "it has no row in the table")
    unseen: set[str] = set() if cohort.shared else absent
    context.record.drop(cohort.shown(unseen), (), lambda _: "it has no directory in the study")
    if subjects.from_ == "participants":
        _tell_missing(context, _absent(cohort, absent))
    if subjects.where:
        where = cohort.conditions(subjects.where)
        context.report.add_errors(cohort.problems(where))
        context.report.raise_errors()
        context.report.warn(cohort.warnings(where))
        kept = {unit for unit in units if cohort.matches(unit, where)}
        context.record.drop(units, kept, lambda unit: cohort.mismatch(unit, where))
        units = kept
    return sorted(units), unseen


def _absent(cohort: Cohort, absent: set[str]) -> list[Problem]:
    shown = sorted(cohort.shown(absent))[:_MOST_TOLD]
    messages = [f"the participant {unit!r} has no directory in the study" for unit in shown]
    more = len(absent) - len(shown)
    if more:
        others = "other " if shown else ""
        verb = "participant has" if more == 1 else "participants have"
        messages.append(f"{more:,} {others}{verb} no directory in the study")
    hint = "say 'missing: skip' to go on without"
    return [Problem(message=text, at=("subjects", "from"), hint=hint) for text in messages]


def _sample(context: Context, cohort: Cohort | None, units: list[str]) -> list[str]:
    manifest = context.manifest
    sample = manifest.subjects.sample
    if sample is None:
        return units
    if cohort is not None:
        context.report.add_errors(
            cohort.no_column(column, ("subjects", "sample", "stratify_by"))
            for column in strata_columns(manifest)
            if not cohort.has_column(column)
        )
        context.report.raise_errors()

    def stratum(unit: str) -> str:
        return cohort.stratum(unit, sample.stratify_by) if cohort else site_of(unit)

    drawn, short = draw(units, sample, manifest.random_seed or 0, stratum)
    context.report.add_errors(short)
    context.report.raise_errors()
    return drawn


def labels_in(dataset: Dataset, units: Iterable[str]) -> dict[str, str]:
    """Pick the units that a dataset may hold.

    Parameters
    ----------
    dataset : Dataset
        One that belongs to no site may hold those of every site.

    Returns
    -------
    dict of str to str
        A unit for each label; of two sites' equal labels the last.
    """
    return {
        label_of(unit): unit
        for unit in units
        if dataset.site is None or site_of(unit) == dataset.site
    }
