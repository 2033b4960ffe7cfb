"""What filters matched, to report those that match nothing with their place and a near miss."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from bidsplan.bids.names import same_value
from bidsplan.compile.select.filters import NOUNS
from bidsplan.compile.select.globs import compile_glob
from bidsplan.errors import Place, Problem
from bidsplan.messages import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.bids.recordings import Item
    from bidsplan.manifest import Filter


class Findings:
    """What a list of filters matched, and all sessions that exist, in one or more datasets.

    `units` are those of which a filter selected a file.
    """

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self._filters = filters
        self._seen: list[Item] = []
        self._matched: list[list[Item]] = [[] for _ in filters]
        self._no_datatype = [0] * len(filters)
        self._unmatched_globs = {
            glob: compile_glob(glob, dots=glob in filter_.exclude)
            for filter_ in filters
            for glob in (*(filter_.include or ()), *filter_.exclude)
        }
        self.sessions: set[str] = set()
        self.units: set[str] = set()

    def add_item(self, item: Item, rejections: Iterable[str | None]) -> None:
        """Add an item with each filter's rejection of it, none where it is excluded."""
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
        """Add what the same filters matched in another dataset."""
        self.sessions |= other.sessions
        for glob in self._unmatched_globs.keys() - other._unmatched_globs.keys():
            del self._unmatched_globs[glob]
        self._seen += other._seen
        for index, matched in enumerate(other._matched):
            self._matched[index] += matched
            self._no_datatype[index] += other._no_datatype[index]

    def errors(self, place: Place) -> Iterator[Problem]:
        """Report the filters, at `place`, that matched nothing, or the parts that no file has."""
        for index, filter_ in enumerate(self._filters):
            if self._matched[index]:
                continue
            hint = "no file matches all of its fields"
            if self._no_datatype[index]:
                hint = "files outside of datatype directories need an include glob"
            message = "this filter matches no file of the selected subjects"
            yield from list(self._unmatched(filter_, self._seen, (*place, index))) or [
                Problem(message=message, at=(*place, index), hint=hint)
            ]

    def warnings(self, place: Place) -> Iterator[Problem]:
        """Report the single values and globs of filters that matched nothing."""
        for index, filter_ in enumerate(self._filters):
            if self._matched[index]:
                yield from self._unmatched(filter_, self._matched[index], (*place, index))
            yield from self._unmatched_in(filter_.exclude, (*place, index, "exclude"))

    def _unmatched(self, filter_: Filter, items: list[Item], place: Place) -> Iterator[Problem]:
        """Report each value of a filter that none of some items has."""
        asked: list[tuple[tuple[str, ...], Iterable[str] | None]] = [
            ((field,), getattr(filter_, field)) for field in NOUNS
        ]
        for entity, rule in (filter_.entities or {}).items():
            asked.append((("entities", entity), rule.any_of))
        for field, values in asked:
            # What items have is gathered only now, and only of what was asked for.
            found = _values(field, items) if values else set()
            absent = [
                (number, wanted)
                for number, wanted in enumerate(values or ())
                if not any(same_value(field[-1], wanted, value) for value in found)
            ]
            known = _values(field, self._seen) if absent else set()
            noun = NOUNS.get(field[0], f"{field[-1]} value")
            for number, wanted in absent:
                yield Problem(
                    message=f"the {noun} {wanted!r} matches no file of the selected subjects",
                    at=(*place, *field, number),
                    hint=suggestion(wanted, known - {wanted}),
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


def _values(field: tuple[str, ...], items: Iterable[Item]) -> set[str]:
    """Gather what items have of a filter's field, ``(suffixes,)`` or ``(entities, task)``."""
    if len(field) == 1:
        return set(map(attrgetter(f"name.{NOUNS[field[0]]}"), items)) - {None}
    names, entity = (item.name for item in items), field[1]
    return {name.entities[entity] for name in names if name.shaped and entity in name.entities}
