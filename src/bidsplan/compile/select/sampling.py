"""Samples subjects reproducibly, by a seed."""

from __future__ import annotations

import hashlib
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def rank_order(units: Iterable[str], seed: int) -> list[str]:
    """Order units by the SHA-256 of ``seed:unit``.

    The order of the other units does not change if a unit is added or removed, so a sample of n
    changes by at most one.
    """
    return sorted(
        units, key=lambda unit: (hashlib.sha256(f"{seed}:{unit}".encode()).digest(), unit)
    )


def shuffle_order(units: Iterable[str], seed: int) -> list[str]:
    """Order units in the same way as pyAFQ's ``s3bids``.

    The sorted ``sub-`` labels are shuffled by NumPy's legacy ``RandomState``. The seed is below
    2**32.
    """
    # Importing NumPy takes a tenth of a second, and only this method needs it.
    from numpy.random import RandomState

    prefixed = {}
    for unit in units:
        site, slash, label = unit.rpartition("/")
        prefixed[f"{site}{slash}sub-{label}"] = unit
    order = sorted(prefixed)
    RandomState(seed).shuffle(order)
    return [prefixed[unit] for unit in order]


def share(fraction: Decimal, of: int) -> int:
    """Return a fraction of a number of units, rounding halves up."""
    return int((fraction * of).to_integral_value(ROUND_HALF_UP))


def allocate(count: int, strata: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Divide a count among strata in proportion to their size.

    The count must not exceed the number of units. Ties go to the stratum whose name sorts first.
    """
    total = sum(len(units) for units in strata.values())
    quotas = {name: Fraction(count * len(units), total or 1) for name, units in strata.items()}
    shares = {name: int(quotas[name]) for name in sorted(quotas)}
    by_remainder = sorted(shares, key=lambda name: (shares[name] - quotas[name], name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares
