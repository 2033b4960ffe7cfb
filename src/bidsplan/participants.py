"""Tables of participants, read as real ones are written.

Real tables have byte order marks, carriage returns, padded headers, ragged rows, ids without
``sub-``, ``subject_id`` for ``participant_id``, and a row for each session; none of that is a
reason to refuse one.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bidsplan.entities import bare_label
from bidsplan.errors import Problem, SelectionError
from bidsplan.selection.findings import suggestion
from bidsplan.selection.predicates import ID_COLUMNS, MISSING, is_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bidsplan.manifest import Manifest

__all__ = ["LARGEST_TABLE", "Table", "manifest_digest", "parse_table", "read_cohort"]

LARGEST_TABLE = 64 << 20
"""Bytes of a table that are read at the most."""


def read_cohort(name: str, base: Path) -> bytes:
    """Read a cohort file beside a manifest.

    Parameters
    ----------
    name : str
        Its path, relative to the manifest's directory and inside it.
    base : Path
        The manifest's directory.

    Returns
    -------
    bytes

    Raises
    ------
    SelectionError
        Where it can't be read, or has more than `LARGEST_TABLE` bytes.
    """
    place = ("subjects", "table", "file")
    try:
        with (base / name).open("rb") as file:
            data = file.read(LARGEST_TABLE + 1)
    except OSError as error:
        problem = Problem(message=f"can't read {name!r}: {error.strerror}", at=place)
        raise SelectionError(problems=[problem]) from error
    if len(data) > LARGEST_TABLE:
        problem = Problem(message=f"{name!r} has more than {LARGEST_TABLE:,} bytes", at=place)
        raise SelectionError(problems=[problem])
    return data


def manifest_digest(manifest: Manifest, base: Path) -> str:
    """Give the digest that ties a plan to its manifest, a cohort file's content included.

    Parameters
    ----------
    manifest : Manifest
    base : Path
        The manifest's directory.

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
    return manifest.sha256([] if isinstance(table, str) else [read_cohort(table.file, base)])


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
        By label, without ``sub-``: the participant's rows, in their order.
    """

    columns: tuple[str, ...]
    id_column: str
    rows: Mapping[str, tuple[Mapping[str, str], ...]]

    def stratum(self, label: str, columns: Sequence[str]) -> str:
        """Name the stratum that a participant's first row puts them in.

        Parameters
        ----------
        label : str
        columns : sequence of str

        Returns
        -------
        str
            The columns' values, joined; missing ones as ``n/a``.
        """
        row = next(iter(self.rows.get(label, ())), {})
        values = (row.get(column, "") for column in columns)
        return "/".join(MISSING if is_missing(value) else value for value in values)


def parse_table(
    data: bytes, name: str, *, id_column: str | None = None
) -> tuple[Table | None, list[Problem]]:
    r"""Read a table of participants.

    Parameters
    ----------
    data : bytes
    name : str
        The file's name: one that ends in ``.csv`` is comma-separated and may have quotes, any
        other is tab-separated and has none.
    id_column : str, optional
        The column that names participants; ``participant_id`` or ``subject_id`` where not given.

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
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Older tables come from spreadsheets; every byte has a meaning in this encoding.
        text = data.decode("cp1252", errors="replace")
    try:
        lines = _records(text.replace("\r\n", "\n").replace("\r", "\n"), name)
    except csv.Error as error:
        return None, [Problem(message=f"{name} is not valid CSV: {error}")]
    if not lines:
        return None, [Problem(message=f"{name} is empty")]
    columns = tuple(cell.strip() for cell in lines[0])
    wanted = (id_column,) if id_column else ID_COLUMNS
    key = next((column for column in wanted if column in columns), None)
    if key is None:
        hint = suggestion(wanted[0], columns)
        return None, [Problem(message=f"{name} has no column {wanted[0]!r}", hint=hint)]
    return Table(columns=columns, id_column=key, rows=_rows(columns, key, lines[1:])), []


def _rows(
    columns: Sequence[str], key: str, lines: Sequence[Sequence[str]]
) -> dict[str, tuple[Mapping[str, str], ...]]:
    rows: dict[str, list[Mapping[str, str]]] = {}
    for cells in lines:
        padded = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
        row = dict(zip(columns, padded, strict=False))
        label = bare_label(row[key])
        if label:
            rows.setdefault(label, []).append(row)
    return {label: tuple(found) for label, found in rows.items()}


def _records(text: str, name: str) -> list[list[str]]:
    if name.lower().endswith(".csv"):
        records = list(csv.reader(io.StringIO(text)))
    else:
        records = [line.split("\t") for line in text.split("\n")]
    return [cells for cells in records if any(cell.strip() for cell in cells)]
