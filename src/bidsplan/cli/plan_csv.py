"""Writes a plan's files as CSV that is safe to open in spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from bidsplan.paths import printable
from bidsplan.plan.integrity import best_check
from bidsplan.plan.places import Places, pipelines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.places import Place


_COLUMNS = (
    *("path", "size", "reason", "subject", "session", "datatype", "suffix", "extension"),
    *("pipeline", "url", "key", "etag", "version", "md5", "sha256", "proof"),
)

_FORMULA = tuple("=+-@＝＋－＠")
"""Characters that start a formula, with the wide forms that some spreadsheets also accept."""


def csv_lines(plan: Planned, redact: Callable[[str], str]) -> Iterator[str]:
    """Yield the header, then a line for each file.

    A cell that starts like a formula gets an apostrophe in front. Unprintable characters are
    escaped. `redact` is applied to each value.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    urls = [printable(root.url) for root in plan.header.roots]
    places = Places(plan.header, pipelines_of(plan))
    for entry in plan.entries:
        cells = _cells(entry, places(entry.path), urls)
        joined = " ".join(cells)
        if redact(joined) != joined:
            cells = [redact(cell) for cell in cells]
        writer.writerow(map(_safe, cells))
        if text.tell() > 1 << 16:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _cells(entry: Entry, place: Place, urls: list[str]) -> list[str]:
    names = place.columns(entry.reason).values()
    url = urls[entry.root] if entry.content is None else ""
    tags = (entry.etag, entry.version, entry.md5, entry.sha256, best_check(entry).value)
    cells = (entry.path, str(entry.size), entry.reason, *names, url, entry.key, *tags)
    return [printable(cell) if cell else "" for cell in cells]


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell
