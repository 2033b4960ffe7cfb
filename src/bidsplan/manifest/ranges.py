"""Finds ranges that people write as text, such as ``> 30`` or ``30-60``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bidsplan.errors import Problem
from bidsplan.messages import is_quotable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = r"((?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?)"
_LIMIT = re.compile(rf" {{0,9}}([<>]=?|[≤≥]) {{0,9}}{_NUMBER} {{0,9}}")
_BETWEEN = re.compile(rf" {{0,9}}{_NUMBER} {{0,9}}(?:-|–|\.\.\.?|to) {{0,9}}{_NUMBER} {{0,9}}")


def range_hint(text: str) -> str | None:
    """Return how to write a range, if a text looks like one.

    Examples
    --------
    >>> range_hint(">= 30"), range_hint("30-60")
    ('for a range write {min: 30}', 'for a range write {min: 30, max: 60}')
    >>> range_hint("> 30")
    'for a range write {min: 30, not: 30}'
    >>> range_hint("patient")
    """
    if found := _LIMIT.fullmatch(text):
        return f"for a range write {_limit(found[1], found[2])}"
    found = _BETWEEN.fullmatch(text)
    if found and float(found[1]) <= float(found[2]):
        return f"for a range write {{min: {found[1]}, max: {found[2]}}}"
    return None


def _limit(sign: str, number: str) -> str:
    """Write the predicate for a number and a sign such as ``>=``; `min` and `max` are inclusive."""
    field = "min" if sign[0] in ">≥" else "max"
    unequal = f", not: {number}" if sign in {">", "<"} else ""
    return f"{{{field}: {number}{unequal}}}"


_CONDITION = re.compile(r"([^\s<>=!≤≥]+)\s*(==?|!=|<>|[<>]=?|≤|≥)\s*([^\s<>=!≤≥].*)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_LONGEST = 200


def where_hint(value: object) -> str | None:
    """Return the mapping for conditions that are written as text, such as ``age >= 10``.

    Examples
    --------
    >>> where_hint("age > 10 and sex == F")
    '{age: {min: 10, not: 10}, sex: F}'
    >>> where_hint(["group != control"]), where_hint("age")
    ('{group: {not: control}}', None)
    """
    if isinstance(value, dict):
        # In braces, YAML takes a condition for a key without a value.
        value = list(value) if all(cell == "" for cell in value.values()) else None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    joined = " and ".join(texts)
    if not joined or len(joined) > _LONGEST:
        return None
    parts = re.split(r"\s+and\s+|&&?|,", joined, flags=re.IGNORECASE)
    predicates = [_predicate(part.strip()) for part in parts]
    return f"{{{', '.join(filter(None, predicates))}}}" if all(predicates) else None


def _predicate(text: str) -> str | None:
    """Write one condition as a field of ``where``; None if a message may not quote it."""
    found = _CONDITION.fullmatch(text)
    if not found:
        return None
    column, sign, cell = found[1], found[2], found[3].strip("\"'")
    if not (is_quotable(column) and is_quotable(cell)):
        return None
    written = cell if _PLAIN.fullmatch(cell) else f'"{cell}"'
    if sign in {"=", "=="}:
        return f"{column}: {written}"
    if sign in {"!=", "<>"}:
        return f"{column}: {{not: {written}}}"
    return f"{column}: {_limit(sign, cell)}" if re.fullmatch(_NUMBER, cell) else None


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
