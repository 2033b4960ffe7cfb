"""Reads ranges of a file, or writes a whole file, in any file system."""

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
from bidsplan.storage.ranges import ReadAhead, open_ranges
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.credentials import Connection, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer


SMALL = 32 << 20
"""Files up to this size are sent with one request, so that the tag is the MD5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of a file system.

    Parameters
    ----------
    what : str
        The file's name for messages, without credentials.
    url : str or None
        The URL, if bidsplan's own client reads the file instead of the file system.
    """

    filesystem: Any
    path: str
    what: str
    url: str | None = None

    def read(self) -> bytes:
        """Read the whole file; raises StorageError if it can't be read."""
        return RangedFile(self).read()

    def write(self, source: IO[bytes], size: int) -> None:
        """Write all bytes of `source`, or leave the file unchanged.

        Raises
        ------
        DestinationError, DeniedError, ThrottledError, UnreachableError
            If the file can't be written.
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
        """Send the file in pieces, and replace the old one at the end."""
        file = self.filesystem.open(self.path, "wb", block_size=SMALL, autocommit=False)
        try:
            shutil.copyfileobj(source, file, 1 << 20)
            file.close()
            file.commit()
        except BaseException:
            with suppress(Exception):
                file.discard()
            # Otherwise the file would send the rest when it is garbage-collected.
            with suppress(AttributeError):
                file.closed = True
            raise

    def error(self, error: Exception) -> StorageError:
        """Return a `StorageError` for an error while reading."""
        if "s3" in self.filesystem.protocol:
            from bidsplan.storage.http_errors import client_error  # for S3 only

            return client_error(error, self.what, self.filesystem.endpoint_url or "S3")
        return fsspec_error(error, self.what)

    def _not_written(self, error: Exception) -> StorageError | DestinationError:
        known = self.error(error)
        if isinstance(known, DeniedError | ThrottledError | UnreachableError):
            return known
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        return DestinationError(f"{self.what}: can't be written: {printable(reason)}")


def find_file(fname: str | os.PathLike[str], fs: Any = None, *, anonymous: bool = False) -> File:
    """Return the file with a name, which need not exist.

    Parameters
    ----------
    fname : str or path
        An S3 path, with or without ``s3://``, or any URL that fsspec supports.
    fs : fsspec.AbstractFileSystem, optional
        The file system; by default made from the name.
    anonymous : bool
        Whether requests to S3 are unsigned, if `fs` is not given.

    Raises
    ------
    UrlError
        If the name is neither an S3 path nor a URL.
    UsageError
        If fsspec does not have such a file system, or the AWS configuration can't be used.
    DeniedError
        If requests are to be signed, and there are no credentials.
    """
    name = os.fspath(fname)
    if fs is not None:
        return _file_of(fs, name)
    protocol, separator, rest = name.partition("://")
    if separator and (protocol not in {"s3", "s3a"} or "::" in rest):
        file = _by_url(name)
        return replace(file, url=name) if protocol in {"https", "http"} else file
    return _on_s3(rest if separator else name, name, anonymous=anonymous)


def local_file(path: str | os.PathLike[str]) -> File:
    """Return the file at a local path, which need not exist."""
    from fsspec.implementations.local import LocalFileSystem  # on demand

    name = os.fspath(path)
    return File(filesystem=LocalFileSystem(), path=name, what=printable(name))


def _file_of(fs: Any, name: str) -> File:
    path = fs._strip_protocol(name)  # noqa: SLF001 - fsspec's own way
    what = fs.unstrip_protocol(path)
    if what.startswith("http"):
        # User info may contain a password, and the query a signature.
        what = re.sub("//[^/]*@", "//", what.partition("?")[0])
    return File(filesystem=fs, path=path, what=printable(what))


def _by_url(url: str) -> File:
    from fsspec.core import url_to_fs  # imports for a tenth of a second

    try:
        fs, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        protocol = printable(url.partition("://")[0])
        raise UsageError(f"fsspec has no file system {protocol!r} here: {error}") from error
    return _file_of(fs, path)


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
    """A file's bytes, which are requested when they are read.

    Bytes are read ahead as in `ReadAhead`. A read returns all requested bytes, up to the file's
    end. No connection stays open. Raises StorageError if the file can't be opened.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._ranges = self._retried(
            lambda: open_ranges(file.filesystem, file.path, file.what, file.url)
        )
        self.size: int = self._ranges.size
        self._ahead = ReadAhead(self._range, self.size)
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, without a request."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes or the rest; raises StorageError on failure."""
        left = max(self.size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        data = bytearray(wanted)
        self.readinto(data)
        return bytes(data)

    def read1(self, size: int, /) -> bytes:
        """Read at most `size` bytes, with at most one request; raises StorageError on failure."""
        wanted = min(size, max(self.size - self._at, 0))
        data = bytes(self._ahead.some(self._at, wanted)) if wanted else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; see `read`."""
        view = memoryview(buffer).cast("B")[: max(self.size - self._at, 0)]
        done = 0
        while done < len(view):
            some = self._ahead.some(self._at, len(view) - done)
            view[done : done + len(some)] = some
            done += len(some)
            self._at += len(some)
        return done

    def _range(self, start: int, stop: int) -> bytes:
        data: bytes = self._retried(lambda: self._ranges.read(start, stop))
        return data

    def _retried(self, call: Callable[[], Any]) -> Any:
        def once() -> Any:
            try:
                return call()
            except Exception as error:
                found = self._file.error(error)
                if isinstance(found, SourceChangedError):
                    what = self._file.what
                    found = SourceChangedError(f"{what}: it was changed while it was read")
                raise found from error

        return retrying()(once)
