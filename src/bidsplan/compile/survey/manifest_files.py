"""Opens files that a manifest names, only inside the manifest's repository.

Git repositories can contain symbolic links, so a stranger's manifest can come with a link to any
file of the machine that reads it. Therefore each directory of a path is opened relative to the one
above, without following links. A link's text is then followed step by step, as long as it stays
inside the fence: the manifest's repository or, without one, the manifest's directory.
"""

from __future__ import annotations

import os
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import Problem, SelectionError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from bidsplan.errors import Place


_MOST_LINKS = 40  # links that are followed to one file
# O_PATH does not need permission to read the directory, like opening a whole path.
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KERNEL = ("/proc/", "/sys/", "/dev/")
_REPOSITORY = ".git"
# DataLad stores the content of files here, and links to it.
_CONTENT = ("annex", "objects")
_CHUNK = 1 << 20


class UnusableFileError(Exception):
    """A file can't be used; says why, and what to do."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def read_manifest_file(
    name: str, base: str | os.PathLike[str], *, at: Place, limit: int, untrusted: bool
) -> bytes:
    """Read a file that a manifest names.

    Parameters
    ----------
    name : str
        The file's path, relative to the manifest's directory.
    base : path
        The manifest's directory, which may itself be reached by a link.
    at : tuple of str or int
        The place in the manifest that names the file.
    limit : int
        Bytes.
    untrusted : bool
        Whether to refuse all links, including those that stay inside the fence.

    Raises
    ------
    SelectionError
        If the file can't be read, is not a regular file, is outside the fence, or is too large.
    """
    shown = repr(printable(name))
    try:
        return _read(name, Path(os.path.realpath(base)), limit, 0 if untrusted else _MOST_LINKS)
    except UnusableFileError as error:
        problem = Problem(message=f"the file {shown} {error}", at=at, hint=error.hint)
    except OSError as error:
        problem = Problem(message=f"can't read {shown}: {error.strerror}", at=at)
    raise SelectionError(problems=[problem], help_code=HelpCode.TABLE)


def _read(name: str, base: Path, limit: int, links: int) -> bytes:
    if f"{base.as_posix()}/".startswith(_KERNEL):
        raise UnusableFileError("is not a file on disk")
    fence = _fence(base)
    with closing(_Walk(fence, links)) as walk:
        file = walk.open([*base.relative_to(fence).parts, *name.split("/")])
    try:
        return _content(file, limit)
    finally:
        os.close(file)


def _fence(base: Path) -> Path:
    """Return the directory that files must be in: the repository or the manifest's."""
    with suppress(RuntimeError):
        # A home directory may be a git repository, but its files are private.
        home = Path(os.path.realpath(Path.home()))
        candidates = [folder for folder in (base, *base.parents) if folder != home]
        return next((one for one in candidates if os.path.lexists(one / _REPOSITORY)), base)
    return base


def _content(file: int, limit: int) -> bytes:
    """Read an open file, and check its size."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise UnusableFileError("is not a regular file")
    devices = set()
    for folder in ("/proc", "/sys"):
        with suppress(OSError):
            devices.add(Path(folder).stat().st_dev)
    if found.st_dev in devices - {Path("/").stat().st_dev}:
        raise UnusableFileError("is not a file on disk")
    if found.st_size > limit:
        raise UnusableFileError(f"has {found.st_size:,} bytes; at most {limit:,} are read")
    data = bytearray()
    # Files that the kernel generates have no size, wherever they are mounted.
    while chunk := os.read(file, min(_CHUNK, found.st_size - len(data))):
        data += chunk
    return bytes(data)


class _Walk:
    """Opens a file below `fence` one directory at a time, following safe links."""

    def __init__(self, fence: Path, links: int) -> None:
        self._fence = fence
        self._trusted = links > 0
        self._links = links
        self._names: list[str] = []
        self._directories = [os.open(fence, _DIRECTORY)]

    def close(self) -> None:
        for directory in self._directories:
            os.close(directory)

    def open(self, parts: list[str]) -> int:
        """Open a file for reading, without blocking."""
        waiting = parts[::-1]
        while waiting:
            name = waiting.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                self._ascend()
                continue
            found = os.stat(name, dir_fd=self._directories[-1], follow_symlinks=False)
            self._check(name, found)
            if stat.S_ISLNK(found.st_mode):
                waiting += self._target(name)[::-1]
            elif stat.S_ISDIR(found.st_mode):
                self._directories.append(os.open(name, _DIRECTORY, dir_fd=self._directories[-1]))
                self._names.append(name)
            elif not stat.S_ISREG(found.st_mode):
                # The file is not even opened, because opening a device may have effects.
                raise UnusableFileError("is not a regular file")
            elif any(part not in {"", "."} for part in waiting):
                raise UnusableFileError("is below a file, and not below a directory")
            else:
                if _REPOSITORY in [*self._names[-len(_CONTENT) :], name]:
                    raise _private()
                return os.open(name, _FILE, dir_fd=self._directories[-1])
        raise UnusableFileError("is a directory")

    def _ascend(self) -> None:
        if not self._names:
            raise self._outside()
        self._names.pop()
        os.close(self._directories.pop())

    def _check(self, name: str, found: os.stat_result) -> None:
        """Refuse paths into git's own files, which may contain tokens."""
        with suppress(FileNotFoundError):
            # On some file systems, a name can be spelt in several ways.
            own = os.stat(_REPOSITORY, dir_fd=self._directories[-1], follow_symlinks=False)
            if name != _REPOSITORY and os.path.samestat(own, found):
                raise _private()
        path = [*self._names, name]
        for index, part in enumerate(path):
            below = path[index + 1 : index + 1 + len(_CONTENT)]
            if part == _REPOSITORY and below != list(_CONTENT[: len(below)]):
                raise _private()

    def _target(self, name: str) -> list[str]:
        """Read a link, and return its target relative to the current directory."""
        if not self._trusted:
            shown = printable("/".join([*self._names, name]))
            raise UnusableFileError(
                f"is reached by the symbolic link {shown!r}; no link is followed for an "
                "untrusted manifest",
                "replace the link by the file",
            )
        if not self._links:
            raise UnusableFileError(f"is reached by more than {_MOST_LINKS} symbolic links")
        self._links -= 1
        target = os.readlink(name, dir_fd=self._directories[-1])
        if not target.startswith("/"):
            return target.split("/")
        fence = f"{self._fence.as_posix().rstrip('/')}/"
        if not target.startswith(fence):
            raise self._outside()
        while self._names:
            self._ascend()
        return target.removeprefix(fence).split("/")

    def _outside(self) -> UnusableFileError:
        return UnusableFileError(
            f"leads out of {printable(self._fence.as_posix())!r} by a symbolic link",
            "put the file itself into the manifest's repository, or link to it relatively there",
        )


def _private() -> UnusableFileError:
    return UnusableFileError(
        "leads into .git, of which only .git/annex/objects is read",
        "put the file itself into the manifest's repository",
    )
