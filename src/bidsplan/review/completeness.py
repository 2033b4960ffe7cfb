"""Finds which subjects have files of which datatype, session and pipeline."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.data_files import Holdings, Kind, acq_of
from bidsplan.bids.names import parse_name
from bidsplan.paths import natural_key, printable
from bidsplan.plan.places import placed
from bidsplan.review.reasons import COMPLETING, NO_FILE, ONLY_METADATA, UNPLANNED, group_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.places import Place
    from bidsplan.review.reasons import Group, Reason, Reasons


_Key = tuple[str | None, ...]


class Column(NamedTuple):
    """A column of a view, with the properties that its files share.

    Parameters
    ----------
    above : str
        The dataset, if the view has several. It is empty for the study's own dataset.
    name : str
    have, lack : int
        How many subjects have such a file, and how many have none.
    """

    above: str
    name: str
    have: int
    lack: int

    @property
    def label(self) -> str:
        """The column's name on one line."""
        return f"{self.above} {self.name}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A table of subjects by columns.

    Parameters
    ----------
    name : str
    columns : list of Column
        The columns, beginning with the one that most subjects lack.
    cells : list of list of int
        A row for each subject. A positive number is a number of files. A negative number is -1
        minus the index of a reason.
    reasons : list of Reason
    marks : dict of (int, int) to dict of str to int
        For a row and a column, how many files are in each state other than planned.
    """

    name: str
    columns: list[Column]
    cells: list[list[int]]
    reasons: list[Reason]
    marks: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """The number of cells without files."""
        return sum(column.lack for column in self.columns)

    def by_reason(self) -> list[tuple[Reason, int]]:
        """Count the cells without files by reason, the largest first."""
        counts = [0] * len(self.reasons)
        for row in self.cells:
            for value in row:
                if value < 0:
                    counts[-1 - value] += 1
        pairs = zip(self.reasons, counts, strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def _datatype(group: Group) -> _Key:
    return group.pipeline, group.datatype


def _session(group: Group) -> _Key:
    return None, group.session


def _pipeline(group: Group) -> _Key:
    return None, group.pipeline


def _everything(group: Group) -> _Key:
    return group.pipeline, group.session, group.datatype


_VIEWS: Mapping[str, Callable[[Group], _Key]] = {
    "session and datatype": _everything,
    "datatype": _datatype,
    "session": _session,
    "pipeline": _pipeline,
}
_MOST_COLUMNS = 40
"""The most columns of a view that is shown first."""

_NOTHING = {
    "datatype": "no datatype",
    "session": "no session",
    "pipeline": "raw",
    "session and datatype": "no datatype",
}
"""The name of the column of files without such a property."""


def view_completeness(
    plan: Planned, reasons: Reasons | None, states: Mapping[str, str]
) -> list[View]:
    """Count each subject's files by datatype, session and pipeline.

    Parameters
    ----------
    plan : Plan or StoredPlan
    reasons : Reasons, optional
        The reasons why files are missing, if the manifest is known.
    states : mapping of str to str
        By path, why a planned file is not complete.

    Returns
    -------
    list of View
        The views; the first one is shown first. There are views by session and by pipeline only if
        the plan has any.
    """
    units = sorted(plan.header.subjects, key=natural_key)
    held: Holdings[Group] = Holdings()
    marks: dict[Group, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    selected = frozenset(units)
    for entry, place in placed(plan):
        group = group_of(place)
        if group is None or group.unit not in selected:
            continue
        kind = _kind_of(entry, place)
        held.see(kind)
        if entry.reason in COMPLETING:
            held.add(group, kind)
            if state := states.get(entry.path):
                marks[group][state] += 1
    counts, empty = _with_data(held)
    names = [name for name in _VIEWS if _is_worth_while(name, {*counts, *empty})]
    views = [_View(name, units, reasons, empty).build(counts, marks) for name in names]
    # A few sessions are shown at once; with many, the reader chooses.
    return sorted(views, key=lambda view: not 0 < len(view.columns) <= _MOST_COLUMNS)


def _kind_of(entry: Entry, place: Place) -> Kind:
    """Return what decides whether a planned file is data."""
    path = entry.path
    desc = acq = None
    # Parsing a name takes long, and few names have one of these entities.
    if "_desc-" in path or "_acq-c" in path:
        entities = parse_name(path.rpartition("/")[2]).entities
        desc, acq = entities.get("desc"), acq_of(entities)
    return Kind(place.pipeline, place.datatype, place.suffix, place.extension, desc, acq)


def _with_data(held: Holdings[Group]) -> tuple[dict[Group, int], set[Group]]:
    """Count the files of the groups with data, and return the groups without.

    If no subject has data of a datatype, the manifest asks for its metadata, which counts instead.
    """
    data = held.data()
    known = {(group.pipeline, group.datatype) for group in data}
    counts, empty = {}, set()
    for group, number in held.all().items():
        if group in data or (group.pipeline, group.datatype) not in known:
            counts[group] = number
        else:
            empty.add(group)
    return counts, empty


def _is_worth_while(name: str, counts: Collection[Group]) -> bool:
    """Report whether a view differs from all others."""
    sessions = any(group.session is not None for group in counts)
    pipelines = any(group.pipeline is not None for group in counts)
    needs = {"session": sessions, "pipeline": pipelines, "session and datatype": sessions}
    return needs.get(name, True)


class _View:
    """Builds one view."""

    def __init__(
        self, name: str, units: list[str], reasons: Reasons | None, empty: set[Group]
    ) -> None:
        self._empty = empty
        self._name = name
        self._key = _VIEWS[name]
        self._units = units
        self._row = {unit: row for row, unit in enumerate(units)}
        self._why = reasons
        self._numbers: dict[Reason, int] = {}

    def build(self, counts: Mapping[Group, int], marks: Mapping[Group, dict[str, int]]) -> View:
        """Count the files of each cell, and find why others have none."""
        have: defaultdict[_Key, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        kinds: dict[_Key, set[Group]] = defaultdict(set)
        for group, number in counts.items():
            key = self._key(group)
            have[key][self._row[group.unit]] += number
            kinds[key].add(group._replace(unit=""))
        for group in self._empty:
            key = self._key(group)
            have.setdefault(key, {})
            kinds[key].add(group._replace(unit=""))
        keys = sorted(have, key=lambda key: (len(have[key]), [natural_key(k or "") for k in key]))
        cells = [
            [have[key].get(row) or self._reason(unit, kinds[key]) for key in keys]
            for row, unit in enumerate(self._units)
        ]
        columns = [self._column(key, len(have[key])) for key in keys]
        found = self._marks(keys, marks)
        return View(
            name=self._name, columns=columns, cells=cells, reasons=[*self._numbers], marks=found
        )

    def _marks(
        self, keys: list[_Key], marks: Mapping[Group, dict[str, int]]
    ) -> dict[tuple[int, int], dict[str, int]]:
        place = {key: number for number, key in enumerate(keys)}
        found: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for group, states in marks.items():
            if group in self._empty:
                continue
            for state, number in states.items():
                found[self._row[group.unit], place[self._key(group)]][state] += number
        return dict(sorted(found.items()))

    def _column(self, key: _Key, have: int) -> Column:
        above, *rest = key
        nothing = _NOTHING[self._name]
        names = [rest[-1] or nothing]
        if len(rest) > 1:
            names.insert(0, f"ses-{rest[0]}" if rest[0] else "no session")
        elif self._name == "session" and rest[0]:
            names = [f"ses-{rest[0]}"]
        name = printable(" · ".join(names))
        return Column(printable(above or ""), name, have, len(self._units) - have)

    def _reason(self, unit: str, kinds: set[Group]) -> int:
        """Return the number of the reason why a subject lacks files."""
        ordered = sorted(kinds, key=lambda kind: [part or "" for part in kind])
        groups = [kind._replace(unit=unit) for kind in ordered]
        reason = UNPLANNED
        if self._why is not None:
            pipelines = [*dict.fromkeys(kind.pipeline for kind in ordered)]
            reason = self._why.of_cell(unit, pipelines, groups)
        if reason.kind in {UNPLANNED.kind, NO_FILE} and not self._empty.isdisjoint(groups):
            reason = ONLY_METADATA
        return -1 - self._numbers.setdefault(reason, len(self._numbers))
