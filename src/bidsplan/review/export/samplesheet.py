"""Sample sheets for workflow engines: CSV with rows of subjects and sessions.

The sheet has the form of nf-core's pipelines, which nf-schema reads. nf-schema reads a cell such as
``100307`` as a number, so labels keep their ``sub-`` and ``ses-``.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import Problem, UsageError
from bidsplan.messages import listed
from bidsplan.paths import natural_key, printable
from bidsplan.plan.places import derivative_directory
from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import Loss
from bidsplan.review.export.sheet_files import SheetFiles
from bidsplan.review.export.sheet_rows import SubjectRows, entities_apart
from bidsplan.review.export.spreadsheet import FORMULA, guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bidsplan.plan import Planned
    from bidsplan.review.export.sheet_files import Subject


_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_ODD = re.compile(r'[\s"]')
"""Characters in a path that pipelines refuse or misread."""

_IDENTITY = ("sample", "site", "subject", "session")

_NAMED = 3
"""The most subjects that a message names."""


class _Line(NamedTuple):
    """A row: its subject, session and so on, and the path in each column."""

    unit: str
    identity: dict[str, str]
    entities: dict[str, str]
    cells: dict[str, str]


def _conflict(column: str, pairs: list[str]) -> Problem:
    return Problem(
        message=f"column {column!r} has two files in one row, which no entity tells apart: "
        f"{listed(pairs[:1], len(pairs))}",
        hint=f"say which: --column {column}=GLOB, and so for each other column that is needed",
    )


def _line(subject: Subject, entities: dict[str, str], cells: dict[str, str]) -> _Line:
    site, label = subject
    named = {"site": site} if site is not None else {}
    named["subject"] = f"sub-{label}"
    if (session := entities.pop("ses", None)) is not None:
        named["session"] = f"ses-{session}"
    others = {name: f"{name}-{value}" for name, value in sorted(entities.items())}
    sample = "_".join([*named.values(), *others.values()])
    unit = label if site is None else f"{site}/{label}"
    return _Line(unit, {"sample": sample, **named}, others, cells)


def _order(sample: str) -> tuple[list[tuple[int, int, str]], str]:
    return natural_key(sample), sample


class _Sheet:
    """A plan's sample sheet, whose rows are made twice to save memory.

    Raises UsageError if two files belong in the same cell, or a column has no file.
    """

    def __init__(self, plan: Planned, columns: Mapping[str, str], dest: str) -> None:
        files = SheetFiles(plan, columns)
        self.nameless = files.nameless
        self.odd: set[str] = set()
        self._subjects = files.by_subject
        self._apart = entities_apart(files.by_subject.values())
        self._dest = dest if dest in {"", "/"} else f"{dest.rstrip('/')}/"
        self._refuse_conflicts()
        identified, entities, found, units = set[str](), set[str](), set[str](), set[str]()
        for line in self._lines():
            identified |= line.identity.keys()
            entities |= line.entities.keys()
            found |= line.cells.keys()
            units.add(line.unit)
            self.odd.update(filter(_ODD.search, line.cells.values()))
        self._columns = list(columns) or sorted(found, key=lambda name: (name.lower(), name))
        missing = [_no_file(name, columns[name]) for name in self._columns if name not in found]
        if missing:
            raise UsageError(problems=missing)
        self._identity = [name for name in _IDENTITY if name in {"sample", "subject", *identified}]
        self._entities = sorted(entities)
        self.without_rows = [unit for unit in plan.header.subjects if unit not in units]

    def _refuse_conflicts(self) -> None:
        conflicts: dict[str, list[str]] = defaultdict(list)
        for files in self._subjects.values():
            for column, first, second in SubjectRows(files, self._apart).conflicts:
                conflicts[column].append(f"{printable(first)} and {printable(second)}")
        if conflicts:
            raise UsageError(problems=[_conflict(*found) for found in sorted(conflicts.items())])

    def _lines(self) -> Iterator[_Line]:
        """Yield the rows, sorted by site, subject and sample."""
        for subject in sorted(self._subjects, key=lambda found: _order(f"{found[0]}/{found[1]}")):
            rows = SubjectRows(self._subjects[subject], self._apart).rows()
            lines = [_line(subject, dict(key), cells) for key, cells in rows]
            yield from sorted(lines, key=lambda line: _order(line.identity["sample"]))

    def blocks(self) -> Iterator[bytes]:
        """Yield the lines of the sheet."""
        taken = {*_IDENTITY, *self._columns}
        heading = [f"entity_{name}" if name in taken else name for name in self._entities]
        columns = [f"file_{name}" if name in _IDENTITY else name for name in self._columns]
        yield _encoded([*self._identity, *heading, *columns])
        for line in self._lines():
            cells = [line.identity.get(name, "") for name in self._identity]
            cells += [line.entities.get(name, "") for name in self._entities]
            paths = [self._located(line.cells.get(column)) for column in self._columns]
            yield _encoded([*map(guarded, cells), *paths])

    def _located(self, path: str | None) -> str:
        if path is None:
            return ""
        found = f"{self._dest}{path}"
        return f"./{found}" if found.startswith(FORMULA) else found


def _no_file(column: str, glob: str) -> Problem:
    return Problem(
        message=f"no file of the plan's subjects is for column {column!r}: none matches "
        f"{printable(glob)!r}",
        hint="'**/' finds a name in any directory, as in '**/*_T1w.nii.gz'",
    )


def _encoded(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _refuse_names(columns: Iterable[str]) -> None:
    for column in columns:
        if not _COLUMN.fullmatch(column) or column in _IDENTITY:
            raise UsageError(
                f"{column!r} can't name a column of files; expected a letter, then letters, digits "
                f"or '_', and none of {', '.join(_IDENTITY)}"
            )


def _draft(columns: Mapping[str, str], dest: str, plan: Planned, _: object) -> Draft:
    _refuse_names(columns)
    sheet = _Sheet(plan, columns, dest)
    derived = Loss(
        lambda entry, _: (
            entry.reason == "selected" and derivative_directory(entry.path) is not None
        ),
        "no column has {files} of derivatives: {names}",
        "--column NAME=GLOB names files of any kind, such as 'derivatives/*/**/*_wmparc.mgz'",
    )
    nameless = Loss(
        lambda entry, _: entry.path in sheet.nameless,
        "no column has {files} whose names have no suffix of letters and digits: {names}",
    )
    odd = Loss(
        lambda entry, _: entry.path in sheet.odd,
        "most pipelines refuse the paths of {files}, with spaces or quotation marks: {names}",
    )
    return Draft(
        losses=(odd,) if columns else (derived, nameless, odd),
        refused=lambda _entry, _sources: None,
        content=lambda: {"": sheet.blocks()},
        use=lambda path: f"nextflow run PIPELINE --input {shlex.quote(path)} --outdir RESULTS",
        warnings=_rowless(sheet.without_rows),
    )


def _rowless(units: Sequence[str]) -> tuple[Problem, ...]:
    """Return a warning about subjects without a row."""
    if not units:
        return ()
    number = f"{len(units):,} subject{'s' * (len(units) != 1)}"
    names = listed([printable(unit) for unit in units[:_NAMED]], len(units))
    return (Problem(message=f"no row for {number} without a file in any column: {names}"),)


def samplesheet(columns: Mapping[str, str], dest: str) -> Format:
    """Return the format with the options of `export_plan`."""
    about = "a sample sheet for nf-core and other workflows: a row for each subject and session"
    return Format("sample sheets", about, partial(_draft, columns, dest))


FORMAT = samplesheet({}, "")
