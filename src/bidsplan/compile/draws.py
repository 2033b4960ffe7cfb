"""Draws the random sample of subjects, and counts its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.context import DrawnGroup, Dropped
from bidsplan.compile.select.predicates import MISSING
from bidsplan.compile.select.subjects import Group, draw, site_of
from bidsplan.errors import Problem
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.compile.cohort import Cohort
    from bidsplan.compile.context import Context
    from bidsplan.manifest import Sample, Subjects


def draw_sample(
    context: Context, cohort: Cohort | None, units: list[str], known: Iterable[str]
) -> list[str]:
    """Draw the manifest's sample, and record its groups; raise errors if that is impossible.

    `known` has all units of the study that the manifest may select by name.
    """
    manifest, report, record = context.manifest, context.report, context.record
    sample = manifest.subjects.sample
    if sample is None:
        return units
    if cohort is not None:
        report.add_errors(*_missing_columns(sample, cohort), help_code=HelpCode.TABLE)
        report.raise_errors()

    def value_of(unit: str, column: str) -> str:
        return site_of(unit) if column == "site" or cohort is None else cohort.cell(unit, column)

    drawn, groups = draw(units, sample, manifest.random_seed or 0, value_of)
    columns = [*sample.per, *sample.stratify_by]
    found = [_shown(group, columns, cohort) for group in groups]
    if short := [group for group in found if group.drawn > group.of]:
        undrawn = Dropped("the random sample can't be drawn", ("subjects", "sample"))
        record.drop(units, (), undrawn)
        record.units = []
        rules = "include, exclude and where"
        if manifest.subjects.require:
            rules = "include, exclude, where and require"
        report.add_errors(*(_too_few(group, rules) for group in short), help_code=HelpCode.SAMPLE)
        report.raise_errors()
    record.drawn = tuple(found)
    if sample.per:
        wanted = _in_wanted_groups(manifest.subjects, cohort, known)
        lost = {tuple(value_of(unit, name) for name in sample.per) for unit in wanted}
        lost -= {group.values[: len(sample.per)] for group in groups}
        empty = [Group(values, 0, 0) for values in sorted(lost) if MISSING not in values]
        report.warn(*(_nobody_left(_shown(group, columns, cohort)) for group in empty))
    return drawn


def _in_wanted_groups(
    subjects: Subjects, cohort: Cohort | None, known: Iterable[str]
) -> Iterable[str]:
    """Return the units that the predicates on the columns of ``per`` keep."""
    per = subjects.sample.per if subjects.sample else ()
    where = {name: subjects.where[name] for name in per if name in subjects.where}
    if cohort is None or not where:
        return known
    conditions = cohort.conditions(where)
    return (unit for unit in known if cohort.matches(unit, conditions))


def _missing_columns(sample: Sample, cohort: Cohort) -> Iterator[Problem]:
    """Report columns of the sample that no table has."""
    for field, columns in (("per", sample.per), ("stratify_by", sample.stratify_by)):
        named = [name for name in columns if name != "site"]
        yield from cohort.missing_columns(named, ("subjects", "sample", field))


def _shown(group: Group, columns: list[str], cohort: Cohort | None) -> DrawnGroup:
    """Name a group's values, if messages may quote them."""
    values = {
        column: value if column == "site" or cohort is None else cohort.shown_value(column, value)
        for column, value in zip(columns, group.values, strict=False)
    }
    return DrawnGroup(group=values, drawn=group.drawn, of=group.of)


def _too_few(short: DrawnGroup, rules: str) -> Problem:
    """Report a group with fewer subjects than are to be drawn; `rules` left out the others."""
    message = f"{short.drawn} subjects are to be sampled of {short.of}{_named(short)}"
    hint = f"sample fewer, or select more by {rules}"
    if any(name != "site" for name in short.group):
        hint = f"sample fewer, select more by {rules}, or leave this group out"
    for name, value in short.group.items():
        if value == MISSING and name != "site":
            hint += f": 'where: {{{printable(name)}: {{not: {MISSING}}}}}'"
            break
    return Problem(message=message, at=("subjects", "sample", "count"), hint=hint)


def _nobody_left(lost: DrawnGroup) -> Problem:
    """Report a group without a subject that may be drawn."""
    return Problem(
        message=f"no subject{_named(lost)} is left to sample from",
        at=("subjects", "sample", "per"),
        hint="select more by exclude, where and require, or leave this group out",
    )


def _named(group: DrawnGroup) -> str:
    """Name a group after a noun."""
    where = [f"{name} {_value(value)}" for name, value in group.group.items() if name != "site"]
    site = group.group.get("site")
    text = f" at {site}" if site else ""
    return f"{text} with {' and '.join(map(printable, where))}" if where else text


def _value(value: str | None) -> str:
    return "(not shown)" if value is None else repr(value)
