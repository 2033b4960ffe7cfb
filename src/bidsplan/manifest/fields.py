"""Scalars of a manifest, URLs among them, and what its models share."""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from bidsplan.messages import is_secret
from bidsplan.paths import printable, unsafe_key
from bidsplan.urls import canonical_url, refused_url

_LONGEST = 4096
_LONGEST_SHOWN = 24
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")
_TOO_LONG = re.compile(r"[0-9]{20,}")
_SIZES = TypeAdapter(ByteSize)


def kind(value: object) -> str:
    """Name what a value is, without repeating it: it may be a secret, or very long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int | float | Decimal):
        return "true or false" if isinstance(value, bool) else "a number"
    return "nothing" if value is None or value == "" else "text"


def _text(value: Any) -> Any:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected text; got {kind(value)}")
    if len(value) > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST} characters; got {len(value)}")
    return value


def _title(value: Any) -> Any:
    text = _text(value)
    if len(text) > 255 or printable(text) != text:
        raise ValueError("expected at most 255 characters that print")
    return text


def _integer(value: Any) -> Any:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    too_long = isinstance(value, str) and _TOO_LONG.fullmatch(value)
    if not too_long and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"expected a whole number; got {_shown(value)}")
    if too_long or not 0 <= value < 2**63:
        raise ValueError("expected a whole number from 0 to 2**63 - 1")
    return value


def is_newer(version: object, known: int) -> bool:
    """Tell whether a version is a whole number above the one that is known."""
    if isinstance(version, str) and _INTEGER.fullmatch(version):
        version = int(version)
    return type(version) is int and version > known


def _positive(value: Any) -> Any:
    if _integer(value) == 0:
        raise ValueError("expected at least 1; got 0")
    return _integer(value)


def _seed(value: Any) -> Any:
    if _integer(value) >= 2**32:
        raise ValueError("expected a whole number below 2**32")
    return _integer(value)


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in {"true", "false"}:
        raise ValueError(f"expected true or false; got {_shown(value)}")
    return value == "true"


def _size(value: Any) -> Any:
    try:
        size = int(_SIZES.validate_python(value))
    except (ValidationError, ValueError, OverflowError):
        size = -1
    if not 0 < size < 2**63:
        raise ValueError(f"expected a size such as 500GB or 1.5TiB; got {_shown(value)}")
    return size


def _fraction(value: Any) -> Any:
    number = _number(value)
    if not 0 < number <= 1:
        raise ValueError("expected a number above 0 and at most 1")
    return number


def _number(value: Any) -> Any:
    try:
        number = Decimal(_text(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or len(number.as_tuple().digits) > 40 or abs(number.adjusted()) > 99:
        raise ValueError(f"expected a number; got {_shown(value)}")
    # 8 and 8.0 are one number, so manifests that differ in that alone are one manifest.
    return number.normalize(Context(prec=40))


def _name(value: Any) -> Any:
    reason = unsafe_key(_text(value))
    if reason:
        raise ValueError(f"expected a name below the dataset's root; {reason}")
    return _text(value)


def _exact_name(value: Any) -> Any:
    name = _name(value)
    if "*" in name or "?" in name:
        raise ValueError("expected an exact name; only files and subjects are chosen by globs")
    return name


def _glob(value: Any) -> Any:
    reason = unsafe_key(_text(value))
    if reason:
        raise ValueError(f"expected a glob relative to the dataset's root; {reason}")
    return value


def _extension(value: Any) -> Any:
    text = _text(value)
    if not text.startswith(".") and text != "/":
        hint = f"; did you mean '.{text}'?" if _is_plain(text) else ""
        raise ValueError(f"expected an extension with its dot{hint}")
    return text


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_SHOWN and text.isprintable() and not is_secret(text)


def _shown(value: object) -> str:
    """Show a short scalar as it was written; what may be a secret or is not plain is only named."""
    return repr(value) if isinstance(value, str) and _is_plain(value) else kind(value)


def as_list(value: Any) -> Any:
    """Take one value for a list of one."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("expected at least one value; got an empty list")
        return value
    return [value]


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | float)]
Title = Annotated[
    str,
    BeforeValidator(_title, json_schema_input_type=Annotated[str, Field(max_length=255)] | float),
]
ExactName = Annotated[str, BeforeValidator(_exact_name, json_schema_input_type=str | float)]
Name = Annotated[str, BeforeValidator(_name, json_schema_input_type=str | float)]
Glob = Annotated[str, BeforeValidator(_glob, json_schema_input_type=str | float)]
Extension = Annotated[
    str, BeforeValidator(_extension, json_schema_input_type=Annotated[str, Field(pattern=r"^[./]")])
]
Count = Annotated[
    int, BeforeValidator(_positive, json_schema_input_type=Annotated[int, Field(ge=1)])
]
Seed = Annotated[
    int,
    BeforeValidator(_seed, json_schema_input_type=Annotated[int, Field(ge=0, lt=2**32)]),
]
Boolean = Annotated[bool, BeforeValidator(_boolean, json_schema_input_type=bool)]
Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str)]
Number = Annotated[Decimal, BeforeValidator(_number, json_schema_input_type=float)]
Fraction = Annotated[
    Decimal,
    BeforeValidator(_fraction, json_schema_input_type=Annotated[float, Field(gt=0, le=1)]),
]
Texts = Annotated[
    tuple[Text, ...], BeforeValidator(as_list, json_schema_input_type=Text | list[Text])
]
Globs = Annotated[
    tuple[Glob, ...], BeforeValidator(as_list, json_schema_input_type=Glob | list[Glob])
]
Extensions = Annotated[
    tuple[Extension, ...],
    BeforeValidator(as_list, json_schema_input_type=Extension | list[Extension]),
]
Names = Annotated[
    tuple[Name, ...], BeforeValidator(as_list, json_schema_input_type=Name | list[Name])
]
ExactNames = Annotated[
    tuple[ExactName, ...],
    BeforeValidator(as_list, json_schema_input_type=ExactName | list[ExactName]),
]


class Model(BaseModel):
    """A part of a manifest: frozen, with no fields but its own."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


def mapping(value: Any) -> Any:
    """Take a mapping or a model, and nothing else."""
    if not isinstance(value, dict | BaseModel):
        raise ValueError(f"expected a mapping; got {kind(value)}")  # noqa: TRY004 - pydantic's way
    return value


ALLOWED = "allow_protocols"
"""Key of the validation context under which protocols beyond the usual ones stand."""


_LONGEST_URL = 2048


def _url(value: str, info: ValidationInfo) -> str:
    context: Any = info.context or {}
    reason = refused_url(value, allow=frozenset(context.get(ALLOWED, ())))
    if len(value) > _LONGEST_URL:
        reason = f"it is longer than {_LONGEST_URL:,} characters"
    if reason:
        raise ValueError(f"the URL is refused: {reason}")
    return canonical_url(value)


Url = Annotated[Text, AfterValidator(_url)]
