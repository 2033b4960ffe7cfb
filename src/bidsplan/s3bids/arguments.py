"""Checks the arguments of pyAFQ's classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.errors import ArgumentTypeError, UsageError

AGNOSTIC = (DESCRIPTION, "CHANGES", "README", "LICENSE")
"""Names that ``include_modality_agnostic`` may contain."""

Derivs = bool | str | Sequence[str]
"""The selected derivatives: all, none, or pipelines by name."""


def check_instance(
    name: str, value: object, kind: type, expected: str, *, none: bool = False
) -> None:
    """Raise ArgumentTypeError if an argument has another type."""
    if not isinstance(value, kind) and not (none and value is None):
        also = " or None" if none else ""
        got = type(value).__name__
        raise ArgumentTypeError(f"`{name}` must be {expected}{also}; got {got}")


def check_subjects(subjects: Any) -> int | str | tuple[str, ...] | tuple[int, ...] | None:
    """Check the type of `subjects`; raise UsageError if it is empty."""
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
    """The options of a download."""

    agnostic: str | tuple[str, ...] = ()  # "all", or names of files at the study's root
    derivatives: bool | tuple[str, ...] = False  # names; one that ends in "*" is a prefix
    descriptions: bool = False  # of these derivatives
    suffix: str = ""
    described: bool = False  # a description is generated where the study has none
    overwrite: bool = False
    pbar: bool = False

    def takes(self, pipeline: str, *aliases: str) -> bool:
        """Report whether a pipeline is selected, by its name or alias."""
        if isinstance(self.derivatives, bool):
            return self.derivatives
        return any(
            name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted
            for wanted in self.derivatives
            for name in (pipeline, *aliases)
        )


def download_options(
    *,
    include_modality_agnostic: Any = False,
    include_derivs: Any = False,
    include_derivs_dataset_description: bool = False,
    suffix: str | None = None,
    overwrite: bool = False,
    pbar: bool = True,
    described: bool = False,
) -> DownloadOptions:
    """Check the arguments of `S3BIDSStudy.download`.

    Raises ArgumentTypeError if one has another type, and UsageError where
    `include_modality_agnostic` contains other names than `AGNOSTIC`.
    """
    agnostic = _agnostic(include_modality_agnostic)
    derivatives = include_derivs
    if not isinstance(derivatives, bool):
        expected = "a boolean, a string or a sequence of strings"
        derivatives = _strings("include_derivs", derivatives, expected)
    check_instance("overwrite", overwrite, bool, "a boolean")
    check_instance("suffix", suffix, str, "a string", none=True)
    check_instance("pbar", pbar, bool, "a boolean")
    return DownloadOptions(
        agnostic=agnostic,
        derivatives=derivatives,
        descriptions=bool(include_derivs_dataset_description and derivatives),
        suffix=suffix or "",
        described=described,
        overwrite=overwrite,
        pbar=pbar,
    )


def _agnostic(value: Any) -> str | tuple[str, ...]:
    if value is False:
        return ()
    if value is True or value == "all":
        return "all"
    names = _strings("include_modality_agnostic", value, "a boolean, 'all' or a sequence of names")
    if isinstance(value, str) or not set(names) <= set(AGNOSTIC):
        raise UsageError(
            "`include_modality_agnostic` must be a boolean, 'all', or a subset of "
            f"{', '.join(AGNOSTIC)}; got {value!r}"
        )
    return names


def _strings(name: str, value: Any, expected: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    several = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(item, str) for item in several):
        raise ArgumentTypeError(f"`{name}` must be {expected}; got {type(value).__name__}")
    return several
