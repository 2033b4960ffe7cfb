"""Tells griffe, which reads the source for mkdocstrings, how records of msgspec are made."""

from __future__ import annotations

from typing import Any

import griffe

_BASES = frozenset({"msgspec.Struct", "typing.NamedTuple"})


class RecordSignatures(griffe.Extension):
    """Adds the constructor that `msgspec.Struct` and `NamedTuple` make of a class's fields."""

    def on_class(self, *, cls: griffe.Class, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Add it to a class that has such a base, or a base that has one."""
        if "__init__" not in cls.members and _is_record(cls, loader):
            fields = [field for field in cls.attributes.values() if field.annotation is not None]
            parameters = griffe.Parameters(*map(_parameter, fields))
            method = griffe.Function("__init__", parameters=parameters, lineno=0, endlineno=0)
            cls.set_member("__init__", method)


def _is_record(cls: griffe.Class, loader: griffe.GriffeLoader) -> bool:
    """Report whether a class, or one that it inherits, has a base of `_BASES`."""
    for base in cls.bases:
        path = base.canonical_path if isinstance(base, griffe.Expr) else base
        if path in _BASES:
            return True
        found = loader.modules_collection.get_member(path) if path.startswith("bidsplan") else None
        if isinstance(found, griffe.Class) and _is_record(found, loader):
            return True
    return False


def _parameter(field: griffe.Attribute) -> griffe.Parameter:
    kind = griffe.ParameterKind.keyword_only
    return griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value)
