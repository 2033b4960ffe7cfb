"""Reads tables of participants, with the faults that real ones have.

Real tables have all kinds of encodings, carriage returns, padded headers, ragged rows, ids without
``sub-``, ``subject_id`` instead of ``participant_id``, and several rows for a participant with
several sessions. None of these is a reason to refuse a table.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from bidsplan.bids.labels import normal_label
from bidsplan.bids.names import bare_label
from bidsplan.compile.select.predicates import ID_COLUMNS, MISSING, is_missing
from bidsplan.compile.survey.manifest_files import UnusableFileError, read_manifest_file
from bidsplan.compile.survey.small_files import LEGACY, text_encoding
from bidsplan.errors import Problem
from bidsplan.messages import is_quotable, is_quotable_label, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from bidsplan.manifest import Manifest


LARGEST_TABLE = 64 << 20
"""The most bytes of a table that are read."""

_MOST_ROWS = 600_000
_LONGEST_ROW = 1 << 20  # characters
_JUDGED = 1000  # labels that show whether a table looks like one of participants
_CELL = "\0"  # separates the cells of a kept row; tables with NUL characters are refused
_SHORTEN = "keep only the rows of participants that may be wanted"


def read_beside(name: str, field: str, base: Path, *, untrusted: bool = False) -> bytes:
    """Read a file that ``subjects`` names; see `read_manifest_file`."""
    at = ("subjects", field, "file")
    return read_manifest_file(name, base, at=at, limit=LARGEST_TABLE, untrusted=untrusted)


def manifest_digest(manifest: Manifest, base: Path, *, untrusted: bool = False) -> str:
    """Return the SHA-256 of a manifest and its files, for plans."""
    files = _files_of(manifest)
    return manifest.sha256(
        read_beside(name, field, base, untrusted=untrusted) for field, name in files.items()
    )


def names_files(manifest: Manifest) -> bool:
    """Report whether the plan of a manifest also depends on files that the manifest names."""
    return bool(_files_of(manifest))


def _files_of(manifest: Manifest) -> dict[str, str]:
    """Return the files that a manifest names, by field."""
    fields = ("table", "include", "exclude")
    values = {field: getattr(manifest.subjects, field) for field in fields}
    return {field: value.file for field, value in values.items() if hasattr(value, "file")}


def parse_labels(data: bytes, name: str) -> tuple[list[str], list[Problem]]:
    """Parse a list of labels or globs, one on each line.

    Blank lines and lines that start with ``#`` are ignored, and so is the name of a BIDS column on
    the first line.
    """
    text = data.decode(text_encoding(data), errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    labels = [normal_label(bare_label(line)) for line in lines if line and line[0] != "#"]
    labels = labels[1:] if labels and labels[0] in ID_COLUMNS else labels
    odd = sum(" " in label or not is_quotable(label) for label in labels)
    if odd * 10 <= len(labels) and labels:
        return labels, []
    # The content is not shown, since it may be any file.
    hint = "write one label on each line; a table of participants is named by subjects.table"
    return [], [Problem(message=f"{name} is not a list of subject labels", hint=hint)]


class _Rows(Mapping[str, "tuple[Mapping[str, str], ...]"]):
    """Rows by label, each stored as one text of the columns that are kept."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._first: dict[str, bytes] = {}
        # Few tables have several rows for one participant.
        self._others: defaultdict[str, list[bytes]] = defaultdict(list)
        self.number = 0
        self.size = 0

    def add(self, label: str, cells: Iterable[str]) -> None:
        row = _CELL.join(cells).encode()
        if label in self._first:
            self._others[label].append(row)
        else:
            self._first[label] = row
        self.number += 1
        self.size += len(row)

    def __getitem__(self, label: str) -> tuple[Mapping[str, str], ...]:
        rows = (self._first[label], *self._others.get(label, ()))
        return tuple(
            dict(zip(self._columns, row.decode().split(_CELL), strict=False)) for row in rows
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows of a table of participants.

    Parameters
    ----------
    columns : tuple of str
        The names in the header, stripped.
    id_column : str
        The column that names the participants.
    rows : mapping of str to tuple of mapping
        Each participant's rows, by label without ``sub-``, of which some columns are kept.
    plausible : bool
        Whether the text looks like a table of participants: messages may quote at least nine tenths
        of its columns' names and of its first labels. Messages quote nothing of any other table.
    legacy : bool
        Whether the text is not Unicode, so that some letters may be wrong.
    """

    columns: tuple[str, ...]
    id_column: str
    rows: Mapping[str, tuple[Mapping[str, str], ...]]
    plausible: bool
    legacy: bool = False

    def values(self, column: str) -> Iterator[str]:
        """Yield each row's value in a column, or an empty text."""
        return (row.get(column, "") for rows in self.rows.values() for row in rows)

    def cell(self, label: str, column: str) -> str:
        """Return the value in a participant's first row, or n/a."""
        row = next(iter(self.rows.get(label, ())), {})
        value = row.get(column, "")
        return MISSING if is_missing(value) else value


def parse_table(
    data: bytes,
    name: str,
    *,
    id_column: str | None = None,
    columns: Iterable[str] | None = None,
) -> tuple[Table | None, list[Problem]]:
    """Parse a table of participants; None, with problems, if it is unusable.

    Parameters
    ----------
    name : str
        The file's name. If it ends in ``.csv``, the table is comma-separated with quotes; otherwise
        it is tab-separated without quotes.
    id_column : str, optional
        By default ``participant_id`` or ``subject_id``.
    columns : iterable of str, optional
        The columns whose cells are kept; by default all.
    """
    try:
        return _parse(data, name, id_column, columns), []
    except csv.Error as error:
        return None, [Problem(message=f"{name} is not valid CSV: {error}")]
    except UnusableFileError as error:
        return None, [Problem(message=f"{name} {error}", hint=error.hint)]


def _parse(data: bytes, name: str, id_column: str | None, wanted: Iterable[str] | None) -> Table:
    encoding = text_encoding(data)
    records = _records(data, encoding, name)
    columns = tuple(cell.strip() for cell in next(records, ()))
    if not columns:
        raise UnusableFileError("is empty")
    # If several columns have the same name, the last one is used.
    places = {column: place for place, column in enumerate(columns)}
    key = _find_id_column(places, id_column)
    kept = list(places) if wanted is None else sorted(places.keys() & set(wanted))
    rows = _Rows(kept)
    _add_rows(rows, records, places[key], [places[column] for column in kept])
    labels = list(islice(rows, _JUDGED))
    odd_columns = sum(not is_quotable(column) for column in columns)
    odd_labels = sum(not is_quotable_label(label) for label in labels)
    plausible = odd_columns * 10 <= len(columns) and odd_labels * 10 <= len(labels)
    return Table(
        columns=columns,
        id_column=key,
        rows=rows,
        plausible=plausible,
        legacy=encoding == LEGACY,
    )


def _find_id_column(columns: Mapping[str, int], wanted: str | None) -> str:
    names = (wanted,) if wanted else ID_COLUMNS
    key = next((name for name in names if name in columns), None)
    if key is None:
        # Without a column of ids, this may not be a table, so messages only repeat names that BIDS
        # or the manifest has.
        alike = [column for column in columns if column.casefold() == names[0].casefold()]
        near = nearest(ID_COLUMNS[0], columns) or next(iter(alike), "")
        hint = "check that it is a table of participants"
        if is_quotable(near):
            hint = f"did you mean {near!r}?"
        raise UnusableFileError(f"has no column {names[0]!r}", hint)
    return key


def _add_rows(
    rows: _Rows, records: Iterable[Sequence[str]], key: int, places: Sequence[int]
) -> None:
    for cells in records:
        width = len(cells)
        label = normal_label(bare_label(cells[key].strip())) if key < width else ""
        if not label:
            continue
        if rows.number == _MOST_ROWS:
            raise UnusableFileError(f"has more than {_MOST_ROWS:,} rows", _SHORTEN)
        if rows.size > LARGEST_TABLE:
            raise UnusableFileError(f"has more than {LARGEST_TABLE:,} bytes of text", _SHORTEN)
        rows.add(label, [cells[place].strip() if place < width else "" for place in places])


def _records(data: bytes, encoding: str, name: str) -> Iterator[list[str]]:
    """Read the rows that are not blank."""
    file = io.TextIOWrapper(io.BytesIO(data), encoding, errors="replace")
    length = 0

    def lines() -> Iterator[str]:
        nonlocal length
        while line := file.readline(_LONGEST_ROW + 1):
            if _CELL in line:
                raise UnusableFileError("is not text: it has NUL bytes", "save it as UTF-8")
            # A row may consist of several lines.
            length += len(line)
            if length > _LONGEST_ROW:
                raise UnusableFileError(f"has a row of more than {_LONGEST_ROW:,} characters")
            yield line

    rows: Iterable[list[str]] = (line.rstrip("\n").split("\t") for line in lines())
    if name.lower().endswith(".csv"):
        rows = csv.reader(lines())
    for cells in rows:
        length = 0
        if "".join(cells).strip():
            yield cells
