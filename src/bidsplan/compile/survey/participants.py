"""Tables of participants, read as real ones are written.

Real tables have byte order marks, carriage returns, padded headers, ragged rows, ids without
``sub-``, ``subject_id`` for ``participant_id``, and a row for each session; none of that is a
reason to refuse one.
"""

from __future__ import annotations

import codecs
import csv
import io
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from bidsplan.bids.names import bare_label
from bidsplan.compile.select.predicates import ID_COLUMNS, MISSING, is_missing
from bidsplan.compile.survey.manifest_files import read_manifest_file
from bidsplan.errors import Problem
from bidsplan.messages import is_quotable, is_quotable_label, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from bidsplan.manifest import Manifest


LARGEST_TABLE = 64 << 20
"""Bytes of a table that are read at the most."""

MOST_ROWS = 600_000
"""Rows of a table that are kept at the most."""

LONGEST_ROW = 1 << 20
"""Characters of a table's longest row."""

_MOST_JUDGED = 1000
"""Labels that show whether a table looks like one of participants."""

_SHORTEN = "keep only the rows of participants that may be wanted"

_CELL = "\0"
"""Stands between the cells that are kept of a row; tables with NUL bytes are refused."""


def read_cohort(name: str, base: Path, *, untrusted: bool = False) -> bytes:
    """Read a cohort file beside a manifest.

    Parameters
    ----------
    name : str
        Its path, relative to the manifest's directory and inside it.
    base : Path
        The manifest's directory.
    untrusted : bool
        Whether to refuse symbolic links.

    Raises
    ------
    SelectionError
        As `bidsplan.compile.survey.manifest_files.read_manifest_file`.
    """
    at = ("subjects", "table", "file")
    return read_manifest_file(name, base, at=at, limit=LARGEST_TABLE, untrusted=untrusted)


def manifest_digest(manifest: Manifest, base: Path, *, untrusted: bool = False) -> str:
    """Give the digest that ties a plan to its manifest, a cohort file's content included.

    Parameters
    ----------
    base : Path
        The manifest's directory.
    untrusted : bool
        Whether to refuse symbolic links.

    Returns
    -------
    str
        SHA-256 in hexadecimal.

    Raises
    ------
    SelectionError
        As `read_cohort`.
    """
    table = manifest.subjects.table
    if isinstance(table, str):
        return manifest.sha256()
    return manifest.sha256([read_cohort(table.file, base, untrusted=untrusted)])


class _Rows(Mapping[str, "tuple[Mapping[str, str], ...]"]):
    """Rows by label, of which only some columns are kept, as one text for all of them.

    Parameters
    ----------
    columns : sequence of str
        Those to keep.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._text = bytearray()
        self._ends = array("L")
        self._first: dict[str, int] = {}
        # Few tables have several rows for one participant.
        self._others: dict[str, list[int]] = {}

    def add(self, label: str, cells: Iterable[str]) -> None:
        number = len(self._ends)
        if self._first.setdefault(label, number) != number:
            self._others.setdefault(label, []).append(number)
        self._text += _CELL.join(cells).encode()
        self._ends.append(len(self._text))

    @property
    def number(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        return len(self._text)

    def cells(self, number: int) -> list[str]:
        start = self._ends[number - 1] if number else 0
        return self._text[start : self._ends[number]].decode().split(_CELL)

    def __getitem__(self, label: str) -> tuple[Mapping[str, str], ...]:
        numbers = [self._first[label], *self._others.get(label, ())]
        return tuple(dict(zip(self.columns, self.cells(one), strict=False)) for one in numbers)

    def __contains__(self, label: object) -> bool:
        return label in self._first

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows about participants.

    Parameters
    ----------
    columns : tuple of str
        As the header has them, stripped.
    id_column : str
        The one that names participants.
    rows : mapping of str to tuple of mapping
        By label, without ``sub-``: the participant's rows, in their order, of which some columns
        are kept.
    plausible : bool
        Whether it looks like a table of participants: of its columns' names and of its first
        labels, nine of ten are ones that messages may quote. Nothing is quoted of any other.
    """

    columns: tuple[str, ...]
    id_column: str
    rows: Mapping[str, tuple[Mapping[str, str], ...]]
    plausible: bool

    def values(self, column: str) -> Iterator[str]:
        """Give a column's values row by row, empty ones where there is no such column.

        Parameters
        ----------
        column : str
            One that is kept.
        """
        rows = self.rows
        if not isinstance(rows, _Rows) or column not in rows.columns:
            yield from ("" for _ in rows)
            return
        place = rows.columns.index(column)
        for number in range(rows.number):
            yield rows.cells(number)[place]

    def stratum(self, label: str, columns: Sequence[str]) -> str:
        """Name the stratum that a participant's first row puts them in.

        Returns
        -------
        str
            The columns' values, joined; missing ones as ``n/a``.
        """
        row = next(iter(self.rows.get(label, ())), {})
        values = (row.get(column, "") for column in columns)
        return "/".join(MISSING if is_missing(value) else value for value in values)


