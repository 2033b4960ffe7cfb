"""The table of participants that a manifest chooses subjects by, for each of its datasets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bidsplan.compile.companions import read_small
from bidsplan.compile.select.predicates import (
    ID_COLUMNS,
    MISSING,
    Condition,
    Values,
    is_missing,
    row_matches,
)
from bidsplan.compile.select.subjects import label_of, site_of
from bidsplan.compile.survey.participants import LARGEST_TABLE, Table, parse_table, read_cohort
from bidsplan.errors import Problem
from bidsplan.messages import (
    Hints,
    is_quotable,
    is_quotable_label,
    names_a_secret,
    quotable,
    quoted,
    suggestion,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bidsplan.compile.context import Context
    from bidsplan.compile.survey.datasets import Dataset, RootListing
    from bidsplan.compile.survey.study import Located
    from bidsplan.manifest import Manifest, Predicate


_PLACE = ("subjects", "table")
_MOST_VALUES = 20_000
"""Different values that a column may have for a hint to name any."""

_DOUBT = "it does not look like a table of participants, so its content is not shown"


def needs_table(manifest: Manifest) -> bool:
    """Tell whether a manifest's choice of subjects needs a table at all."""
    subjects = manifest.subjects
    return bool(subjects.from_ != "tree" or subjects.where or strata_columns(manifest))


def strata_columns(manifest: Manifest) -> tuple[str, ...]:
    """List the columns that the sample is stratified by, ``site`` included."""
    sample = manifest.subjects.sample
    return tuple(name for name in sample.stratify_by if name != "site") if sample else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """What tables say of the study's subjects.

    Parameters
    ----------
    tables : mapping of str to Table
        By site; under the empty string where there are no sites, or one table for all of them.
    shared : bool
        Whether one table is for all sites.
    """

    tables: Mapping[str, Table]
    shared: bool

    def table(self, unit: str) -> Table | None:
        """Give the table that a unit's rows are in."""
        return self.tables.get("" if self.shared else site_of(unit))

    def rows(self, unit: str) -> tuple[Mapping[str, str], ...]:
        """Give a unit's rows."""
        table = self.table(unit)
        return table.rows.get(label_of(unit), ()) if table else ()

    def conditions(self, where: Mapping[str, Predicate]) -> dict[str, Condition]:
        """Make what is asked of columns ready to be asked of many rows."""
        return {
            column: Condition(predicate, ids=self._names_participants(column))
            for column, predicate in where.items()
        }

    def _names_participants(self, column: str) -> bool:
        return column in {*ID_COLUMNS, *(table.id_column for table in self.tables.values())}

    def matches(self, unit: str, where: Mapping[str, Condition]) -> bool:
        """Tell whether any of a unit's rows has all that is asked."""
        return any(row_matches(row, where) for row in self.rows(unit))

    def mismatch(self, unit: str, where: Mapping[str, Condition]) -> str:
        """Say why none of a unit's rows has all that is asked, by its first row."""
        row = next(iter(self.rows(unit)), None)
        if row is None:
            return "it has no row in the table"
        for column, condition in where.items():
            value = row.get(column, "")
            if not condition.holds(value):
                shown = value if self._shows(column) else ""
                has = quoted(shown, "another value") if value else repr(MISSING)
                return f"subjects.where.{column} is not met: it has {has}"
        return "none of its rows has all of what subjects.where asks"

    def stratum(self, unit: str, columns: tuple[str, ...]) -> str:
        """Name a unit's stratum by columns, of which ``site`` is where it is from."""
        table = self.table(unit)
        parts = [
            site_of(unit)
            if column == "site"
            else (table.stratum(label_of(unit), [column]) if table else "n/a")
            for column in columns
        ]
        return "/".join(parts)

    def listed(self, tree: set[str]) -> tuple[set[str], set[str]]:
        """Compare the tables' participants with the tree's subjects.

        Parameters
        ----------
        tree : set of str
            Units that have a directory.

        Returns
        -------
        listed : set of str
            Units that have a row.
        absent : set of str
            Those, by unit or by label, that have no directory.
        """
        if self.shared:
            labels = set(self.tables[""].rows)
            there = {unit for unit in tree if label_of(unit) in labels}
            return there, labels - {label_of(unit) for unit in there}
        units = {
            f"{site}/{label}" if site else label
            for site, table in self.tables.items()
            for label in table.rows
        }
        return units, units - tree

    def problems(self, where: Mapping[str, Condition]) -> Iterator[Problem]:
        """Tell the columns that no table has, and the predicates that no row fulfils."""
        for column, condition in where.items():
            place = ("subjects", "where", column)
            if not self.has_column(column):
                yield self.no_column(column, place)
                continue
            if not any(map(condition.holds, self._values(column))):
                predicate = condition.predicate
                wanted = (predicate.any_of or predicate.not_ or ("",))[0]
                yield Problem(
                    message=f"no participant has the {column!r} that is asked for",
                    at=place,
                    hint=suggestion(wanted, self._shown_values(column)),
                )

    def warnings(self, where: Mapping[str, Condition]) -> Iterator[Problem]:
        """Tell the single values that no row has."""
        for column, condition in where.items():
            wanted = condition.predicate.any_of or ()
            there = Values(wanted, ids=self._names_participants(column)).of(self._values(column))
            missing = [(n, value) for n, value in enumerate(wanted) if value not in there]
            hint = Hints(self._shown_values(column) if missing else ())
            for number, value in missing:
                yield Problem(
                    message=f"no participant has the {column} {value!r}",
                    at=("subjects", "where", column, number),
                    hint=hint(value),
                )

    def has_column(self, column: str) -> bool:
        """Tell whether any table has a column."""
        return any(column in table.columns for table in self.tables.values())

    def no_column(self, column: str, place: tuple[str | int, ...]) -> Problem:
        """Say that no table has a column."""
        plausible = (table for table in self.tables.values() if table.plausible)
        known = quotable(name for table in plausible for name in table.columns)
        return Problem(
            message=f"the table has no column {column!r}",
            at=place,
            hint=suggestion(column, known) or _DOUBT,
        )

    def shown(self, units: Iterable[str]) -> list[str]:
        """Keep the units that messages may name, of those that only tables name."""
        plausible = {site for site, table in self.tables.items() if table.plausible}
        return [
            unit
            for unit in units
            if ("" if self.shared else site_of(unit)) in plausible
            and is_quotable_label(label_of(unit))
        ]

    def _shows(self, column: str) -> bool:
        """Tell whether messages may quote values of a column."""
        plausible = all(table.plausible for table in self.tables.values())
        return plausible and not names_a_secret(column)

    def _values(self, column: str) -> Iterator[str]:
        for table in self.tables.values():
            yield from table.values(column)

    def _shown_values(self, column: str) -> set[str]:
        """Give a column's values that messages may quote, unless there are too many to choose."""
        shown: set[str] = set()
        for value in self._values(column) if self._shows(column) else ():
            if value not in shown and not is_missing(value) and is_quotable(value):
                shown.add(value)
                if len(shown) > _MOST_VALUES:
                    return set()
        return shown


