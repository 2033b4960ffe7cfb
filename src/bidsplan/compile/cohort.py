"""The tables of participants by which a manifest chooses subjects."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bidsplan import messages
from bidsplan.compile.context import Dropped
from bidsplan.compile.select import predicates
from bidsplan.compile.select.subjects import label_of, named_label, site_of
from bidsplan.compile.survey.participants import LARGEST_TABLE, parse_table
from bidsplan.compile.survey.small_files import legacy_problem, read_small
from bidsplan.errors import Problem
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.compile.context import Context
    from bidsplan.compile.select.predicates import Condition
    from bidsplan.compile.survey.datasets import Dataset, RootListing
    from bidsplan.compile.survey.participants import Table
    from bidsplan.errors import Place
    from bidsplan.manifest import Manifest, Predicate


_MOST_VALUES = 20_000
"""The most different values of a column for which a hint names some."""

NO_ROW = Dropped("it has no row in the table", ("subjects", "table"))

_DOUBT = "it does not look like a table of participants, so its content is not shown"


def group_columns(manifest: Manifest) -> tuple[str, ...]:
    """List the table's columns that the sample is drawn by."""
    sample = manifest.subjects.sample
    names = (*sample.per, *sample.stratify_by) if sample else ()
    return tuple(name for name in names if name != "site")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """The tables' data about the study's subjects.

    Parameters
    ----------
    tables : mapping of str to Table
        The tables by site. The key is the empty string without sites, or if all sites share one
        table.
    shared : bool
        Whether all sites share one table.
    """

    tables: Mapping[str, Table]
    shared: bool

    def _table(self, unit: str) -> Table | None:
        return self.tables.get("" if self.shared else site_of(unit))

    def _rows(self, unit: str) -> tuple[Mapping[str, str], ...]:
        table = self._table(unit)
        return table.rows.get(named_label(unit), ()) if table else ()

    def conditions(self, where: Mapping[str, Predicate]) -> dict[str, Condition]:
        """Compile predicates on columns, to evaluate them for many rows."""
        return {
            column: predicates.Condition(predicate, ids=self._names_participants(column))
            for column, predicate in where.items()
        }

    def _names_participants(self, column: str) -> bool:
        known = {*predicates.ID_COLUMNS, *(table.id_column for table in self.tables.values())}
        return column in known

    def matches(self, unit: str, where: Mapping[str, Condition]) -> bool:
        """Report whether any of a unit's rows fulfils all conditions."""
        return any(predicates.row_matches(row, where) for row in self._rows(unit))

    def mismatch(self, unit: str, where: Mapping[str, Condition]) -> Dropped:
        """Explain why none of a unit's rows fulfils all conditions."""
        row = next(iter(self._rows(unit)), None)
        if row is None:
            return NO_ROW
        for column, condition in where.items():
            value = row.get(column, "")
            if not (held := condition.holds(value)):
                has = self.quoted(column, value) or "another value"
                has = has if value else repr(predicates.MISSING)
                fails = "can't be compared" if held is None else "is not met"
                why = f"subjects.where.{column} {fails}: it has {has}"
                return Dropped(why, ("subjects", "where", column))
        why = "none of its rows has all of what subjects.where asks"
        return Dropped(why, ("subjects", "where"))

    def doubt(self, unit: str, where: Mapping[str, Condition]) -> tuple[str, str] | None:
        """Return the column and value that prevent a unit from being compared."""
        for row in self._rows(unit):
            if column := predicates.doubtful_column(row, where):
                return column, row.get(column, "")
        return None

    def quoted(self, column: str, value: str) -> str | None:
        """Quote a column's value, if messages may quote it."""
        shown = self.shown_value(column, value)
        return None if shown is None else repr(shown)

    def cell(self, unit: str, column: str) -> str:
        """Return the value in a unit's first row, or n/a."""
        table = self._table(unit)
        return table.cell(named_label(unit), column) if table else predicates.MISSING

    def shown_value(self, column: str, value: str) -> str | None:
        """Return a column's value, if messages may quote it."""
        return value if self._may_quote(column) and messages.is_quotable(value) else None

    def listed(self, tree: set[str]) -> tuple[set[str], set[str]]:
        """Return the units with a row, and the rows without a directory."""
        if self.shared:
            labels = set(self.tables[""].rows)
            listed = {unit for unit in tree if named_label(unit) in labels}
            return listed, labels - {named_label(unit) for unit in listed}
        units = {
            f"{site}/{label}" if site else label
            for site, table in self.tables.items()
            for label in table.rows
        }
        rows = {unit: f"{unit.removesuffix(label_of(unit))}{named_label(unit)}" for unit in tree}
        return {unit for unit in tree if rows[unit] in units}, units - set(rows.values())

    def problems(self, where: Mapping[str, Condition]) -> Iterator[Problem]:
        """Report columns that no table has, and predicates that no row fulfils."""
        from bidsplan.manifest.ranges import range_hint  # imports pydantic

        for column, condition in where.items():
            place = ("subjects", "where", column)
            missing = self.missing_columns([column], place)
            if missing:
                yield from missing
            elif not any(map(condition.holds, self._values(column))):
                predicate = condition.predicate
                wanted = (predicate.any_of or predicate.not_ or ("",))[0]
                yield Problem(
                    message=f"no participant has the {column!r} that is asked for",
                    at=place,
                    hint=range_hint(wanted)
                    or messages.suggestion(wanted, self._quotable_values(column)),
                )

    def warnings(self, where: Mapping[str, Condition]) -> Iterator[Problem]:
        """Report single values that no row has."""
        for column, condition in where.items():
            wanted = condition.predicate.any_of or ()
            values = predicates.Values(wanted, ids=self._names_participants(column))
            found = values.of(self._values(column))
            missing = [(n, value) for n, value in enumerate(wanted) if value not in found]
            hint = messages.Hints(self._quotable_values(column) if missing else ())
            for number, value in missing:
                yield Problem(
                    message=f"no participant has the {column} {value!r}",
                    at=("subjects", "where", column, number),
                    hint=hint(value),
                )

    def missing_columns(self, columns: Iterable[str], place: Place) -> list[Problem]:
        """Report the columns that no table has."""
        tables = self.tables.values()
        problems = []
        for column in columns:
            if not any(column in table.columns for table in tables):
                plausible = (table for table in tables if table.plausible)
                known = messages.quotable(name for table in plausible for name in table.columns)
                hint = messages.suggestion(column, known) or _DOUBT
                message = f"the table has no column {column!r}"
                problems.append(Problem(message=message, at=place, hint=hint))
        return problems

    def shown(self, units: Iterable[str]) -> list[str]:
        """Return those of the units that messages may name."""
        plausible = {site for site, table in self.tables.items() if table.plausible}
        return [
            unit
            for unit in units
            if ("" if self.shared else site_of(unit)) in plausible
            if messages.is_quotable_label(label_of(unit))
        ]

    def _may_quote(self, column: str) -> bool:
        """Report whether messages may quote a column's values."""
        plausible = all(table.plausible for table in self.tables.values())
        return plausible and not messages.names_a_secret(column)

    def _values(self, column: str) -> Iterator[str]:
        for table in self.tables.values():
            yield from table.values(column)

    def _quotable_values(self, column: str) -> set[str]:
        """Return a column's quotable values; none if there are too many."""
        shown: set[str] = set()
        for value in self._values(column) if self._may_quote(column) else ():
            new = value not in shown and not predicates.is_missing(value)
            if new and messages.is_quotable(value):
                shown.add(value)
                if len(shown) > _MOST_VALUES:
                    return set()
        return shown


