"""Arguments of pyAFQ's classes, and errors for what they do not take."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.errors import ArgumentTypeError, UsageError

AGNOSTIC = (DESCRIPTION, "CHANGES", "README", "LICENSE")
"""Names that ``include_modality_agnostic`` may list."""

Derivs = bool | str | Sequence[str]
"""Which derivatives: all, none, or pipelines by name."""


def check_instance(name: str, value: object, kind: type, said: str, *, none: bool = False) -> None:
    """Refuse an argument of another type.

    Parameters
    ----------
    name : str
        The argument's.
    said : str
        The type in words.
    none : bool
        Whether None is fine too.

    Raises
    ------
    ArgumentTypeError
    """
    if not isinstance(value, kind) and not (none and value is None):
        also = " or None" if none else ""
        got = type(value).__name__
        raise ArgumentTypeError(f"`{name}` must be {said}{also}; got {got}")


def check_directory(directory: object) -> None:
    """Refuse a directory that is no string, as pyAFQ does.

    Raises
    ------
    ArgumentTypeError
    """
    check_instance("directory", directory, str, "a string")


def check_subjects(subjects: Any) -> int | str | tuple[str, ...] | tuple[int, ...] | None:
    """Check which subjects are asked for.

    Raises
    ------
    ArgumentTypeError
        Where it is anything else.
    UsageError
        Where it asks for none at all.
    """
    if isinstance(subjects, int) and subjects < 1:
        raise UsageError(f"`subjects` must be greater than 0 where it is an int; got {subjects}")
    if subjects is None or isinstance(subjects, int | str):
        return subjects
    several: tuple[Any, ...] = tuple(subjects) if isinstance(subjects, Iterable) else (None,)
    if not several:
        raise UsageError("`subjects` is empty; 'all' takes every subject, and None draws one")
    for kind in (str, int):
        if all(isinstance(subject, kind) for subject in several):
            return several
    raise ArgumentTypeError(
        "`subjects` must be an int, a string, a sequence of strings or a sequence of ints; "
        f"got {type(subjects).__name__}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadOptions:
    """What a download is to bring.

    Parameters
    ----------
    agnostic : str or tuple of str
        ``all``, or names of files at the study's root.
    derivatives : bool or tuple of str
        All, none, or pipelines by name, of which one that ends in ``*`` names many.
    descriptions : bool
        Whether derivatives' descriptions come along.
    suffix : str
        What files' names end in.
    described : bool
        Whether the study gets a description, were it a generated one.
    """

    agnostic: str | tuple[str, ...] = ()
    derivatives: bool | tuple[str, ...] = False
    descriptions: bool = False
    suffix: str = ""
    described: bool = False

    def takes(self, pipeline: str, *aliases: str) -> bool:
        """Tell whether a pipeline is asked for, by its name or another one that it goes by."""
        if isinstance(self.derivatives, bool):
            return self.derivatives
        names = (pipeline, *aliases)
        return any(_names(wanted, name) for wanted in self.derivatives for name in names)


def _names(wanted: str, name: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def download_options(
    *,
    include_modality_agnostic: Any = False,
    include_derivs: Any = False,
    include_derivs_dataset_description: bool = False,
    suffix: str | None = None,
    overwrite: bool = False,
    pbar: bool = True,
) -> DownloadOptions:
    """Check what the download methods take, and say what it asks for.

    Parameters
    ----------
    include_modality_agnostic, include_derivs, include_derivs_dataset_description, suffix
        As in `S3BIDSStudy.download`.

    Raises
    ------
    ArgumentTypeError
        Where one has another type.
    UsageError
        Where `include_modality_agnostic` lists other names than it may.
    """
    agnostic = _agnostic(include_modality_agnostic)
    derivatives = _derivatives(include_derivs)
    check_instance("overwrite", overwrite, bool, "a boolean")
    check_instance("suffix", suffix, str, "a string", none=True)
    check_instance("pbar", pbar, bool, "a boolean")
    return DownloadOptions(
        agnostic=agnostic,
        derivatives=derivatives,
        descriptions=bool(include_derivs_dataset_description and derivatives),
        suffix=suffix or "",
    )


def _agnostic(value: Any) -> str | tuple[str, ...]:
    if value is True or value is False:
        return "all" if value else ()
    if value == "all":
        return "all"
    names = _strings("include_modality_agnostic", value, "a boolean, 'all' or a sequence of names")
    if isinstance(value, str) or not set(names) <= set(AGNOSTIC):
        raise UsageError(
            "`include_modality_agnostic` must be a boolean, 'all', or a subset of "
            f"{', '.join(AGNOSTIC)}; got {value!r}"
        )
    return names


def _derivatives(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    return _strings("include_derivs", value, "a boolean, a string or a sequence of strings")


def _strings(name: str, value: Any, said: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    several = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(item, str) for item in several):
        raise ArgumentTypeError(f"`{name}` must be {said}; got {type(value).__name__}")
    return several


def warn(text: str) -> None:
    """Warn of something odd, at the line that called into bidsplan."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("bidsplan."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
