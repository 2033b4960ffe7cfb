"""Draws the random sample of subjects, and counts its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.context import DrawnGroup, Dropped
from bidsplan.compile.select.predicates import MISSING
from bidsplan.compile.select.subjects import draw, site_of
from bidsplan.errors import Problem
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.compile.cohort import Cohort
    from bidsplan.compile.context import Context
    from bidsplan.compile.select.subjects import Group
    from bidsplan.manifest import Sample


def draw_sample(context: Context, cohort: Cohort | None, units: list[str]) -> list[str]:
    """Draw the manifest's sample, and record its groups; raise errors if that is impossible."""
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
        report.add_errors(*map(_too_few, short), help_code=HelpCode.SAMPLE)
        report.raise_errors()
    record.drawn = tuple(found)
    return drawn


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


def _too_few(short: DrawnGroup) -> Problem:
    """Report a group with fewer subjects than are to be drawn."""
    message = f"{short.drawn} subjects are to be sampled of {short.of}"
    hint = "sample fewer, or select more by include, exclude and where"
    where = [f"{name} {_value(value)}" for name, value in short.group.items() if name != "site"]
    if site := short.group.get("site"):
        message += f" at {site}"
    if where:
        message += f" with {' and '.join(map(printable, where))}"
        hint = "sample fewer, select more by include, exclude and where, or leave this group out"
    for name, value in short.group.items():
        if value == MISSING and name != "site":
            hint += f": 'where: {{{printable(name)}: {{not: {MISSING}}}}}'"
            break
    return Problem(message=message, at=("subjects", "sample", "count"), hint=hint)


def _value(value: str | None) -> str:
    return "(not shown)" if value is None else repr(value)
