"""What filters met, so that one that matches nothing is told with its place and a near miss."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from bidsplan.bids.names import same_value
from bidsplan.compile.select.globs import compile_glob
from bidsplan.errors import Place, Problem
from bidsplan.messages import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.bids.recordings import Item
    from bidsplan.manifest import Filter


_NOUNS = {"datatypes": "datatype", "suffixes": "suffix", "extensions": "extension"}
"""What one value of a field is called, in messages and in names."""


class Findings:
    """What a list of filters met in one or more datasets."""

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self._filters = filters
        self._met: list[Item] = []
        self._taken: list[list[Item]] = [[] for _ in filters]
        self._no_datatype = [0] * len(filters)
        self._unhit = {
            glob: compile_glob(glob, dots=glob in filter_.exclude)
            for filter_ in filters
            for glob in (*(filter_.include or ()), *filter_.exclude)
        }
        self.sessions: set[str] = set()

    def meet_session(self, session: str | None) -> None:
        """Take note of a session that is there, whether it is wanted or not."""
        if session is not None:
            self.sessions.add(session)

    def meet(self, item: Item) -> None:
        """Take note of an item that the filters are about to see."""
        self._met.append(item)
        if self._unhit:
            self.meet_path(item.name.path)

    def meet_path(self, path: str) -> None:
        """Take note of which globs match a path."""
        for glob, pattern in list(self._unhit.items()):
            if pattern.fullmatch(path):
                del self._unhit[glob]

    def judge(self, item: Item, rejections: Iterable[str | None]) -> None:
        """Take note of what each filter said of an item that nothing excludes."""
        for index, rejection in enumerate(rejections):
            if rejection is None:
                self._taken[index].append(item)
            elif rejection == "no datatype":
                self._no_datatype[index] += 1

    def merge(self, other: Findings) -> None:
        """Add what the same filters met in another dataset."""
        self.sessions |= other.sessions
        self._unhit = {glob: self._unhit[glob] for glob in self._unhit if glob in other._unhit}
        self._met += other._met
        for index, taken in enumerate(other._taken):
            self._taken[index] += taken
            self._no_datatype[index] += other._no_datatype[index]

    def errors(self, place: Place) -> Iterator[Problem]:
        """Tell the filters that took nothing at all.

        Parameters
        ----------
        place : tuple of str or int
            Of the filters in the manifest.

        Yields
        ------
        Problem
            Placed at the part of the filter that no file has, where there is one.
        """
        for index, filter_ in enumerate(self._filters):
            if self._taken[index]:
                continue
            culprits = list(self._unmet(filter_, self._met, (*place, index)))
            if culprits:
                yield from culprits
            else:
                hint = "no file has all of what it asks for"
                if self._no_datatype[index]:
                    hint = "files outside a datatype directory come only by an include glob"
                yield Problem(
                    message="this filter matches no file of the selected subjects",
                    at=(*place, index),
                    hint=hint,
                )

    def warnings(self, place: Place) -> Iterator[Problem]:
        """Tell the single values and globs of filters that matched nothing.

        Parameters
        ----------
        place : tuple of str or int
            Of the filters in the manifest.
        """
        for index, filter_ in enumerate(self._filters):
            if self._taken[index]:
                yield from self._unmet(filter_, self._taken[index], (*place, index))
            for number, glob in enumerate(filter_.exclude):
                if glob in self._unhit:
                    yield Problem(
                        message=f"the glob {glob!r} matches no file of the selected subjects",
                        at=(*place, index, "exclude", number),
                    )

    def _unmet(self, filter_: Filter, items: list[Item], place: Place) -> Iterator[Problem]:
        """Yield a problem for each value of a filter that none of some items has."""
        # What items have is gathered only now, and only of what was asked for.
        for field in _NOUNS:
            asked = getattr(filter_, field) or ()
            found = _values(field, items) if asked else set()
            unmet = {number: wanted for number, wanted in enumerate(asked) if wanted not in found}
            yield from self._no_such(field, unmet, (*place, field))
        for entity, rule in (filter_.entities or {}).items():
            found = _values(field := f"entities.{entity}", items)
            unmet = {
                number: wanted
                for number, wanted in enumerate(rule.any_of or ())
                if not any(same_value(entity, wanted, value) for value in found)
            }
            yield from self._no_such(field, unmet, (*place, "entities", entity))
        for number, glob in enumerate(filter_.include or ()):
            if glob in self._unhit:
                yield Problem(
                    message=f"the glob {glob!r} matches no file of the selected subjects",
                    at=(*place, "include", number),
                    hint="globs are relative to the dataset's root: '**/' reaches any depth",
                )

    def _no_such(self, field: str, unmet: dict[int, str], place: Place) -> Iterator[Problem]:
        known = _values(field, self._met) if unmet else set()
        noun = _NOUNS.get(field, f"{field.removeprefix('entities.')} value")
        for number, wanted in unmet.items():
            yield Problem(
                message=f"the {noun} {wanted!r} matches no file of the selected subjects",
                at=(*place, number),
                hint=suggestion(wanted, known - {wanted}),
            )


def _values(field: str, items: Iterable[Item]) -> set[str]:
    """Gather what items have of a filter's field, such as ``suffixes`` or ``entities.task``."""
    entity = field.removeprefix("entities.")
    if entity != field:
        names = (item.name for item in items)
        return {name.entities[entity] for name in names if name.shaped and entity in name.entities}
    noun = attrgetter(f"name.{_NOUNS[field]}")
    return {value for value in map(noun, items) if value is not None}
