"""Finds subjects that are missing in the study's directories or tables."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bidsplan.bids.labels import pair_alike
from bidsplan.compile.omissions import OmissionKind, counted, omission
from bidsplan.compile.select.subjects import label_of, site_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.compile.cohort import Cohort
    from bidsplan.compile.omissions import Omission
    from bidsplan.compile.select.subjects import NameChoice
    from bidsplan.errors import Place
    from bidsplan.manifest import Subjects


def find_table_omissions(
    subjects: Subjects, cohort: Cohort, tree: set[str], by_name: NameChoice
) -> Iterator[Omission]:
    """Compare a study's directories with the rows of its tables."""
    where = cohort.conditions(subjects.where)
    found, absent = cohort.listed(tree)
    unlisted = {unit for unit in tree - found if by_name.keeps(unit)}
    wanted = {unit for unit in absent if not where or cohort.matches(unit, where)}
    for difference, pairs in _pair(absent, unlisted, shared=cohort.shared).items():
        absent -= {row for row, _ in pairs}
        unlisted -= {unit for _, unit in pairs}
        misspelt = [(row, unit) for row, unit in pairs if row in wanted]
        if misspelt:
            yield _spelled(difference, misspelt, set(cohort.shown(row for row, _ in misspelt)))
    settled = subjects.missing == "skip"
    hint = "exclude them in subjects.exclude, or write 'missing: skip' to continue without"
    place: Place = ("subjects", "where") if subjects.where else ("subjects", "from")
    if unlisted:
        text = counted(len(unlisted), "subject", "has", "have") + " a directory and no row"
        yield omission(OmissionKind.NO_ROW, unlisted, (text, place, hint), settled=settled)
    lost = {unit for unit in wanted & absent if by_name.keeps(unit)}
    if lost:
        text = counted(len(lost), "participant", "has", "have") + " a row and no directory"
        shown = {unit: repr(unit) for unit in cohort.shown(lost)}
        parts = text, place, hint
        yield omission(OmissionKind.NO_DIRECTORY, lost, parts, shown=shown, settled=settled)


def _pair(
    absent: set[str], unlisted: set[str], *, shared: bool
) -> dict[str, list[tuple[str, str]]]:
    """Pair rows with directories that differ only in spelling, by the difference."""
    if not unlisted:
        # A table may have half a million rows.
        return {}
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    directories: dict[str, dict[str, str]] = defaultdict(dict)
    for units, by_site in ((absent, rows), (unlisted, directories)):
        for unit in units:
            by_site["" if shared else site_of(unit)][label_of(unit)] = unit
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for site in sorted(directories):
        for label, directory, difference in pair_alike(rows[site], directories[site]):
            pairs[difference].append((rows[site][label], directories[site][directory]))
    return pairs


def _spelled(difference: str, pairs: Sequence[tuple[str, str]], shown: set[str]) -> Omission:
    count = counted(len(pairs), "row", "names", "name")
    text = f"{count} a directory but for {difference}"
    named = {
        unit: f"{label_of(unit)!r}" + (f" (written {label_of(row)!r})" if row in shown else "")
        for row, unit in pairs
    }
    hint = "spell them alike in a table of your own (subjects.table: {file: …}), or exclude them"
    parts = text, ("subjects", "table"), hint
    return omission(OmissionKind.SPELLING, named, parts, shown=named)


def find_not_comparable(
    subjects: Subjects, cohort: Cohort, dropped: Iterable[str]
) -> Iterator[Omission]:
    """Find units that were dropped because a cell can't be compared."""
    where = cohort.conditions(subjects.where)
    if not any(condition.is_numeric for condition in where.values()):
        return
    doubts: dict[str, dict[str, str]] = defaultdict(dict)
    for unit in dropped:
        if doubt := cohort.doubt(unit, where):
            column, value = doubt
            doubts[column][unit] = value
    for column, values in sorted(doubts.items()):
        quoted = {unit: cohort.quoted(column, value) for unit, value in values.items()}
        named = {unit: f"{text} ({unit})" if text else unit for unit, text in quoted.items()}
        hint = "name the values to leave out in 'not', or correct them in a table of your own"
        of = "1 subject" if len(values) == 1 else f"{len(values):,} subjects"
        text = f"the {column!r} of {of} can't be compared with a number"
        parts = text, ("subjects", "where", column), hint
        yield omission(OmissionKind.NOT_COMPARABLE, values, parts, shown=named)
