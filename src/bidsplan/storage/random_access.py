"""One file of any file system: read by ranges, or written so that there is all of it or nothing."""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bidsplan.errors import (
    DeniedError,
    DestinationError,
    SourceChangedError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UrlError,
    UsageError,
)
from bidsplan.paths import printable, replacing
from bidsplan.storage.access import Access
from bidsplan.storage.fsspec_store import fsspec_error
from bidsplan.storage.ranges import FIRST, open_ranges, open_web_ranges
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.credentials import Connection, connect

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from bidsplan.storage.ranges import Ranges


SMALL = 32 << 20
"""Bytes up to which a file is sent by one request, so that its tag is its MD5."""

_LARGEST_AHEAD = 4 << 20
_MANY = 256 << 10
"""Bytes from which on a read is worth a request of its own, and nothing is read ahead for it."""

_LARGEST = 32 << 20
"""Bytes of one request, which are held twice for a moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of a file system.

    Parameters
    ----------
    path : str
        As the file system names it.
    what : str
        As messages name it, free of credentials.
    url : str or None
        Where bidsplan's own client reads it, and not the file system.
    """

    filesystem: Any
    path: str
    what: str
    url: str | None = None

    def read(self) -> bytes:
        """Read all of it.

        Raises
        ------
        StorageError
            Where it can't be read, or ends early.
        """
        return RangedFile(self).read()

    def write(self, source: IO[bytes], size: int) -> None:
        """Write all of it, or leave what is there as it is.

        Parameters
        ----------
        source : binary file
            Its bytes, from where it stands.
        size : int
            How many there are.

        Raises
        ------
        DestinationError, DeniedError, ThrottledError, UnreachableError
            Where it can't be written.
        """
        from fsspec.implementations.local import LocalFileSystem

        try:
            if isinstance(self.filesystem, LocalFileSystem):
                with replacing(Path(self.path)) as file:
                    shutil.copyfileobj(source, file)
            elif size <= SMALL and self.filesystem.async_impl:
                self.filesystem.pipe_file(self.path, source.read())
            else:
                self._upload(source)
        except Exception as error:
            raise self._not_written(error) from error

    def _upload(self, source: IO[bytes]) -> None:
        """Send a piece at a time what takes its place only when all of it has come."""
        file = self.filesystem.open(self.path, "wb", block_size=SMALL, autocommit=False)
        try:
            shutil.copyfileobj(source, file, 1 << 20)
            file.close()
            file.commit()
        except BaseException:
            with suppress(Exception):
                file.discard()
            # Else it would try to send the rest when it is collected.
            with suppress(AttributeError):
                file.closed = True
            raise

    def error(self, error: Exception) -> StorageError:
        """Make our error of one that the file system raised while reading."""
        if "s3" in self.filesystem.protocol:
            from bidsplan.storage.http_errors import client_error  # for S3 only

            return client_error(error, self.what, self.filesystem.endpoint_url or "S3")
        return fsspec_error(error, self.what)

    def _not_written(self, error: Exception) -> StorageError | DestinationError:
        known = self.error(error)
        if isinstance(known, DeniedError | ThrottledError | UnreachableError):
            return known
        said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        return DestinationError(f"{self.what}: can't be written: {printable(said)}")


def find_file(fname: str | os.PathLike[str], fs: Any = None, *, anonymous: bool = False) -> File:
    """Tell which file of which file system a name means.

    Parameters
    ----------
    fname : str or path
        An S3 path, with or without ``s3://``, or any URL that fsspec knows.
    fs : fsspec.AbstractFileSystem, optional
        Where the file is; made from the name where it is not given.
    anonymous : bool
        Whether requests to S3 go unsigned, where `fs` is not given.

    Returns
    -------
    File
        It need not be there.

    Raises
    ------
    UrlError
        Where the name is none of S3, and no URL either.
    UsageError
        Where fsspec has no such file system here, or the AWS configuration can't be used.
    DeniedError
        Where requests are to be signed, and there are no credentials.
    """
    name = os.fspath(fname)
    if fs is not None:
        return _file(fs, name)
    protocol, separator, rest = name.partition("://")
    if separator and (protocol not in {"s3", "s3a"} or "::" in rest):
        file = _file(*_by_url(name))
        return replace(file, url=name) if protocol in {"https", "http"} else file
    return _on_s3(rest if separator else name, name, anonymous=anonymous)


def local_file(path: str | os.PathLike[str]) -> File:
    """Tell which file a local path means.

    Returns
    -------
    File
        It need not be there.
    """
    from fsspec.implementations.local import LocalFileSystem  # on demand

    name = os.fspath(path)
    return File(filesystem=LocalFileSystem(), path=name, what=printable(name))


def _file(fs: Any, name: str) -> File:
    path = fs._strip_protocol(name)  # noqa: SLF001 - fsspec's own way
    what = fs.unstrip_protocol(path)
    if what.startswith("http"):
        # What stands there may be a password, or a signature.
        what = re.sub("//[^/]*@", "//", what.partition("?")[0])
    return File(filesystem=fs, path=path, what=printable(what))


def _by_url(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # a tenth of a second

    try:
        fs, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        protocol = printable(url.partition("://")[0])
        raise UsageError(f"fsspec has no file system {protocol!r} here: {error}") from error
    return fs, path


def _on_s3(path: str, name: str, *, anonymous: bool) -> File:
    bucket, _, key = path.partition("/")
    if not bucket or not key:
        raise UrlError(
            f"{printable(name)!r} names no file on S3; expected 's3://bucket/key', or a URL such "
            "as 'file:///folder/file' for anything else"
        )
    from bidsplan.storage.s3.s3fs_store import s3_filesystem  # half a second

    connection = _located(connect(Access(), anonymous=anonymous), bucket)
    what = printable(f"s3://{path}")
    return File(filesystem=s3_filesystem(connection, shared=True), path=path, what=what)


@functools.lru_cache(maxsize=64)
def _located(connection: Connection, bucket: str) -> Connection:
    from bidsplan.storage.s3.client import S3Client  # on demand

    return S3Client(connection, bucket).locate()


class RangedFile(io.RawIOBase):
    """A file's bytes, requested where and when they are read.

    What is read from its start, or goes on where the last read ended, is requested in growing
    pieces; after a jump, just what is asked for. A read gives all that it is asked for, up to the
    file's end. It holds no connection.

    Attributes
    ----------
    size : int
        Bytes.

    Raises
    ------
    StorageError
        Where it can't be opened.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._ranges = retrying()(self._opened)
        self.size = self._ranges.size
        self._at = 0
        self._held = memoryview(b"")
        self._start = 0
        self._ahead = FIRST

    def _opened(self) -> Ranges:
        file = self._file
        try:
            if file.url is not None:
                return open_web_ranges(file.url, file.what)
            return open_ranges(file.filesystem, file.path, file.what)
        except Exception as error:
            raise file.error(error) from error

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether any place can be read: yes."""
        return True

    def tell(self) -> int:
        """Give the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, without any request."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or all that are left.

        Raises
        ------
        StorageError
            Where they can't be read, or end early.
        """
        left = max(self.size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        data = bytearray(wanted)
        self.readinto(data)
        return bytes(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; see `read`."""
        view = memoryview(buffer).cast("B")[: max(self.size - self._at, 0)]
        done = 0
        while done < len(view):
            some = self._some(len(view) - done)
            view[done : done + len(some)] = some
            done += len(some)
            self._at += len(some)
        return done

    def _some(self, wanted: int) -> memoryview:
        """Give bytes at the present place, and at most so many."""
        offset = self._at - self._start
        if 0 <= offset < len(self._held):
            return self._held[offset : offset + wanted]
        follows = offset == len(self._held)
        large = wanted >= _MANY
        asked = max(wanted, 0 if large or not follows else self._ahead)
        found = memoryview(self._fetched(self._at, min(self._at + min(asked, _LARGEST), self.size)))
        self._ahead = min(2 * self._ahead, _LARGEST_AHEAD) if follows else FIRST
        # A large piece is used up at once; to hold it would cost every open image as much.
        self._held = found[:0] if large else found
        self._start = self._at + len(found) if large else self._at
        return found[:wanted]

    def _fetched(self, start: int, stop: int) -> bytes:
        def once() -> bytes:
            try:
                data = self._ranges.read(start, stop)
            except Exception as error:
                raise self._error(error) from error
            if len(data) != stop - start:
                raise UnreachableError(
                    f"{self._file.what}: expected {stop - start} bytes at {start}, got {len(data)}"
                )
            return data

        return retrying()(once)

    def _error(self, error: Exception) -> StorageError:
        found = self._file.error(error)
        if isinstance(found, SourceChangedError):
            return SourceChangedError(f"{self._file.what}: it was changed while it was read")
        return found
