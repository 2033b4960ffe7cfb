"""Local directories as stores; links are followed, as DataLad needs."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import SourceMissingError, StorageError, UsageError
from bidsplan.paths import open_regular, printable
from bidsplan.storage.file_state import file_version, version_of
from bidsplan.storage.fsspec_store import FileStream, FsspecStore, fsspec_error
from bidsplan.storage.objects import Children, Object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.storage.file_state import FileVersion
    from bidsplan.storage.objects import Stream


_POINTER = b"/annex/objects/"
"""The text that git-annex writes to an unlocked file without content, before its key."""

_LARGEST_POINTER = 1 << 15
_ANNEX_SIZE = re.compile(r"/annex/objects/.*/[A-Z0-9_]+-s([0-9]{1,18})-[^/]*\Z")


class LocalStore(FsspecStore):
    """A local directory, with its absolute path and its URL.

    The directory is listed by system calls, because fsspec's walk skips directories that it may not
    read, and does not recognise links to directories.
    """

    def __init__(self, root: str, url: str) -> None:
        super().__init__("file", root, url)
        self._dangling: set[str] = set()

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        objects: list[Object] = []
        directories: list[str] = []
        for key, found in self._scan(prefix):
            if stat.S_ISDIR(found.st_mode):
                directories.append(f"{key}/")
            else:
                objects.append(Object(key, found.st_size))
        return Children(tuple(sorted(objects)), tuple(sorted(directories)))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        # Each directory is listed with those above it, since a link to one of them would be
        # endless.
        waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(prefix, frozenset())]
        while waiting:
            directory, above = waiting.pop()
            for key, found in self._scan(directory):
                if not stat.S_ISDIR(found.st_mode):
                    yield Object(key, found.st_size)
                elif (found.st_dev, found.st_ino) in above:
                    raise StorageError(f"{self._what(key)}: a link to a directory that contains it")
                else:
                    waiting.append((f"{key}/", above | {(found.st_dev, found.st_ino)}))

    def stream(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Stream:
        """See `Store.stream`."""
        what = self._what(key)
        if etag is not None or version is not None:
            raise UsageError(f"{what}: local files have neither entity tags nor versions")
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.fdopen(os.open(self._path(key), flags), "rb", buffering=0)
            before = version_of(os.fstat(file.fileno()))
            pointer = before.size <= _LARGEST_POINTER and _is_pointer(file.fileno())
            file.seek(start)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and Path(self._path(key)).is_symlink():
                raise _without_content(what, "a link that leads nowhere") from error
            raise fsspec_error(error, what) from error
        if pointer:
            file.close()
            raise _without_content(what, "a git-annex pointer, whose content is not here")
        return FileStream(
            file, what, start, before.size, before, lambda: version_of(os.fstat(file.fileno()))
        )

    def file_version(self, key: str) -> FileVersion | None:
        """See `Store.file_version`."""
        return file_version(self._path(key))

    def absent(self, keys: Iterable[str]) -> set[str]:
        """See `Store.absent`."""
        return {key for key in keys if key in self._dangling or self._points(key)}

    @functools.cached_property
    def _in_git(self) -> bool:
        """Whether the directory is in a git work tree, and may have pointers."""
        root = Path(self._path(""))
        return any(os.path.lexists(above / ".git") for above in (root, *root.parents))

    def _points(self, key: str) -> bool:
        """Report whether a file is a git-annex pointer."""
        found = file_version(self._path(key)) if self._in_git else None
        if found is None or found.size > _LARGEST_POINTER:
            return False
        try:
            with open_regular(Path(self._path(key))) as file:
                return _is_pointer(file.fileno())
        except OSError as error:
            raise fsspec_error(error, self._what(key)) from error

    def _scan(self, prefix: str) -> Iterable[tuple[str, os.stat_result]]:
        try:
            with os.scandir(self._path(prefix)) as entries:
                return [(prefix + entry.name, self._stat(prefix, entry)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError) as error:
            if not prefix and Path(self._path("")).is_file():
                where = printable(self.url)
                raise SourceMissingError(f"{where}: a file; expected a directory") from error
            return []
        except OSError as error:
            raise fsspec_error(error, self._what(prefix)) from error

    def _stat(self, prefix: str, entry: os.DirEntry[str]) -> os.stat_result:
        where = printable(f"{self.url.rstrip('/')}/{prefix}{entry.name}")
        try:
            found = entry.stat()
        except OSError as error:
            # A DataLad clone may have only some files here, and only planned files matter.
            if error.errno not in {errno.ENOENT, errno.ELOOP} or not entry.is_symlink():
                raise fsspec_error(error, where) from error
            self._dangling.add(f"{prefix}{entry.name}")
            return _stat_of_content(entry.path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise StorageError(f"{where}: neither a file nor a directory")
        return found


def _stat_of_content(link: str) -> os.stat_result:
    """Return the status that a missing git-annex content would have."""
    match = _ANNEX_SIZE.search(str(Path(link).readlink()))
    return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, int(match[1]) if match else 0, 0, 0, 0))


def _is_pointer(descriptor: int) -> bool:
    return os.pread(descriptor, len(_POINTER), 0) == _POINTER


def _without_content(what: str, why: str) -> SourceMissingError:
    return SourceMissingError(f"{what}: {why}; get its content first, as by 'datalad get'")
