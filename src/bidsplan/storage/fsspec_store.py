"""Stores for all URLs that fsspec can read, such as memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bidsplan.errors import (
    DeniedError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    UnreachableError,
    UsageError,
)
from bidsplan.paths import printable
from bidsplan.storage.objects import Children, Object
from bidsplan.storage.pager import check_names
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bidsplan.storage.objects import Identity, Stream


_CHUNK = 1 << 20

_VALIDATORS = (
    *("ETag", "Last-Modified", "etag", "md5Hash", "generation", "ino", "mtime"),
    *("LastModified", "last_modified", "updated", "modified", "modify", "created"),
)
"""File systems' names for values that change with a file's content."""


def fsspec_error(error: Exception, what: str) -> StorageError:
    """Return a `StorageError` for an error of an fsspec file system."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, FileNotFoundError):
        return SourceMissingError(f"{what}: there is no such file")
    if isinstance(error, PermissionError):
        return DeniedError(f"{what}: access is denied")
    if isinstance(error, ConnectionError | TimeoutError):
        return UnreachableError(f"{what}: can't be reached")
    if type(error).__module__.startswith("aiohttp"):
        return UnreachableError(f"{what}: can't be reached ({type(error).__name__})")
    return StorageError(f"{what}: can't be read ({type(error).__name__}: {printable(str(error))})")


class FsspecStore(Store):
    """A directory of any fsspec file system.

    Parameters
    ----------
    root : str
        The directory's path in the file system.
    url : str
        The directory's URL, without credentials.
    filesystem : AbstractFileSystem, optional
        The file system; by default made from the protocol.
    """

    def __init__(self, protocol: str, root: str, url: str, filesystem: Any = None) -> None:
        self.url = url
        self._protocol = protocol
        # A new instance is made, because fsspec would share one with old listings.
        self._fs = filesystem or filesystem_of(protocol, root)
        # The root is named as in the file system's listings.
        self._root: str = self._fs._strip_protocol(root).rstrip("/")  # noqa: SLF001 - fsspec's own way

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if self._root else key

    def _what(self, key: str) -> str:
        return printable(f"{self.url.rstrip('/')}/{key}")

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        path = self._path(prefix).rstrip("/")
        try:
            found = self._fs.ls(path, detail=True)
        except FileNotFoundError:
            return Children((), ())
        except Exception as error:
            raise fsspec_error(error, self._what(prefix)) from error
        # A file with the name of the listed directory is not below it.
        below = [info for info in found if info["name"].rstrip("/") != path]
        listed = (info["name"].lstrip("/") for info in below)
        above = f"{path}/".lstrip("/")
        check_names(listed, above, f"listing {self._what(prefix)}")
        files = [info for info in below if info["type"] != "directory"]
        names = [info["name"] for info in below if info["type"] == "directory"]
        directories = sorted(f"{self._key(name)}/" for name in names)
        return Children(tuple(sorted(self._objects(files))), tuple(directories))

    def _key(self, name: str) -> str:
        plain = name.rstrip("/") if name.endswith("/") else name
        return plain[len(self._root) :].lstrip("/") if self._root else plain.lstrip("/")

    def _objects(self, found: Iterable[Mapping[str, Any]]) -> Iterator[Object]:
        for info in found:
            name, size = info["name"], info.get("size")
            key = self._key(name)
            yield Object(key, self._size(name, key) if size is None else int(size))

    def _size(self, name: str, key: str) -> int:
        """Request a size that the listing does not have."""
        try:
            size = self._fs.size(name)
        except Exception as error:
            raise fsspec_error(error, self._what(key)) from error
        if size is None:
            raise StorageError(f"{self._what(key)}: its size is unknown")
        return int(size)

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
            raise UsageError(f"{what}: {self._protocol!r} has neither entity tags nor versions")
        path = self._path(key)

        def state() -> tuple[Any, ...]:
            return file_state(self._fs.info(path))

        try:
            before = state()
            file = self._fs.open(path, "rb")
            file.seek(start)
        except Exception as error:
            raise fsspec_error(error, what) from error
        return FileStream(file, what, start, before[0], before, state)


def file_state(info: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of fsspec's ``info`` that identify a file's content."""
    return (info.get("size"), *(str(info.get(name)) for name in _VALIDATORS))


def tells_content(info: Mapping[str, Any]) -> bool:
    """Report whether fsspec's ``info`` changes with the content."""
    found = (info.get(name) for name in _VALIDATORS)
    return any(each is not None and not str(each).startswith("W/") for each in found)


def filesystem_of(protocol: str, url: str, **more: Any) -> Any:
    """Create a file system that caches no listings.

    Raises
    ------
    UsageError
        If there is no such file system, or a library that it needs is not installed.
    """
    import fsspec  # imports for a tenth of a second

    options = more if protocol == "file" else {"use_listings_cache": False, **more}
    try:
        named = fsspec.get_filesystem_class(protocol)._get_kwargs_from_urls(url)  # noqa: SLF001 - fsspec's own way
        return fsspec.filesystem(protocol, skip_instance_cache=True, **named, **options)
    except (ImportError, ValueError, TypeError) as error:
        raise UsageError(f"fsspec has no file system {protocol!r} here: {error}") from error


class FileStream:
    """A file's bytes as a `Stream`, which must not change while it is read.

    File systems read files in ranges, without checking that all ranges are of the same content.

    Parameters
    ----------
    start : int
        The first byte to read.
    size : int or None
        The size of the whole file in bytes, if known.
    before : object
        The result of `state` before the file was opened.
    state : callable
        Returns the file's state now.
    """

    def __init__(
        self,
        file: Any,
        what: str,
        start: int,
        size: int | None,
        before: Any,
        state: Callable[[], Any],
    ) -> None:
        self._file, self._what = file, what
        self._before, self._state = before, state
        self.size = size
        self._left = None if size is None else size - start
        self.etag: str | None = None
        self.identity: Identity | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            while chunk := self._file.read(_CHUNK):
                self._left = None if self._left is None else self._left - len(chunk)
                yield chunk
            same = self._state() == self._before
        except Exception as error:
            raise fsspec_error(error, self._what) from error
        if not same or (self._left or 0) < 0:
            raise SourceChangedError(f"{self._what}: it was changed while it was read")
        if self._left:
            raise UnreachableError(f"{self._what}: it ended {self._left} bytes early")

    def close(self) -> None:
        """Close the file."""
        # If a file was only read, an error while closing loses nothing.
        with suppress(OSError):
            self._file.close()