def read_tables(context: Context) -> Cohort | None:
    """Read the manifest's tables; None if the report has errors about them."""
    wanted = context.manifest.subjects.table
    if not isinstance(wanted, str):
        data = context.read_beside(wanted.file, "table")
        table = _parse(context, data, wanted.file, wanted.id_column)
        if table is None:
            return None
        labels = (named_label(name) for _, at_root in context.study for name in at_root.subjects)
        known = table.id_column in predicates.ID_COLUMNS
        if not known and not any(label in table.rows for label in labels):
            # The manifest names the column of ids, so the header may be the first line of any file.
            table = replace(table, plausible=False)
        return Cohort(tables={"": table}, shared=True)
    tables: dict[str, Table] = {}
    for dataset, at_root in context.study:
        table = _read_table(context, dataset, at_root, wanted)
        if table:
            tables[dataset.site or ""] = table
    return Cohort(tables=tables, shared=False) if tables else None


def _read_table(
    context: Context, dataset: Dataset, at_root: RootListing, path: str
) -> Table | None:
    files = dict(at_root.files)
    directory = path.rpartition("/")[0]
    if directory:
        [below] = context.lister.directories([(dataset, directory)])
        files.update(below)
    if path not in files:
        tables = [name for name in files if name.endswith((".tsv", ".csv"))]
        hint = messages.suggestion(path, tables)
        if not context.roots.access.untrusted and os.path.lexists(context.base / path):
            hint = f"for the file beside the manifest write 'table: {{file: {path}}}', or for a "
            hint += f"list of labels 'include: {{file: {path}}}'"
        message = f"{dataset.where} has no table {path!r}"
        problem = Problem(message=message, at=("subjects", "table"), hint=hint)
        context.report.add_errors(problem, help_code=HelpCode.TABLE)
        return None
    data = read_small(dataset.store, files[path], LARGEST_TABLE)
    return _parse(context, data, path, None)


def _parse(context: Context, data: bytes, name: str, id_column: str | None) -> Table | None:
    """Parse a table, and keep only the columns that are needed."""
    columns = {*context.manifest.subjects.where, *group_columns(context.manifest)}
    table, problems = parse_table(data, name, id_column=id_column, columns=columns)
    located = (replace(problem, at=("subjects", "table")) for problem in problems)
    context.report.add_errors(*located, help_code=HelpCode.TABLE)
    if table is not None and table.legacy:
        context.report.warn(replace(legacy_problem(name), at=("subjects", "table")))
    return table
