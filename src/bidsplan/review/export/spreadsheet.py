"""Tables for spreadsheets: CSV (RFC 4180) without formulas."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import CONTENT, Loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bidsplan.plan import Entry, Planned, Root


_COLUMNS = ("path", "size", "reason", "url", "key", "etag", "version", "md5", "sha256")

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""Characters that start formulas in most languages' spreadsheets; no cell has tabs."""


def guarded(cell: str) -> str:
    """Return a cell with an apostrophe in front if it would be a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _cells(entry: Entry, roots: Sequence[Root]) -> Iterator[str]:
    url = "" if entry.content is not None else roots[entry.root].url
    for name in _COLUMNS:
        value = url if name == "url" else getattr(entry, name)
        yield "" if value is None else str(value)


def _lines(plan: Planned) -> Iterator[bytes]:
    roots = plan.header.roots
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for entry in plan.entries:
        writer.writerow(guarded(cell) for cell in _cells(entry, roots))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _draft(plan: Planned, _: object) -> Draft:
    roots = plan.header.roots
    quoted = Loss(
        lambda entry, _: any(cell.startswith(FORMULA) for cell in _cells(entry, roots)),
        "an apostrophe stands before cells of {files} that would be formulas: {names}",
    )
    return Draft(
        losses=(CONTENT, quoted),
        refused=lambda _entry, _sources: None,
        content=lambda: {"": _lines(plan)},
    )


FORMAT = Format("csv", "a table for spreadsheets", _draft)
