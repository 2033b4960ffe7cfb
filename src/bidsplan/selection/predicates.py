"""What a manifest asks of a table's columns."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.manifest import Predicate

__all__ = ["ID_COLUMNS", "MISSING", "holds", "is_missing", "row_matches"]

ID_COLUMNS = ("participant_id", "subject_id")
"""Columns that name participants: ``01`` is not ``1`` there."""

MISSING = "n/a"
"""How BIDS writes a missing value."""


def is_missing(value: str) -> bool:
    """Tell whether a cell has no value: it is empty, or says ``n/a``."""
    return not value or value.lower() == MISSING


def row_matches(row: Mapping[str, str], where: Mapping[str, Predicate]) -> bool:
    """Tell whether one row has all that is asked of its columns."""
    return all(
        holds(predicate, row.get(column, ""), text=column in ID_COLUMNS)
        for column, predicate in where.items()
    )


def holds(predicate: Predicate, value: str, *, text: bool = False) -> bool:
    """Tell whether a cell has what is asked of it.

    Parameters
    ----------
    predicate : Predicate
    value : str
        The cell. A missing one matches nothing but ``n/a`` itself.
    text : bool
        Whether values are equal only where they are the same text.

    Returns
    -------
    bool
    """
    if is_missing(value):
        return any(is_missing(wanted) for wanted in predicate.any_of or ())
    equal = str.__eq__ if text else _equal
    if predicate.any_of is not None and not any(equal(w, value) for w in predicate.any_of):
        return False
    if predicate.not_ is not None and any(equal(w, value) for w in predicate.not_):
        return False
    if predicate.min is None and predicate.max is None:
        return True
    number = _number(value)
    if number is None:
        return False
    low = _number(str(predicate.min)) if predicate.min is not None else None
    high = _number(str(predicate.max)) if predicate.max is not None else None
    return (low is None or number >= low) and (high is None or number <= high)


def _equal(wanted: str, value: str) -> bool:
    """Compare as numbers where both are, else as text."""
    if wanted == value:
        return True
    first, second = _number(wanted), _number(value)
    return first is not None and first == second


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
