"""Finds ranges that people write as text, such as ``> 30`` or ``30-60``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bidsplan.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = r"((?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?)"
_LIMIT = re.compile(rf" {{0,9}}([<>]=?|[≤≥]) {{0,9}}{_NUMBER} {{0,9}}")
_BETWEEN = re.compile(rf" {{0,9}}{_NUMBER} {{0,9}}(?:-|–|\.\.\.?|to) {{0,9}}{_NUMBER} {{0,9}}")


def range_hint(text: str) -> str | None:
    """Return how to write a range, if a text looks like one.

    Examples
    --------
    >>> range_hint("> 30"), range_hint("30-60")
    ('for a range write {min: 30}', 'for a range write {min: 30, max: 60}')
    >>> range_hint("patient")
    """
    if found := _LIMIT.fullmatch(text):
        field = "min" if found[1] in {">", ">=", "≥"} else "max"
        return f"for a range write {{{field}: {found[2]}}}"
    found = _BETWEEN.fullmatch(text)
    if found and float(found[1]) <= float(found[2]):
        return f"for a range write {{min: {found[1]}, max: {found[2]}}}"
    return None


def range_warnings(document: object) -> Iterator[Problem]:
    """Yield warnings about texts in ``subjects.where`` that look like ranges."""
    subjects = document.get("subjects") if isinstance(document, dict) else None
    where = subjects.get("where") if isinstance(subjects, dict) else None
    for column, text in where.items() if isinstance(where, dict) else ():
        if isinstance(text, str) and (hint := range_hint(text)):
            yield Problem(
                message=f"{text!r} is compared as text",
                at=("subjects", "where", column),
                hint=f"{hint}; for a value of the table write ['{text}']",
            )
