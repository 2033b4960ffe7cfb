"""Types of a manifest's fields, and the base of its models."""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

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
    model_validator,
)
from pydantic_core import PydanticCustomError

from bidsplan.messages import is_secret
from bidsplan.paths import printable, unsafe_key
from bidsplan.urls import canonical_url, refused_url

if TYPE_CHECKING:
    from collections.abc import Callable


_LONGEST = 4096
_LONGEST_SHOWN = 24
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")
_TOO_LONG = re.compile(r"[0-9]{20,}")
_SIZES = TypeAdapter(ByteSize)


def kind(value: object) -> str:
    """Name a value's kind, as the value itself may be a secret or very long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int | float | Decimal):
        return "true or false" if isinstance(value, bool) else "a number"
    return "nothing" if value is None or value == "" else "text"


def scalar(value: object) -> str | None:
    """Return text or a number as text, and None for anything else."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def is_integer(text: str) -> bool:
    """Return whether text is a whole number without leading zeros."""
    return _INTEGER.fullmatch(text) is not None


def _text(value: Any) -> Any:
    value = scalar(value) or value
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


def _integer(value: Any, least: int = 0) -> Any:
    if isinstance(value, str) and _INTEGER.fullmatch(value.removeprefix("-")):
        value = int(value)
    too_long = isinstance(value, str) and _TOO_LONG.fullmatch(value)
    if not too_long and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"expected a whole number; got {shown(value)}")
    if too_long or value >= 2**63:
        raise ValueError("expected a whole number from 0 to 2**63 - 1")
    if value < least:
        raise ValueError(f"expected at least {least}; got {value}")
    return value


def is_newer(version: object, known: int) -> bool:
    """Return whether a version is a whole number above the known one."""
    if isinstance(version, str) and _INTEGER.fullmatch(version):
        version = int(version)
    return type(version) is int and version > known


def _positive(value: Any) -> Any:
    return _integer(value, least=1)


def _seed(value: Any) -> Any:
    number = _integer(value)
    if number >= 2**32:
        raise ValueError("expected a whole number below 2**32")
    return number


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in {"true", "false"}:
        raise ValueError(f"expected true or false; got {shown(value)}")
    return value == "true"


def _size(value: Any) -> Any:
    try:
        size = int(_SIZES.validate_python(value))
    except (ValidationError, ValueError, OverflowError):
        size = -1
    if not 0 < size < 2**63:
        raise ValueError(f"expected a size such as 500GB or 1.5TiB; got {shown(value)}")
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
        raise ValueError(f"expected a number; got {shown(value)}")
    # 8 and 8.0 are the same number, so that manifests with either are the same manifest.
    return number.normalize(Context(prec=40))


def _name(value: Any) -> Any:
    name = _text(value)
    if reason := unsafe_key(name):
        raise ValueError(f"expected a name below the dataset's root; {reason}")
    return name


def _exact_name(value: Any) -> Any:
    name = _name(value)
    if "*" in name or "?" in name:
        raise ValueError("expected an exact name; only files and subjects are chosen by globs")
    return name


def _glob(value: Any) -> Any:
    if reason := unsafe_key(_text(value)):
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


def shown(value: object) -> str:
    """Quote short plain text; of anything else name the kind, as it may be a secret."""
    return repr(value) if isinstance(value, str) and _is_plain(value) else kind(value)


def as_list(value: Any) -> Any:
    """Wrap a single value in a list."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("expected at least one value; got an empty list")
        return value
    return [value]


def _read(check: Callable[[Any], Any], written: Any) -> BeforeValidator:
    """Make a validator with the type that the JSON schema gives for the field."""
    return BeforeValidator(check, json_schema_input_type=written)


def list_of(item: Any) -> BeforeValidator:
    """Make a validator that also accepts a single value for a list."""
    return _read(as_list, item | list[item])


_SCALAR = str | float
Text = Annotated[str, _read(_text, _SCALAR)]
Title = Annotated[str, _read(_title, Annotated[str, Field(max_length=255)] | float)]
ExactName = Annotated[str, _read(_exact_name, _SCALAR)]
Name = Annotated[str, _read(_name, _SCALAR)]
Glob = Annotated[str, _read(_glob, _SCALAR)]
Extension = Annotated[str, _read(_extension, Annotated[str, Field(pattern=r"^[./]")])]
Count = Annotated[int, _read(_positive, Annotated[int, Field(ge=1)])]
Seed = Annotated[int, _read(_seed, Annotated[int, Field(ge=0, lt=2**32)])]
Boolean = Annotated[bool, _read(_boolean, bool)]
Size = Annotated[int, _read(_size, int | str)]
Number = Annotated[Decimal, _read(_number, float)]
Fraction = Annotated[Decimal, _read(_fraction, Annotated[float, Field(gt=0, le=1)])]
Texts = Annotated[tuple[Text, ...], list_of(Text)]
Globs = Annotated[tuple[Glob, ...], list_of(Glob)]
Extensions = Annotated[tuple[Extension, ...], list_of(Extension)]
Names = Annotated[tuple[Name, ...], list_of(Name)]
ExactNames = Annotated[tuple[ExactName, ...], list_of(ExactName)]


def mapping(value: Any, example: str = "") -> Any:
    """Accept a mapping or a model, and nothing else; an error shows the example."""
    if not isinstance(value, dict | BaseModel):
        such = f" such as {example}" if example else ""
        raise ValueError(f"expected a mapping{such}; got {shown(value)}")  # noqa: TRY004 - pydantic's way
    return value


class Model(BaseModel):
    """Base of a manifest's models: frozen, without unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    # How people write one, for messages.
    _example: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return mapping(value if isinstance(value, cls) else cls._written(value), cls._example)

    @classmethod
    def _written(cls, value: Any) -> Any:
        """Return what was written as a mapping of fields; models override it for shorthands."""
        return value


ALLOWED = "allow_protocols"
"""Key of the validation context for protocols to allow besides the usual ones."""

_LONGEST_URL = 2048


def _url(value: str, info: ValidationInfo) -> str:
    context: Any = info.context or {}
    reason = refused_url(value, allow=frozenset(context.get(ALLOWED, ())))
    if len(value) > _LONGEST_URL:
        reason = f"it is longer than {_LONGEST_URL:,} characters"
    if reason:
        raise PydanticCustomError("url", "the URL is refused: {reason}", {"reason": reason})
    return canonical_url(value)


Url = Annotated[Text, AfterValidator(_url)]
