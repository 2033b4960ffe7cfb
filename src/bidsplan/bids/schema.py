"""The words of BIDS, from the standard's own schema."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def _objects() -> Any:
    # Loading the schema takes a tenth of a second, and most commands do without.
    from bidsschematools.schema import load_schema

    return load_schema().objects


@functools.cache
def datatypes() -> frozenset[str]:
    """Return the datatypes that BIDS defines."""
    return frozenset(item["value"] for item in _objects().datatypes.values())


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes that BIDS defines."""
    return frozenset(item["value"] for item in _objects().suffixes.values())


@functools.cache
def entities() -> dict[str, str]:
    """Return the entities that BIDS defines: long names by short ones."""
    return {item["name"]: long for long, item in _objects().entities.items()}
