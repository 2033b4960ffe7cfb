"""Numbers of bytes as people write them on a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import Context, Parameter

__all__ = ["BYTES"]


class _Bytes(click.ParamType[int]):
    """A number of bytes, such as 500GB or 1.5TiB."""

    name = "size"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> int:  # noqa: ANN401 - click's signature
        from pydantic import ByteSize, TypeAdapter, ValidationError  # noqa: PLC0415 - slow to import

        try:
            return int(TypeAdapter(ByteSize).validate_python(value))
        except ValidationError:
            self.fail(f"{value!r} is no size; write it as 500GB or 1.5TiB", param, ctx)


BYTES = _Bytes()
"""The type of options that take a size."""
