"""Compiles a manifest's filter, to match it with many names."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from bidsplan.bids.names import same_value
from bidsplan.compile.select.globs import Globs

if TYPE_CHECKING:
    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item
    from bidsplan.manifest import EntityRule, Filter


NOUNS = {"datatypes": "datatype", "suffixes": "suffix", "extensions": "extension"}
"""The name for one value of a field, in messages and in file names."""


class CompiledFilter:
    """A compiled filter; `restricts` is whether it has more than an exclude."""

    def __init__(self, filter_: Filter) -> None:
        self.restricts = filter_.restricts
        self._include = Globs(filter_.include or ())
        self._only_included = filter_.include is not None
        # An exclude also applies to dotfiles, so its wildcards match them.
        self._exclude = Globs(filter_.exclude, dots=True)
        self._allowed = [
            (field, frozenset(allowed), attrgetter(noun))
            for field, noun in NOUNS.items()
            if (allowed := getattr(filter_, field)) is not None
        ]
        self._entities = (filter_.entities or {}).items()

    @property
    def may_exclude(self) -> bool:
        """Whether the filter has an exclude."""
        return bool(self._exclude)

    def excludes(self, path: str) -> bool:
        """Report whether the filter's exclude matches a path."""
        return self._exclude.match(path)

    def rejection(self, item: Item, *, anywhere: bool = False) -> str | None:
        """Return the part of the filter that rejects an item, or None.

        The part is ``include``, ``datatypes``, ``suffixes``, ``extensions``, ``entities.<key>``,
        ``hidden``, ``table`` or ``no datatype``. With `anywhere`, files outside subjects' datatype
        directories pass too.
        """
        name = item.name
        included = bool(self._include) and self._include.match(name.path)
        if self._only_included and not included:
            return "include"
        for field, allowed, value in self._allowed:
            if value(name) not in allowed:
                return field
        for entity, rule in self._entities:
            if not _has_entity(name, entity, rule):
                return f"entities.{entity}"
        return None if included else self._rejection_by_kind(item, anywhere=anywhere)

    def _rejection_by_kind(self, item: Item, *, anywhere: bool) -> str | None:
        """Reject items that only an include glob can select."""
        if item.hidden:
            return "hidden"
        if anywhere:
            return None
        if item.is_table:
            return "table"
        if self.restricts and item.name.datatype is None:
            return "no datatype"
        return None


def _has_entity(name: Name, entity: str, rule: EntityRule) -> bool:
    """Report whether a name has an entity's value; other names never match."""
    if not name.shaped:
        return False
    found = name.entities.get(entity)
    if rule.absent or found is None:
        return rule.absent and found is None
    return any(same_value(entity, wanted, found) for wanted in rule.any_of or ())