def parse_table(
    data: bytes,
    name: str,
    *,
    id_column: str | None = None,
    columns: Iterable[str] | None = None,
) -> tuple[Table | None, list[Problem]]:
    r"""Read a table of participants row by row.

    Parameters
    ----------
    name : str
        The file's name: one that ends in ``.csv`` is comma-separated and may have quotes, any
        other is tab-separated and has none.
    id_column : str, optional
        The column that names participants; ``participant_id`` or ``subject_id`` where not given.
    columns : iterable of str, optional
        The columns whose cells are kept; all where not given.

    Returns
    -------
    table : Table or None
        None where it can't be used.
    problems : list of Problem
        Why, in that case.

    Examples
    --------
    >>> table, _ = parse_table(b"participant_id \tsex\r\nsub-01\tF\r\n", "participants.tsv")
    >>> table.rows["01"]
    ({'participant_id': 'sub-01', 'sex': 'F'},)
    """
    try:
        return _parsed(data, name, id_column, columns), []
    except csv.Error as error:
        return None, [Problem(message=f"{name} is not valid CSV: {error}")]
    except _UnusableError as error:
        return None, [Problem(message=f"{name} {error}", hint=error.hint)]


class _UnusableError(Exception):
    """Why a table is not used."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def _parsed(data: bytes, name: str, id_column: str | None, wanted: Iterable[str] | None) -> Table:
    if b"\0" in data:
        raise _UnusableError("is no text: it has NUL bytes", "save it as UTF-8")
    records = _records(data, name)
    columns = tuple(cell.strip() for cell in next(records, ()))
    if not columns:
        raise _UnusableError("is empty")
    # Of columns of one name the last one counts.
    places = {column: place for place, column in enumerate(columns)}
    key = _id_column(places, id_column)
    kept = list(places) if wanted is None else sorted(places.keys() & set(wanted))
    rows = _Rows(kept)
    _fill(rows, records, places[key], [places[column] for column in kept])
    return Table(columns=columns, id_column=key, rows=rows, plausible=_plausible(columns, rows))


def _id_column(columns: Mapping[str, int], wanted: str | None) -> str:
    names = (wanted,) if wanted else ID_COLUMNS
    key = next((name for name in names if name in columns), None)
    if key is None:
        # Without its ids nothing shows that this is a table, so only what BIDS or the manifest has
        # is repeated.
        near = nearest(ID_COLUMNS[0], columns) or next(
            (column for column in columns if column.casefold() == names[0].casefold()), None
        )
        hint = "check that it is a table of participants"
        if near and is_quotable(near):
            hint = f"did you mean {near!r}?"
        raise _UnusableError(f"has no column {names[0]!r}", hint)
    return key


def _fill(rows: _Rows, records: Iterable[Sequence[str]], key: int, places: Sequence[int]) -> None:
    for cells in records:
        width = len(cells)
        label = bare_label(cells[key].strip()) if key < width else ""
        if not label:
            continue
        if rows.number == MOST_ROWS:
            raise _UnusableError(f"has more than {MOST_ROWS:,} rows", _SHORTEN)
        if rows.size > LARGEST_TABLE:
            raise _UnusableError(f"has more than {LARGEST_TABLE:,} bytes of text", _SHORTEN)
        rows.add(label, [cells[place].strip() if place < width else "" for place in places])


def _plausible(columns: Collection[str], labels: Iterable[str]) -> bool:
    """Tell whether a table looks like one of participants."""
    first = list(islice(labels, _MOST_JUDGED))
    odd_names = sum(not is_quotable(column) for column in columns)
    odd_labels = sum(not is_quotable_label(label) for label in first)
    return odd_names * 10 <= len(columns) and odd_labels * 10 <= len(first)


def _records(data: bytes, name: str) -> Iterator[list[str]]:
    """Read rows that are not blank."""
    lines = _Lines(data)
    rows: Iterable[list[str]] = (line.rstrip("\n").split("\t") for line in lines)
    if name.lower().endswith(".csv"):
        rows = csv.reader(lines)
    for cells in rows:
        lines.used = 0
        if "".join(cells).strip():
            yield cells


class _Lines:
    """Decodes a table line by line.

    Attributes
    ----------
    used : int
        Characters of the row that is being read, which may have several lines.
    """

    def __init__(self, data: bytes) -> None:
        # Older tables come from spreadsheets; every byte has a meaning in their encoding.
        encoding = "utf-8-sig" if _is_utf8(data) else "cp1252"
        self._file = io.TextIOWrapper(io.BytesIO(data), encoding, errors="replace")
        self.used = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(LONGEST_ROW + 1):
            self.used += len(line)
            if self.used > LONGEST_ROW:
                raise _UnusableError(f"has a row of more than {LONGEST_ROW:,} characters")
            yield line


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for start in range(0, len(data), 1 << 20):
            decoder.decode(view[start : start + (1 << 20)])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
