"""Finds the files of each row in a sample sheet, by their entities.

Each row belongs to one session. If a session has several files for one column, it has a row for
each of them. A file is in every row that has all entities that distinguish the file. For example,
an anatomical image is in the rows of all runs, and the events of a run are in the rows of all its
echoes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


Key = frozenset[tuple[str, str]]
"""The entities of a row, or those that distinguish a file from others in its column."""

Kind = tuple[str | None, str | None]
"""Pipeline and datatype; the same entities distinguish all files of a kind."""


class SheetFile(NamedTuple):
    """A file in a column of a sample sheet.

    Parameters
    ----------
    entities : mapping of str to str
        The entities in the file's name, without the subject.
    """

    column: str
    kind: Kind
    session: str | None
    entities: Mapping[str, str]
    path: str


Row = tuple[Key, dict[str, str]]
"""A row's entities, and the path of each column that it has."""


def entities_apart(subjects: Iterable[Collection[SheetFile]]) -> dict[Kind, set[str]]:
    """Return the entities by which files of one cell differ."""
    apart: dict[Kind, set[str]] = defaultdict(set)
    for files in subjects:
        alike: dict[tuple[str, str | None], list[SheetFile]] = defaultdict(list)
        for file in files:
            alike[file.column, file.session].append(file)
        for some in alike.values():
            # One table may belong to several images.
            if len({file.path for file in some}) > 1:
                names = {name for file in some for name in file.entities} - {"ses"}
                differing = {n for n in names if len({f.entities.get(n) for f in some}) > 1}
                for kind in {file.kind for file in some}:
                    apart[kind] |= differing
    return apart


class SubjectRows:
    """The rows of one subject.

    Parameters
    ----------
    files : collection of SheetFile
        All files of the subject.
    apart : mapping
        The result of `entities_apart` for the whole sheet.

    Attributes
    ----------
    conflicts : list of tuple
        A column and the paths of two files, one of which does not fit in any row.
    """

    def __init__(self, files: Collection[SheetFile], apart: Mapping[Kind, set[str]]) -> None:
        self._paths: dict[str, dict[Key, str]] = defaultdict(dict)
        self.conflicts: list[tuple[str, str, str]] = []
        for file in files:
            key = _key_of(file, apart.get(file.kind, set()))
            first = self._paths[file.column].setdefault(key, file.path)
            if first != file.path:
                self.conflicts.append((file.column, first, file.path))
        self._shapes = {column: _shapes(paths) for column, paths in self._paths.items()}

    def rows(self) -> list[Row]:
        """Return the rows, which together contain every file."""
        keys = {key for paths in self._paths.values() for key in paths}
        shapes = _shapes(keys)
        parts = {part for key in keys for part in _parts(key, shapes) if part != key}
        rows = [(key, self._cells(key)) for key in keys - parts]
        shown = {(column, path) for _, cells in rows for column, path in cells.items()}
        more = {
            key
            for column, paths in self._paths.items()
            for key, path in paths.items()
            if (column, path) not in shown
        }
        return rows + [(key, self._cells(key)) for key in more]

    def _cells(self, row: Key) -> dict[str, str]:
        """Return the best file for each column of a row."""
        cells = {}
        for column, paths in self._paths.items():
            fitting = [key for key in _parts(row, self._shapes[column]) if key in paths]
            if fitting:
                cells[column] = paths[max(fitting, key=lambda key: (len(key), sorted(key)))]
        return cells


def _key_of(file: SheetFile, names: Collection[str]) -> Key:
    pairs = {(name, file.entities[name]) for name in names if name in file.entities}
    return frozenset(pairs | ({("ses", file.session)} if file.session is not None else set()))


def _shapes(keys: Iterable[Key]) -> set[frozenset[str]]:
    """Return the sets of names that keys have."""
    return {frozenset(name for name, _ in key) for key in keys}


def _parts(key: Key, shapes: Iterable[frozenset[str]]) -> list[Key]:
    """Return the parts of a key for the shapes that fit."""
    values = dict(key)
    return [
        frozenset((name, values[name]) for name in shape)
        for shape in shapes
        if shape <= values.keys()
    ]
