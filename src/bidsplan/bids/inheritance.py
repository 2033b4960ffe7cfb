"""Finds the sidecars and other metadata that apply to a file.

The rule is "The Inheritance Principle" of the BIDS specification 1.11.1. A metadata file applies to
files at its level or below that have its suffix and all of its entities, with equal values. JSON
files of all levels apply. Of other metadata files, only the one at the lowest level applies.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


_NONE: frozenset[str] = frozenset()
_LOWEST_ONLY = (".tsv", ".tsv.gz", ".bval", ".bvec")


def levels(directory: str) -> Iterator[str]:
    """List a directory and all directories above it, up to the dataset's root."""
    while directory:
        yield directory
        directory = directory.rpartition("/")[0]
    yield ""


# Items by directory, by the names of their entities, and by the values. A query looks up its own
# values under each set of names, so it never looks at unrelated files.
_Index = dict[str, dict[tuple[str, ...], dict[tuple[str, ...], "Item"]]]


class Metadata:
    """An index of metadata files, to find those that apply to a file.

    Parameters
    ----------
    items : collection of Item
    root : Metadata, optional
        The index of the files at the dataset's root, if `items` are only the files of some
        directories.
    """

    def __init__(self, items: Collection[Item], root: Metadata | None = None) -> None:
        self._all = items
        self._root = root
        self._items: dict[tuple[str, str], list[Item]] = {}
        self._indices: dict[tuple[str, str], _Index] = {}
        for item in items:
            name = item.name
            if name.shaped:
                self._items.setdefault((name.suffix, name.extension), []).append(item)

    @cached_property
    def _by_path(self) -> dict[str, Item]:
        """All items by path, indexed only if they are needed."""
        return {item.name.path: item for item in self._all}

    def find(self, path: str) -> Item | None:
        """Return the item at a path."""
        found = self._by_path.get(path)
        return self._root.find(path) if found is None and self._root is not None else found

    def index(self, suffix: str, extension: str) -> _Index:
        """Return the items of one kind, indexed on first use."""
        kind = (suffix, extension)
        index = self._indices.get(kind)
        if index is None:
            # Otherwise the item is not in the root's own directory.
            above = self._root.index(suffix, extension) if self._root is not None else {}
            index = self._indices[kind] = {**above}
            for item in self._items.get(kind, ()):
                entities = item.name.entities
                keys = tuple(sorted(entities))
                values = tuple([entities[key] for key in keys])
                index.setdefault(item.name.directory, {}).setdefault(keys, {})[values] = item
        return index

    def applying(
        self,
        directory: str,
        suffix: str,
        extension: str,
        entities: Mapping[str, str],
        *,
        beyond: frozenset[str] = frozenset(),
    ) -> list[Item]:
        """List the items of one directory and kind that apply to given entities.

        The items with the most entities are last. An item may have the entities in `beyond` even if
        the file does not have them.
        """
        return _applying(self.index(suffix, extension).get(directory, {}), entities, beyond)

    def inherited(self, name: Name) -> Iterator[Item]:
        """List the metadata that applies to a file, the deepest JSON sidecars first."""
        if not name.shaped:
            return
        if name.extension != ".json":
            index = self.index(name.suffix, ".json")
            for directory in levels(name.directory) if index else ():
                yield from _applying(index.get(directory, {}), name.entities, _NONE)
        if name.extension not in {".json", *_LOWEST_ONLY}:
            for extension in _LOWEST_ONLY:
                yield from self.lowest(name, name.suffix, extension)

    def lowest(
        self, name: Name, suffix: str, extension: str, *, beyond: frozenset[str] = frozenset()
    ) -> list[Item]:
        """List the metadata at the deepest directory that has any for a file.

        This is one item or, with `beyond`, all items of that level; see `applying`.
        """
        index = self.index(suffix, extension)
        for directory in levels(name.directory) if index else ():
            found = _applying(index.get(directory, {}), name.entities, beyond)
            if found:
                return found if beyond else found[-1:]
        return []


def _applying(
    items: Mapping[tuple[str, ...], Mapping[tuple[str, ...], Item]],
    entities: Mapping[str, str],
    beyond: frozenset[str],
) -> list[Item]:
    """List the items of one directory and kind that apply; see `Metadata.applying`."""
    found: list[Item] = []
    ordered = sorted(items, key=lambda keys: (len(keys), keys)) if len(items) > 1 else items
    for keys in ordered:
        shared = [key for key in keys if key not in beyond or key in entities] if beyond else keys
        # If the file lacks an entity, no item's value can match.
        values = [entities.get(key) for key in shared]
        if len(shared) == len(keys):
            item = items[keys].get(tuple(values))  # type: ignore[arg-type] # as said
            found += [item] if item else []
        elif None not in values:
            found += [
                item
                for item in items[keys].values()
                if all(item.name.entities[key] == entities[key] for key in shared)
            ]
    return found
