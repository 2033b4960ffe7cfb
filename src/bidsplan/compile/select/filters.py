"""Compiles a manifest's filter, to match it with many names."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from bidsplan.bids.data_files import (
    SIDECARS,
    TABLES,
    TABULAR_DATATYPES,
    Role,
    companion_suffixes,
)
from bidsplan.bids.names import same_value
from bidsplan.bids.schema import extensions
from bidsplan.compile.select.globs import Globs, compile_glob, is_glob

if TYPE_CHECKING:
    from collections.abc import Collection

    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item
    from bidsplan.manifest import EntityRule, Filter


NOUNS = {"datatypes": "datatype", "suffixes": "suffix", "extensions": "extension"}
"""The name for one value of a field, in messages and in file names."""


class CompiledFilter:
    """A compiled filter.

    `restricts` is whether it has more than an exclude. `asked` has the roles, other than data, that
    the filter asks for by name.
    """

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
        self.asked = _asked_roles(filter_)

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


def _asked_roles(filter_: Filter) -> Collection[Role]:
    """Return the roles of files that a filter asks for because it can select no data."""
    described = {Role.SIDECAR, Role.COMPANION, Role.OPEN}
    ends, words = set(filter_.extensions or ()), set(filter_.suffixes or ())
    named = [_named_by(glob) for glob in filter_.include or ()]
    if (ends and ends <= SIDECARS) or (named and all(end <= SIDECARS for _, end in named)):
        return described
    tables = SIDECARS | TABLES
    tabular = not TABULAR_DATATYPES.isdisjoint(filter_.datatypes or ())
    if ends and ends <= tables and not words and not tabular:
        return described
    companions = companion_suffixes()
    if (words and words <= companions) or (
        named and all(word in companions or end <= tables for word, end in named)
    ):
        return {Role.COMPANION}
    return ()


def _named_by(glob: str) -> tuple[str, frozenset[str]]:
    """Return the suffix, and the extensions that BIDS defines, of the names that a glob matches."""
    stem, dot, rest = glob.rpartition("/")[2].partition(".")
    extension = dot + rest
    found = frozenset({extension})
    if is_glob(extension):
        pattern = compile_glob(extension, dots=True)
        found = frozenset(filter(pattern.fullmatch, extensions())) or found
    return stem.rpartition("_")[2].strip("*?"), found


def _has_entity(name: Name, entity: str, rule: EntityRule) -> bool:
    """Report whether a name has an entity's value; other names never match."""
    if not name.shaped:
        return False
    found = name.entities.get(entity)
    if rule.absent or found is None:
        return rule.absent and found is None
    return any(same_value(entity, wanted, found) for wanted in rule.any_of or ())
