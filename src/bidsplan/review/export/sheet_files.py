"""Finds the column of each file in a sample sheet."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from bidsplan.bids.inheritance import Metadata
from bidsplan.bids.names import parse_name, recording_of
from bidsplan.bids.recordings import Item
from bidsplan.compile.select.globs import compile_glob
from bidsplan.plan.places import placed
from bidsplan.review.export.sheet_rows import SheetFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.bids.names import Name
    from bidsplan.plan import Planned
    from bidsplan.plan.places import Place


_WORD = re.compile(r"[A-Za-z0-9]+")

_IMAGES = (".nii", ".nii.gz")
_GRADIENTS = (".bval", ".bvec")

Subject = tuple[str | None, str]
"""A site, and the label of a subject."""


class SheetFiles:
    """The files of a plan's subjects that are in a column.

    Parameters
    ----------
    globs : mapping of str to str
        The columns, as in `export_plan`.

    Attributes
    ----------
    by_subject : dict of list of SheetFile
    nameless : set of str
        Paths of raw files whose suffix can't be a column.
    """

    def __init__(self, plan: Planned, globs: Mapping[str, str]) -> None:
        self.by_subject: dict[Subject, list[SheetFile]] = defaultdict(list)
        self.nameless: set[str] = set()
        self._globs = {column: compile_glob(glob) for column, glob in globs.items()}
        self._tables: dict[str, Place] = {}
        selected, last = frozenset(plan.header.subjects), None
        for entry, place in placed(plan):
            recording = recording_of(entry.path)
            path = recording or entry.path
            # All files of a recording are neighbours.
            if path != last and place.unit in selected:
                self._add(path, place, recording=recording is not None)
            if place.extension in _GRADIENTS and place.pipeline is None:
                self._tables[path] = place
            last = path
        self._add_tables_above()

    def _add(self, path: str, place: Place, *, recording: bool) -> None:
        first, _, rest = path.rpartition("/")[2].partition("_")
        # Without its subject, a name is the same as many others, so it is parsed once.
        name = parse_name(rest if first.startswith("sub-") else path, recording=recording)
        kind = (place.pipeline, place.datatype)
        for column in self._columns(path, place, name):
            file = SheetFile(column, kind, place.session, name.entities, path)
            self.by_subject[place.site, place.subject or ""].append(file)

    def _columns(self, path: str, place: Place, name: Name) -> list[str]:
        """Return the columns of a file, by globs or by its kind."""
        if self._globs:
            below = path.removeprefix(f"{place.site}/") if place.site else path
            return [column for column, glob in self._globs.items() if glob.fullmatch(below)]
        if place.pipeline is not None or place.datatype is None or name.extension == ".json":
            return []
        column = _column_of(name)
        if column is None:
            self.nameless.add(path)
        return [] if column is None else [column]

    def _add_tables_above(self) -> None:
        """Add the gradient tables that raw images inherit from higher directories."""
        above = {path for path, place in self._tables.items() if place.datatype is None}
        if not above:
            return
        metadata = Metadata([Item(parse_name(path), (path,)) for path in self._tables])
        for files in self.by_subject.values():
            images = [f for f in files if f.path.endswith(_IMAGES) and f.kind[0] is None]
            for image in images:
                name = parse_name(image.path)
                lowest = (metadata.lowest(name, name.suffix, end) for end in _GRADIENTS)
                tables = [item.name for items in lowest for item in items]
                inherited = [table for table in tables if table.path in above]
                files.extend(found for table in inherited for found in self._given(image, table))

    def _given(self, image: SheetFile, table: Name) -> list[SheetFile]:
        """Return an inherited table in its columns, with its image's entities."""
        place = self._tables[table.path]._replace(datatype=image.kind[1])
        columns = self._columns(table.path, place, table)
        return [image._replace(column=column, path=table.path) for column in columns]


def _column_of(name: Name) -> str | None:
    """Return the column of a raw file, from its suffix and extension."""
    kind = name.extension.strip("./").replace(".", "_")
    if not _WORD.fullmatch(name.suffix) or not re.fullmatch(r"\w*", kind, re.ASCII):
        return None
    if kind in {"", "nii", "nii_gz"}:
        return name.suffix
    if name.suffix == "dwi" and kind in {"bval", "bvec"}:
        return kind
    return f"{name.suffix}_{kind}"
