"""Writes to URLs through fsspec: under another name first, then moved."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan import errors
from bidsplan.help_codes import HelpCode
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.storage.fsspec_store import FsspecStore, filesystem_of, fsspec_error
from bidsplan.storage.objects import Object
from bidsplan.storage.rename import rename
from bidsplan.storage.writable import Upload, WritableStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Buffer


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TAGS = "ETag etag md5Hash generation mtime LastModified last_modified updated modified created"


class FsspecWritable(WritableStore):
    """A directory of any fsspec file system, for writing.

    Parameters
    ----------
    protocol, url
        As in `FsspecStore`.
    options : mapping of str to Any
        Options for the file system.
    """

    def __init__(self, protocol: str, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        self.fs = filesystem_of(protocol, url, **options)
        self.store = _TaggedStore(protocol, url, url, self.fs)
        self._root = self.fs._strip_protocol(url).rstrip("/")  # noqa: SLF001 - fsspec's own way
        self._partials = f"{STATE_DIRECTORY}/partial/{secrets.token_hex(8)}"
        self._numbers = itertools.count()

    def path(self, key: str) -> str:
        """Return a file's path in the file system."""
        return f"{self._root}/{key}" if self._root else key

    def what(self, key: str) -> str:
        """Return a file's name, for messages."""
        return printable(f"{self.url.rstrip('/')}/{key}")

    def list_objects(self) -> Iterator[Object]:
        """See `WritableStore.list_objects`."""
        yield from sorted(self.store.list())

    def state(self, key: str) -> Object | None:
        """See `WritableStore.state`."""
        try:
            info = self.fs.info(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:
            raise fsspec_error(error, self.what(key)) from error
        # An object store may have both an object and other objects below its name.
        return None if info["type"] == "directory" else Object(key, int(info["size"]), _tag(info))

    def prepare(self) -> None:
        """See `WritableStore.prepare`."""

    def upload(self, key: str, size: int, *, replace: bool) -> Upload:
        """See `WritableStore.upload`."""
        partial = f"{self._partials}-{next(self._numbers)}"
        return _FsspecUpload(self, key, size, partial, replace=replace)

    def remove(self, found: Object) -> bool:
        """See `WritableStore.remove`; fsspec can't check and remove in one step."""
        try:
            if self.state(found.key) != found:
                return False
            self.fs.rm_file(self.path(found.key))
        except Exception as error:
            raise _write_error(error, self.what(found.key)) from error
        return True


class _TaggedStore(FsspecStore):
    """A store that uses any identifying values as entity tags."""

    def _objects(self, found: Iterable[Mapping[str, Any]]) -> Iterator[Object]:
        for info, item in zip(found, super()._objects(found), strict=True):
            yield msgspec.structs.replace(item, etag=_tag(info))


def _tag(info: Mapping[str, Any]) -> str | None:
    for name in _TAGS.split():
        if value := info.get(name):
            # Some file systems give a time in a listing in another form than for a single file.
            return f"{name} {value.timestamp() if hasattr(value, 'timestamp') else value}"
    return None


class _FsspecUpload(Upload):
    """A file that is written under a temporary name."""

    def __init__(
        self, store: FsspecWritable, key: str, size: int, partial: str, *, replace: bool
    ) -> None:
        self._store = store
        self._fs = store.fs
        self._key = key
        self._path = store.path(key)
        self._what = store.what(key)
        self._size = size
        self._partial = partial
        self._replace = replace
        self._file: Any = None
        self._open()

    def _open(self) -> None:
        path = self._store.path(self._partial)
        try:
            try:
                self._file = self._fs.open(path, "wb")
            except FileNotFoundError:
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._file = self._fs.open(path, "wb")
        except Exception as error:
            raise _write_error(error, self._what) from error

    def write(self, data: Buffer) -> None:
        try:
            self._file.write(data)
        except Exception as error:
            raise _write_error(error, self._what) from error

    def restart(self) -> None:
        self.abort()
        self._open()

    def commit(self, content: str) -> Object:
        try:
            self._file.close()
            self._check_size(self._partial)
            if not self._replace and self._store.state(self._key) is not None:
                raise self._existing()
            self._move()
        except Exception as error:
            raise _write_error(error, self._what) from error
        self._file = None
        return self._check_size(self._key)

    def _check_size(self, key: str) -> Object:
        found = self._store.state(key)
        if found is None or found.size != self._size:
            stored = "nothing is" if found is None else f"{found.size} bytes are"
            raise errors.DestinationError(
                f"{self._what}: {self._size} bytes were written, and {stored} stored"
            )
        return found

    def _existing(self) -> errors.ExistingFileError:
        return errors.ExistingFileError(
            f"{self._what}: a file already exists there; it was not changed"
        )

    def _move(self) -> None:
        try:
            self._rename()
        except FileNotFoundError:
            self._fs.makedirs(self._path.rpartition("/")[0], exist_ok=True)
            self._rename()

    def _rename(self) -> None:
        from fsspec import AbstractFileSystem  # loaded already

        partial = self._store.path(self._partial)
        if not self._replace:
            moved = _move_exclusively(self._fs, partial, self._path)
            if moved is False:
                raise self._existing()
            if moved:
                return
        # Between the check before and this step, other programs can write here. fsspec has no other
        # way.
        if type(self._fs).mv is not AbstractFileSystem.mv:
            if self._fs.isdir(self._path):
                # The file would be moved into the directory.
                raise IsADirectoryError
            self._fs.mv(partial, self._path)
            return
        # fsspec's general function would read brackets in a name as a pattern.
        self._fs.cp_file(partial, self._path)
        self._fs.rm_file(partial)

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        # The reason for the failure is reported, and an error of closing is not.
        with suppress(Exception):
            file.close()
        with suppress(Exception):
            self._fs.rm_file(self._store.path(self._partial))


def _move_exclusively(fs: Any, partial: str, path: str) -> bool | None:
    """Move a file unless its path is taken; None if unsupported."""
    from fsspec.implementations.local import LocalFileSystem  # loaded already
    from fsspec.implementations.memory import MemoryFileSystem  # loaded already

    if isinstance(fs, LocalFileSystem):
        (above, name), (parent, base) = os.path.split(partial), os.path.split(path)
        with _opened(above) as source, _opened(parent) as target:
            return rename(name, base, above=source, directory=target, replace=False)
    if not isinstance(fs, MemoryFileSystem):
        return None
    file = fs.store[partial]
    if fs.store.setdefault(path, file) is not file:
        return False
    file.path = path
    del fs.store[partial]
    return True


@contextmanager
def _opened(directory: str) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_error(error: Exception, what: str) -> errors.BidsplanError:
    """Return our error for a file system's error while writing."""
    if isinstance(error, errors.BidsplanError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return errors.DiskFullError(f"{what}: the destination is full ({error.strerror})")
    if isinstance(error, NotImplementedError):
        return errors.UnsupportedError(
            f"{what}: fsspec can't write there; name another destination"
        )
    if isinstance(error, PermissionError):
        return errors.DeniedError(
            f"{what}: writing is denied; check who may write there",
            help_code=HelpCode.WRITE_DENIED,
        )
    if isinstance(error, IsADirectoryError | FileExistsError | NotADirectoryError):
        return errors.ExistingFileError(f"{what}: something else exists there, or on the way to it")
    found = fsspec_error(error, what)
    if isinstance(found, errors.UnreachableError):
        return found
    reason = printable(f"{type(error).__name__}: {error}")
    return errors.DestinationError(f"{what}: can't be written ({reason})")
