"""Keys and paths: which are safe, how they compare; files opened or replaced as a whole."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def open_regular(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file for reading, and never wait for a pipe or a device.

    Parameters
    ----------
    follow : bool
        Whether it may be a link, or lie behind one where the path is relative.

    Raises
    ------
    OSError
    """
    if not follow and not path.is_absolute() and any(map(os.path.islink, path.parents)):
        raise OSError(errno.ELOOP, "a link on the way, and no link of a stranger is followed")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "a link, and no link of a stranger is followed") from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a local file that takes another's place when all went well.

    Yields
    ------
    binary file
        To write to; gone without a trace where writing fails.

    Raises
    ------
    OSError
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        # mkstemp makes files that only their owner reads; these are for the whole lab.
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
