"""Writes a plan's summary as tables."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from bidsplan.messages import counted, listed, size
from bidsplan.paths import printable
from bidsplan.plan.integrity import CHECK_NAMES, CheckMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.review.summary import Amount, PlanSummary


_MOST_ROWS = 12
"""The most rows of a table, unless all are wanted."""

_NAMELESS = {
    "pipelines": "(raw)",
    "datatypes": "(no datatype)",
    "suffixes": "(dataset files)",
    "sessions": "(no session)",
    "subjects": "(no subject)",
}
"""Names for the amounts of files without a subject, session and so on."""

_TITLES = {
    "pipelines": "pipeline",
    "datatypes": "datatype",
    "suffixes": "suffix",
    "sessions": "session",
    "subjects": "subject",
    "reasons": "reason",
    "proofs": "proved by",
}


def summary_lines(summary: PlanSummary, *, show_all: bool = False) -> Iterator[str]:
    """Describe a summary: a headline, tables of counts, and the largest files."""
    subjects = counted(len(summary.selected), "subject")
    files = counted(summary.files, "file")
    yield f"{printable(summary.study)}: {subjects}, {files}, {size(summary.bytes)}"
    yield f"from: {listed(map(printable, summary.roots))}"
    if summary.sampling is not None:
        yield f"drawn by {summary.sampling} with seed {summary.random_seed}"
    if without := [unit for unit in summary.selected if unit not in summary.subjects]:
        yield f"subjects without a file: {listed(map(printable, without))}"
    for name, title in _TITLES.items():
        amounts = getattr(summary, name)
        # A table with a single row would only repeat the headline.
        if len(amounts) > 1 or name in {"reasons", "proofs"}:
            yield ""
            if name == "proofs":
                amounts = {CHECK_NAMES[CheckMethod(way)]: amounts[way] for way in amounts}
            yield from _table(
                title, amounts, _NAMELESS.get(name, ""), None if show_all else _MOST_ROWS
            )
    if summary.largest:
        yield "\nlargest files"
        yield from (f"{size(file.size):>10}  {printable(file.path)}" for file in summary.largest)


def _table(
    title: str, amounts: dict[str, Amount], nameless: str, most: int | None
) -> Iterator[str]:
    from tabulate import tabulate  # on demand

    rows = [
        (printable(name) or nameless, f"{amount.files:,}", size(amount.bytes))
        for name, amount in islice(amounts.items(), most)
    ]
    titles = [title, "files", "bytes"]
    align = ("left", "right", "right")
    yield tabulate(rows, titles, "plain", disable_numparse=True, colalign=align)
    if len(rows) < len(amounts):
        rest = [*amounts.values()][len(rows) :]
        left = size(sum(amount.bytes for amount in rest))
        files = counted(sum(amount.files for amount in rest), "file")
        yield f"… and {len(rest):,} more: {files}, {left}"
