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
    """Give the datatypes that BIDS knows."""
    return frozenset(item["value"] for item in _objects().datatypes.values())


@functools.cache
def suffixes() -> frozenset[str]:
    """Give the suffixes that BIDS knows."""
    return frozenset(item["value"] for item in _objects().suffixes.values())


@functools.cache
def entities() -> dict[str, str]:
    """Give the entities that BIDS knows: long names by short ones."""
    return {item["name"]: long for long, item in _objects().entities.items()}
