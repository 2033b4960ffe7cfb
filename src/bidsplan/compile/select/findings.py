"""Records the matches of filters, to report filters that match nothing."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from bidsplan.bids.names import same_value
from bidsplan.compile.select.filters import NOUNS
from bidsplan.compile.select.globs import compile_glob
from bidsplan.errors import Place, Problem
from bidsplan.messages import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.bids.recordings import Item
    from bidsplan.manifest import Filter


_Field = tuple[str, ...]
"""A field of a filter: ``(suffixes,)`` or ``(entities, task)``."""


class Findings:
    """The matches of a list of filters in one or more datasets.

    Each part of a dataset has its own findings, and these are merged before they are reported.
    `units` are the units of which a filter selected data, and `touched` those of which it selected
    any file. `orphans` has the first directory of each unit with selected files that describe no
    file.
    """

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self._filters = filters
        # Items, from which the values that messages may name are collected later.
        self._seen: list[Item] = []
        self._matched: list[list[Item]] = [[] for _ in filters]
        self._required_values = [_required_values(filter_) for filter_ in filters]
        self._seen_values: dict[_Field, set[str]] = {}
        self._matched_values: list[dict[_Field, set[str]]] = [{} for _ in filters]
        self._any_matched = [False] * len(filters)
        self._no_datatype = [0] * len(filters)
        self._unmatched_globs = {
            glob: compile_glob(glob, dots=glob in filter_.exclude)
            for filter_ in filters
            for glob in (*(filter_.include or ()), *filter_.exclude)
        }
        self.sessions: set[str] = set()
        self.units: set[str] = set()
        self.touched: set[str] = set()
        self.orphans: dict[str, str] = {}

    def add_item(self, item: Item, rejections: Iterable[str | None]) -> None:
        """Add an item, and which part of each filter rejected it."""
        self._seen.append(item)
        if self._unmatched_globs:
            self.add_path(item.name.path)
        for index, rejection in enumerate(rejections):
            if rejection is None:
                self._matched[index].append(item)
            elif rejection == "no datatype":
                self._no_datatype[index] += 1

    def add_path(self, path: str) -> None:
        """Note which globs match a path."""
        for glob, pattern in list(self._unmatched_globs.items()):
            if pattern.fullmatch(path):
                del self._unmatched_globs[glob]

    def merge(self, other: Findings) -> None:
        """Add the matches of the same filters in other files."""
        self.sessions |= other.sessions
        for glob in self._unmatched_globs.keys() - other._unmatched_globs.keys():
            del self._unmatched_globs[glob]
        # Only the requested values are kept, and no items, since there may be millions.
        for field in {field for required in self._required_values for field, _ in required}:
            seen = self._seen_values.setdefault(field, set())
            seen.update(other._seen_values.get(field, ()), _values(field, other._seen))
        for index, matched in enumerate(other._matched):
            self._any_matched[index] |= other._any_matched[index] or bool(matched)
            values = other._matched_values[index]
            for field, _ in self._required_values[index]:
                found = self._matched_values[index].setdefault(field, set())
                found.update(values.get(field, ()), _values(field, matched))
            self._no_datatype[index] += other._no_datatype[index]

    def errors(self, place: Place) -> Iterator[Problem]:
        """Report the filters, or their parts, that match no file."""
        for index in range(len(self._filters)):
            if self._any_matched[index]:
                continue
            hint = "no file matches all of its fields"
            if self._no_datatype[index]:
                hint = "files outside of datatype directories need an include glob"
            message = "this filter matches no file of the selected subjects"
            yield from list(self._unmatched(index, self._seen_values, (*place, index))) or [
                Problem(message=message, at=(*place, index), hint=hint)
            ]

    def warnings(self, place: Place) -> Iterator[Problem]:
        """Report single values and globs of filters that match nothing."""
        for index, filter_ in enumerate(self._filters):
            if self._any_matched[index]:
                yield from self._unmatched(index, self._matched_values[index], (*place, index))
            yield from self._unmatched_in(filter_.exclude, (*place, index, "exclude"))

    def _unmatched(
        self, index: int, values_of: Mapping[_Field, set[str]], place: Place
    ) -> Iterator[Problem]:
        """Report each value of a filter that none of the items has."""
        filter_ = self._filters[index]
        for field, values in self._required_values[index]:
            found = values_of.get(field, set())
            absent = [
                (number, wanted)
                for number, wanted in enumerate(values)
                if not any(same_value(field[-1], wanted, value) for value in found)
            ]
            known = self._seen_values.get(field, set()) if absent else set()
            noun = NOUNS.get(field[0], f"{field[-1]} value")
            for number, wanted in absent:
                yield Problem(
                    message=f"the {noun} {wanted!r} matches no file of the selected subjects",
                    at=(*place, *field, number),
                    hint=_short_form(field) or suggestion(wanted, known - {wanted}),
                )
        hint = "globs are relative to the dataset's root: '**/' reaches any depth"
        yield from self._unmatched_in(filter_.include or (), (*place, "include"), hint)

    def _unmatched_in(
        self, globs: Iterable[str], place: Place, hint: str | None = None
    ) -> Iterator[Problem]:
        for number, glob in enumerate(globs):
            if glob in self._unmatched_globs:
                message = f"the glob {glob!r} matches no file of the selected subjects"
                yield Problem(message=message, at=(*place, number), hint=hint)


def _required_values(filter_: Filter) -> list[tuple[_Field, tuple[str, ...]]]:
    """List the fields of a filter that name values, with these values."""
    required: list[tuple[_Field, tuple[str, ...] | None]] = [
        ((field,), getattr(filter_, field)) for field in NOUNS
    ]
    for entity, rule in (filter_.entities or {}).items():
        required.append((("entities", entity), rule.any_of))
    return [(field, tuple(values)) for field, values in required if values]


def _short_form(field: _Field) -> str | None:
    """Say how an entity is written whose long name is used, such as ``session`` for ``ses``."""
    if len(field) == 1:
        return None
    from bidsplan.bids.schema import entities  # reads the BIDS schema

    short = next((name for name, long in entities().items() if field[1] in {long} - {name}), None)
    if short is None:
        return None
    sessions = ", or 'sessions: …' at the top level" if short == "ses" else ""
    return f"write {short!r}, as in file names{sessions}"


def _values(field: _Field, items: Iterable[Item]) -> set[str]:
    """Collect the values that items have for a field of a filter."""
    if len(field) == 1:
        return set(map(attrgetter(f"name.{NOUNS[field[0]]}"), items)) - {None}
    names, entity = (item.name for item in items), field[1]
    return {name.entities[entity] for name in names if name.shaped and entity in name.entities}
