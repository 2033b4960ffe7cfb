"""Object keys and destination paths: which are safe, and how they compare.

A key is an object's name below its dataset's root; a path is where it lands, POSIX, below the
destination. Listings and plans are untrusted input, so both are checked by the same rules, once
when a plan is made and once more when it is read.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "LONGEST_SEGMENT",
    "STATE_DIRECTORY",
    "collision_form",
    "is_plain",
    "longest_segment",
    "parents",
    "printable",
    "unsafe_key",
    "unsafe_path",
]

STATE_DIRECTORY = ".bidsplan"
"""Where a destination keeps partials and receipts; no planned path may lie there."""

LONGEST_SEGMENT = 255
"""Bytes that one segment may have on the file systems in use."""

# Cc: control characters. Cf: format characters, the bidirectional overrides among them, which make
# a name read as another. Cs: lone surrogates, which no UTF-8 file name can hold. Zl, Zp: line
# breaks.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


_PLAIN_SEGMENT = rf"(?!\.{{1,2}}(?:/|\Z))[ -.0-\[\]-~]{{1,{LONGEST_SEGMENT}}}"
_PLAIN = re.compile(f"{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT})*")


def is_plain(key: str) -> bool:
    """Tell at once of nearly every real key that it is safe and has no long segment.

    Parameters
    ----------
    key : str

    Returns
    -------
    bool
        Where it is false, `unsafe_key` and `longest_segment` tell more.
    """
    return _PLAIN.fullmatch(key) is not None


def unsafe_key(key: str) -> str | None:
    """Tell why a key can't become a path below a destination.

    Parameters
    ----------
    key : str
        A key relative to its root.

    Returns
    -------
    str or None
        The reason, or None where the key is safe.

    Examples
    --------
    >>> unsafe_key("sub-01/../../etc/passwd")
    "it has a '..' segment"
    >>> unsafe_key("sub-01/anat/sub-01_T1w.nii.gz")
    """
    if not key:
        return "it is empty"
    if key.startswith("/"):
        return "it is absolute"
    for segment in key.split("/"):
        if segment in {"", ".", ".."}:
            return f"it has a {segment!r} segment" if segment else "it has an empty segment"
    if "\\" in key:
        return "it has a backslash"
    # isascii() and isprintable() decide nearly every real key at once.
    if key.isascii() and key.isprintable():
        return None
    for character in key:
        if unicodedata.category(character) in _UNSAFE_CATEGORIES:
            return f"it has the character U+{ord(character):04X}"
    return None


def unsafe_path(path: str) -> str | None:
    """Tell why a path may not be written below a destination.

    Parameters
    ----------
    path : str
        A path relative to the destination.

    Returns
    -------
    str or None
        The reason, or None where the path is safe.
    """
    if path.split("/", 1)[0].casefold() == STATE_DIRECTORY:
        return f"{STATE_DIRECTORY}/ is bidsplan's own"
    return unsafe_key(path)


def longest_segment(path: str) -> int:
    """Give the length, in bytes, of a path's longest segment."""
    return max(len(segment.encode()) for segment in path.split("/"))


def collision_form(path: str) -> str:
    """Give the form in which two paths are one file on a case- or form-folding file system.

    Parameters
    ----------
    path : str

    Returns
    -------
    str
        The path in Unicode's NFC, its case folded.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def parents(path: str) -> list[str]:
    """List the directories above a path, outermost first.

    Examples
    --------
    >>> parents("sub-01/anat/sub-01_T1w.nii.gz")
    ['sub-01', 'sub-01/anat']
    """
    return [path[:index] for index, character in enumerate(path) if character == "/"]


def printable(text: str) -> str:
    """Escape what could drive a terminal or make a name read as another.

    Parameters
    ----------
    text : str
        Anything that came from storage, a plan or a manifest.

    Returns
    -------
    str
        The text, its control, format and line-breaking characters written as escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in _UNSAFE_CATEGORIES
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )
