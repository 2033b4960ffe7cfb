"""Finds directories for subject labels that are spelt differently."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
_LETTERS = re.compile(r"^[^\W\d_]+(?=[0-9])")


def normal_label(label: str) -> str:
    """Return a label in the Unicode form for comparisons (NFC).

    macOS decomposes letters with accents in some names, and people type them composed.
    """
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def _unpunctuated(label: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", label.casefold())


def _unpadded(label: str) -> str:
    return _ZEROS.sub("", _unpunctuated(label))


# The smallest difference first. Each form also ignores the differences of those before it.
_DIFFERENCES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("upper and lower case", str.casefold),
    ("punctuation", _unpunctuated),
    ("zero padding", _unpadded),
    ("a prefix", lambda label: _ZEROS.sub("", _LETTERS.sub("", _unpunctuated(label)))),
)


def pair_alike(labels: Iterable[str], directories: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Pair labels with directories' labels that differ only in spelling.

    Yields a label, the directory's label, and the kind of difference: case, punctuation, zero
    padding, or a prefix that only one of them has. The two sides must have no label in common.
    """
    known = sorted(directories)
    indices: list[dict[str, str]] = [{} for _ in _DIFFERENCES]
    for directory in known:
        for index, (_, form) in zip(indices, _DIFFERENCES, strict=True):
            text = form(normal_label(directory))
            # If several directories differ only in this way, it is unclear which one is meant.
            index[text] = "" if text in index else directory
    for label in sorted(labels) if known else ():
        for index, (difference, form) in zip(indices, _DIFFERENCES, strict=True):
            directory = index.get(form(normal_label(label)), "")
            if directory and (difference != "a prefix" or _is_prefixed(label, directory)):
                yield label, directory, difference
                break


def _is_prefixed(label: str, other: str) -> bool:
    """Report whether one label is the other with letters in front."""
    short, long = sorted((_unpadded(label), _unpadded(other)), key=len)
    return bool(short) and short != long and not _LETTERS.match(short)
