"""The words and associations of BIDS, from the standard's own schema."""

from __future__ import annotations

import functools
from importlib.resources import files

import msgspec


class Association(msgspec.Struct, frozen=True):
    """A kind of file that belongs to other files.

    Parameters
    ----------
    selectors : tuple of str
        Expressions about a file. A file may have an associated file if all of them are true.
    inherit : bool
        Whether the associated file may be at a higher level, by inheritance.
    """

    selectors: tuple[str, ...]
    target: Target
    inherit: bool


class Target(msgspec.Struct, frozen=True):
    """The suffixes and extensions of a kind of file.

    Parameters
    ----------
    extension : str or tuple of str
        The allowed extensions.
    suffix : str or None
        The suffix; None for the suffix of the file that it belongs to.
    entities : tuple of str
        Entities that it may have even if the file does not have them.
    """

    extension: str | tuple[str, ...]
    suffix: str | None = None
    entities: tuple[str, ...] = ()

    @property
    def extensions(self) -> tuple[str, ...]:
        """The kind's extensions, as a tuple even if there is one."""
        return (self.extension,) if isinstance(self.extension, str) else self.extension


class _Word(msgspec.Struct):
    value: str


class _Entity(msgspec.Struct):
    name: str


class _Objects(msgspec.Struct):
    datatypes: dict[str, _Word]
    suffixes: dict[str, _Word]
    entities: dict[str, _Entity]
    extensions: dict[str, _Word]


class _Meta(msgspec.Struct):
    associations: dict[str, Association]


class _Schema(msgspec.Struct):
    objects: _Objects
    meta: _Meta


@functools.cache
def _schema() -> _Schema:
    # This takes a hundredth of a second, a third of the time of the schema's own loader.
    data = files("bidsschematools").joinpath("data", "schema.json").read_bytes()
    return msgspec.json.decode(data, type=_Schema)


@functools.cache
def datatypes() -> frozenset[str]:
    """Return the datatypes that BIDS defines."""
    return frozenset(item.value for item in _schema().objects.datatypes.values())


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes that BIDS defines."""
    return frozenset(item.value for item in _schema().objects.suffixes.values())


@functools.cache
def extensions() -> frozenset[str]:
    """Return the extensions that BIDS defines, without the slash of directory recordings."""
    return frozenset(item.value.rstrip("/") for item in _schema().objects.extensions.values())


@functools.cache
def entities() -> dict[str, str]:
    """Return the long names of the BIDS entities, by their short names."""
    return {item.name: long for long, item in _schema().objects.entities.items()}


def associations() -> dict[str, Association]:
    """Return the associations that BIDS defines, by name."""
    return _schema().meta.associations
