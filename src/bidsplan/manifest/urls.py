"""URLs in a manifest, which are refused without being repeated."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from bidsplan.manifest.values import Text
from bidsplan.urls import canonical_url, refused_url

__all__ = ["ALLOWED", "Url"]

ALLOWED = "allow_protocols"
"""Key of the validation context under which protocols beyond the usual ones stand."""


_LONGEST = 2048


def _url(value: str, info: ValidationInfo) -> str:
    context: Any = info.context or {}
    reason = refused_url(value, allow=frozenset(context.get(ALLOWED, ())))
    if len(value) > _LONGEST:
        reason = f"it is longer than {_LONGEST:,} characters"
    if reason:
        raise ValueError(f"the URL is refused: {reason}")
    return canonical_url(value)


Url = Annotated[Text, AfterValidator(_url)]
