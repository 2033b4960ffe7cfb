"""Units: what is selected and drawn, a subject at a site."""

from __future__ import annotations

__all__ = ["label_of", "site_of"]


def site_of(unit: str) -> str:
    """Give the site of a ``site/label`` unit; empty where there is none."""
    return unit.rpartition("/")[0]


def label_of(unit: str) -> str:
    """Give a unit's subject label, without ``sub-``."""
    return unit.rpartition("/")[2]