def read_tables(context: Context, raw: Located, base: Path) -> Cohort | None:
    """Read the table that a manifest chooses by.

    Parameters
    ----------
    base : Path
        The manifest's directory.

    Returns
    -------
    Cohort or None
        None where it can't be used; the report says why.
    """
    wanted = context.manifest.subjects.table
    if not isinstance(wanted, str):
        data = read_cohort(wanted.file, base, untrusted=context.untrusted)
        columns = _columns(context.manifest)
        table, problems = parse_table(
            data, wanted.file, id_column=wanted.id_column, columns=columns
        )
        _blame(context, problems)
        return Cohort(tables={"": _doubted(table, raw)}, shared=True) if table else None
    tables: dict[str, Table] = {}
    for dataset, survey in raw:
        table, problems = _read_table(context, dataset, survey, wanted)
        _blame(context, problems)
        if table:
            tables[dataset.site or ""] = table
    return Cohort(tables=tables, shared=False) if tables else None


def _doubted(table: Table, raw: Located) -> Table:
    """Take a table for one of participants only where anything shows that it is one.

    Its column of ids is what the manifest says, so it may be the first line of any file.
    """
    known = table.id_column in ID_COLUMNS or any(
        label in table.rows for _, survey in raw for label in survey.subjects
    )
    return table if known else replace(table, plausible=False)


def _read_table(
    context: Context, dataset: Dataset, survey: RootListing, path: str
) -> tuple[Table | None, list[Problem]]:
    files = dict(survey.files)
    directory = path.rpartition("/")[0]
    if directory:
        [below] = context.lister.directories([(dataset, directory)])
        files.update(below)
    if path not in files:
        hint = suggestion(path, [name for name in files if name.endswith((".tsv", ".csv"))])
        return None, [Problem(message=f"{dataset.where} has no table {path!r}", hint=hint)]
    data = read_small(dataset.store, files[path], LARGEST_TABLE)
    return parse_table(data, path, columns=_columns(context.manifest))


def _columns(manifest: Manifest) -> set[str]:
    """Give the columns whose cells the choice of subjects needs."""
    return {*manifest.subjects.where, *strata_columns(manifest)}


def _blame(context: Context, problems: list[Problem]) -> None:
    context.report.add_errors(
        Problem(message=problem.message, at=_PLACE, hint=problem.hint) for problem in problems
    )
