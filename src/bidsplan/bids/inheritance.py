"""Which sidecars and other metadata apply to a file.

References
----------
BIDS specification 1.11.1, "The Inheritance Principle": a file applies to those at its level or
below that have its suffix and all of its entities, with equal values. JSON files apply from every
level; of other metadata only the lowest applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


LOWEST_ONLY = (".tsv", ".tsv.gz", ".bval", ".bvec")
"""Extensions of metadata of which only the file at the lowest level applies."""


def levels(name: Name) -> Iterator[str]:
    """List the directories from a file's own up to the dataset's root, the empty string.

    Examples
    --------
    >>> from bidsplan.bids.names import parse_name
    >>> list(levels(parse_name("sub-1/anat/sub-1_T1w.nii")))
    ['sub-1/anat', 'sub-1', '']
    """
    directory = name.directory
    while directory:
        yield directory
        directory = directory.rpartition("/")[0]
    yield ""


# By directory, names of entities, and their values. A query looks its own values up under each set
# of names, so it never walks over unrelated files.
_Places = dict[str, dict[tuple[str, ...], dict[tuple[str, ...], "Item"]]]


def _places(items: Iterable[Item]) -> _Places:
    places: _Places = {}
    for item in items:
        entities = item.name.entities
        keys = tuple(sorted(entities))
        values = tuple([entities[key] for key in keys])
        places.setdefault(item.name.directory, {}).setdefault(keys, {})[values] = item
    return places


class Metadata:
    """An index of files that may apply to others.

    Parameters
    ----------
    items : iterable of Item
        Every file of the dataset that was listed, of which those with entity-shaped names count.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: dict[tuple[str, str], list[Item]] = {}
        self._places: dict[tuple[str, str], _Places] = {}
        for item in items:
            name = item.name
            if name.shaped:
                self._items.setdefault((name.suffix, name.extension), []).append(item)

    def _found(self, suffix: str, extension: str) -> _Places:
        """Index the items of one kind, of which most kinds are never asked for."""
        kind = (suffix, extension)
        if kind not in self._items:
            return {}
        places = self._places.get(kind)
        if places is None:
            places = self._places[kind] = _places(self._items[kind])
        return places

    def applying(
        self,
        directory: str,
        suffix: str,
        extension: str,
        entities: Mapping[str, str],
        *,
        beyond: frozenset[str] = frozenset(),
    ) -> list[Item]:
        """List the items of one directory, suffix and extension that apply to some entities.

        Parameters
        ----------
        directory, suffix, extension : str
            Of the metadata.
        entities : mapping of str to str
            Of the file that it may apply to.
        beyond : frozenset of str
            Entities that the metadata may have although the file has none.

        Returns
        -------
        list of Item
            Those with the most entities last.
        """
        place = self._found(suffix, extension).get(directory, {})
        found: list[Item] = []
        for keys in sorted(place, key=lambda keys: (len(keys), keys)):
            asked = [key for key in keys if key not in beyond or key in entities]
            if not all(key in entities for key in asked):
                continue
            if len(asked) == len(keys):
                item = place[keys].get(tuple(entities[key] for key in keys))
                found += [item] if item else []
            else:
                found += [
                    item
                    for item in place[keys].values()
                    if all(item.name.entities[key] == entities[key] for key in asked)
                ]
        return found

    def _levels(self, name: Name, suffix: str, extension: str) -> list[str]:
        """List the directories above a file that hold any metadata of a kind."""
        places = self._found(suffix, extension)
        return [directory for directory in levels(name) if directory in places] if places else []

    def inherited(self, name: Name) -> Iterator[Item]:
        """List what a file inherits.

        Parameters
        ----------
        name : Name
            The file's name; one that is not entity-shaped inherits nothing.

        Yields
        ------
        Item
            JSON sidecars of every level, and of each other kind the one that applies lowest.
        """
        if not name.shaped:
            return
        if name.extension != ".json":
            for directory in self._levels(name, name.suffix, ".json"):
                yield from self.applying(directory, name.suffix, ".json", name.entities)
        if name.extension not in {".json", *LOWEST_ONLY}:
            for extension in LOWEST_ONLY:
                yield from self.lowest(name, name.suffix, extension)

    def lowest(
        self, name: Name, suffix: str, extension: str, *, beyond: frozenset[str] = frozenset()
    ) -> list[Item]:
        """List what applies at the lowest level that has any; of plain metadata the closest one.

        Parameters
        ----------
        name : Name
            The file that it should apply to.
        suffix, extension : str
            Of the metadata.
        beyond : frozenset of str
            As in `applying`; with any, all that apply at that level are given.
        """
        for directory in self._levels(name, suffix, extension):
            found = self.applying(directory, suffix, extension, name.entities, beyond=beyond)
            if found:
                return found if beyond else found[-1:]
        return []
