"""What all models of a manifest share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from bidsplan.manifest.values import kind

__all__ = ["Model", "mapping"]


class Model(BaseModel):
    """A part of a manifest: frozen, with no fields but its own."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


def mapping(value: Any) -> Any:  # noqa: ANN401 - whatever the document holds
    """Take a mapping or a model, and nothing else."""
    if not isinstance(value, dict | BaseModel):
        raise ValueError(f"expected a mapping; got {kind(value)}")  # noqa: TRY004 - pydantic's way
    return value
