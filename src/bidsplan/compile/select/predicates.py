"""Evaluates a manifest's conditions on the columns of a table."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from bidsplan.bids.names import bare_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bidsplan.manifest import Predicate


ID_COLUMNS = ("participant_id", "subject_id")
"""Columns that name participants, in which ``01`` is not ``1``, and ``sub-01`` is ``01``."""

MISSING = "n/a"
"""The text for a missing value in BIDS."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


def is_missing(value: str) -> bool:
    """Report whether a cell is empty or ``n/a``."""
    return not value or value.lower() == MISSING


class Values:
    """A set of values, which are equal as text or as numbers.

    Values of a column of participants (`ids`) are equal only as text, ignoring ``sub-``.
    """

    def __init__(self, values: Iterable[str], *, ids: bool = False) -> None:
        self._ids = ids
        self._numbers = True
        self._forms = {form for value in values for form in self._forms_of(value)}
        # Reading a cell as a number takes long, and few sets contain numbers.
        self._numbers = any(isinstance(form, Decimal) for form in self._forms)

    def __contains__(self, value: str) -> bool:
        return any(form in self._forms for form in self._forms_of(value))

    def of(self, values: Iterable[str]) -> Values:
        """Return the values that are also among many other values."""
        part = Values((), ids=self._ids)
        part._numbers = self._numbers
        found = (form for value in values for form in self._forms_of(value))
        part._forms = {form for form in found if form in self._forms}
        return part

    def _forms_of(self, value: str) -> tuple[str | Decimal, ...]:
        if is_missing(value):
            return (MISSING,)
        if self._ids:
            return (bare_label(value),)
        number = _number(value) if self._numbers else None
        return (value,) if number is None else (value, number)


class Condition:
    """A condition on one column, to evaluate for many cells."""

    def __init__(self, predicate: Predicate, *, ids: bool = False) -> None:
        self.predicate = predicate
        self._any_of = Values(predicate.any_of or (), ids=ids)
        self._not = Values(predicate.not_ or (), ids=ids)
        self.is_numeric = predicate.min is not None or predicate.max is not None

    def holds(self, value: str) -> bool | None:
        """Report whether a cell fulfils the condition; None if it can't be compared.

        A missing cell matches only ``n/a``. ``89+`` is read as a number of at least 89.
        """
        predicate = self.predicate
        if is_missing(value):
            return value in self._any_of
        if (predicate.any_of is not None and value not in self._any_of) or value in self._not:
            return False
        if not self.is_numeric:
            return True
        number, is_exact = _number(value.removesuffix("+")), not value.endswith("+")
        if number is None or (
            predicate.max is not None and number <= predicate.max and not is_exact
        ):
            return None
        if predicate.min is not None and number < predicate.min:
            return False if is_exact else None
        return predicate.max is None or number <= predicate.max


def row_matches(row: Mapping[str, str], where: Mapping[str, Condition]) -> bool:
    """Report whether one row fulfils all conditions, by column."""
    return all(condition.holds(row.get(column, "")) for column, condition in where.items())


def doubtful_column(row: Mapping[str, str], where: Mapping[str, Condition]) -> str | None:
    """Return the first column that can't be compared, if all others match."""
    held = {column: condition.holds(row.get(column, "")) for column, condition in where.items()}
    if False in held.values():
        return None
    return next((column for column, result in held.items() if result is None), None)


def _number(text: str) -> Decimal | None:
    # Decimal itself also reads 1_000 and digits of other scripts, which tables do not use as
    # numbers.
    return Decimal(text) if _NUMBER.fullmatch(text) else None
