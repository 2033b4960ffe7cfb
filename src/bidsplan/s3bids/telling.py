"""Warnings, which a notebook shows beside the line that they are about."""

from __future__ import annotations

import inspect
import warnings

__all__ = ["warn"]


def warn(text: str) -> None:
    """Warn of something odd, at the line that called into bidsplan.

    Parameters
    ----------
    text : str
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("bidsplan."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
