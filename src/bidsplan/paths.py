"""Checks and compares keys and paths, and opens and replaces files safely."""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


STATE_DIRECTORY = ".bidsplan"
"""The destination's directory for partial files and receipts; planned paths can't be in it."""

LONGEST_SEGMENT = 255
"""The most bytes that common file systems allow in one segment."""

# Cc: control characters. Cf: format characters, bidirectional overrides among them, which disguise
# a name. Cs: lone surrogates, which no UTF-8 file name can hold. Zl, Zp: line breaks.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

_PLAIN_SEGMENT = rf"(?!\.{{1,2}}(?:/|\Z))[ -.0-\[\]-~]{{1,{LONGEST_SEGMENT}}}"
_PLAIN = re.compile(f"{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT})*")


def is_plain(key: str) -> bool:
    """Report whether a key is safe ASCII, without long segments.

    Nearly all real keys are plain, and this test is fast. For other keys, use `unsafe_key` and
    `longest_segment`.
    """
    return _PLAIN.fullmatch(key) is not None


def unsafe_key(key: str) -> str | None:
    """Return why a key can't become a path in a destination, or None.

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
    # isascii() and isprintable() are enough for nearly every real key.
    if key.isascii() and key.isprintable():
        return None
    for character in key:
        if unicodedata.category(character) in _UNSAFE_CATEGORIES:
            return f"it has the character U+{ord(character):04X}"
    return None


def unsafe_path(path: str) -> str | None:
    """Return why a path is unsafe in a destination, or None."""
    if path.split("/", 1)[0].casefold() == STATE_DIRECTORY:
        return f"{STATE_DIRECTORY}/ is bidsplan's own"
    return unsafe_key(path)


def relative_path(path: Path, above: Path) -> str:
    """Return a local path, relative to the directory of a file."""
    written = os.path.relpath(path, above)
    if os.path.realpath(above / written) != os.path.realpath(path):
        # After a link, ".." leads to another directory than the text says.
        written = os.path.relpath(os.path.realpath(path), os.path.realpath(above))
    return written


def is_marker(key: str, size: int) -> bool:
    """Report whether an object only stands for a directory, as in Hadoop."""
    return size == 0 and key.endswith(("/", "_$folder$"))


def longest_segment(path: str) -> int:
    """Return the length of a path's longest segment in bytes."""
    return max(len(segment.encode()) for segment in path.split("/"))


def collision_form(path: str) -> str:
    """Return the form in which paths are compared without case (NFC)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def parents(path: str) -> list[str]:
    """List the directories above a path, outermost first."""
    return [path[:index] for index, character in enumerate(path) if character == "/"]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key for people, so that 2 comes before 10.

    Examples
    --------
    >>> sorted(["A/10", "A/2", "A/02b"], key=natural_key)
    ['A/02b', 'A/2', 'A/10']
    """
    # Longer sequences of digits are not read as one number.
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", name)
    return [(0, int(part), part) if "0" <= part[0] <= "9" else (1, 0, part) for part in parts]


def printable(text: str) -> str:
    """Escape control, format and line-breaking characters in untrusted text."""
    if text.isprintable():
        return text
    return "".join(
        character
        if unicodedata.category(character) not in _UNSAFE_CATEGORIES
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def open_regular(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file for reading, without blocking on pipes or devices.

    If `follow` is false, raises OSError if the path, or a directory of a relative path, is a
    symbolic link.
    """
    refused = "symbolic links to an untrusted manifest are not followed"
    if not follow and not path.is_absolute() and any(map(os.path.islink, path.parents)):
        raise OSError(errno.ELOOP, refused)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, refused) from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


@contextmanager
def replacing(path: Path, *, keep_equal: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces another one on success.

    With `keep_equal`, a file with the same bytes is not replaced, and keeps its modification time.
    """
    import filecmp  # reading does without
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        if keep_equal and path.is_file() and filecmp.cmp(name, path, shallow=False):
            Path(name).unlink()
            return
        # mkstemp creates files that only their owner can read, and other users need these files.
        Path(name).chmod(_allowed(0o666))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def filling(path: Path) -> Iterator[Path]:
    """Create a temporary directory that is moved to a path on success.

    Raises OSError if the path exists and is not an empty directory. On failure, the temporary
    directory is removed.
    """
    import shutil  # reading does without
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder
        folder.chmod(_allowed(0o777))
        folder.replace(path)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _allowed(mode: int) -> int:
    """Return a file's mode after applying the user's mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask
