"""Reads and writes NIfTI images and JSON in storage.

A name is an S3 path, with or without ``s3://``, or any URL that fsspec supports. If a file system
is given, the name is a path in that file system.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from bidsplan.bids.nifti import LONGEST_HEADER, nifti_extent
from bidsplan.errors import BidsplanError, IntegrityError, UsageError
from bidsplan.storage import RangedFile, find_file, local_file

if TYPE_CHECKING:
    from os import PathLike

    from _typeshed import WriteableBuffer
    from nibabel import Nifti1Image

    from bidsplan.bids.nifti import Extent
    from bidsplan.storage import File


_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_IN_MEMORY = 64 << 20
"""Larger images are written to a temporary file before they are sent."""

_MOST_PACKED = 1032
"""The most bytes that one byte of deflate can be unpacked to."""


def s3fs_nifti_write(img: Nifti1Image, fname: str | PathLike[str], fs: Any = None) -> None:
    """Write a NIfTI image straight to storage, with reproducible bytes.

    Parameters
    ----------
    img : nibabel.Nifti1Image or nibabel.Nifti2Image
    fname : str or path
        An S3 path or URL that ends in ``.nii`` or, for gzip, in ``.nii.gz``. An existing file is
        only replaced when the new file is complete.
    fs : fsspec.AbstractFileSystem, optional
        The file system that contains `fname`. The default is made from `fname`.

    Raises
    ------
    UsageError
        If `fname` has another ending, or `img` is another kind of image.
    DestinationError, DeniedError, ThrottledError, UnreachableError
        If the image can't be written.
    """
    import nibabel as nib  # imports for a quarter of a second

    if not isinstance(img, nib.Nifti1Image):
        raise UsageError(
            f"expected a nibabel.Nifti1Image or Nifti2Image, got {type(img).__name__}; "
            "nibabel.Nifti1Image.from_image makes one"
        )
    file = find_file(fname, fs)
    if not file.path.lower().endswith((".nii", ".nii.gz")):
        raise UsageError(f"{file.what}: expected a name that ends in .nii or .nii.gz")
    packed = file.path.lower().endswith(".gz")
    known = img.file_map
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        target: Any = spool
        try:
            with (
                gzip.GzipFile("", "wb", fileobj=target, mtime=0) if packed else nullcontext(target)
            ) as stream:
                img.to_stream(stream)
        finally:
            # Without this, the image would read its data from the stream afterwards.
            img.file_map = known
        spool.seek(0, io.SEEK_END)
        size = spool.tell()
        spool.seek(0)
        file.write(spool, size)


def s3fs_nifti_read(fname: str | PathLike[str], fs: Any = None, anon: bool = False) -> Nifti1Image:
    """Open a NIfTI image in storage, whose data is read when it is used.

    Parameters
    ----------
    fname : str or path
        An S3 path or URL of a NIfTI-1 or NIfTI-2 image, which may be compressed with gzip. The name
        may have any ending.
    fs : fsspec.AbstractFileSystem, optional
        The file system that contains `fname`. The default is made from `fname`.
    anon : bool
        Whether requests to S3 are unsigned, if `fs` is not given. Otherwise bidsplan finds
        credentials as the AWS tools do.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        An image of which only the header has been read. A slice of its ``dataobj`` reads the bytes
        of that slice. If the image is compressed, all bytes before the slice are read too.

    Raises
    ------
    SourceMissingError, DeniedError, ThrottledError, UnreachableError, StorageError
        If the image can't be read. Using the image's data may raise these errors later.
    IntegrityError
        If the file is not a NIfTI image, is shorter than its header says, or can't be decompressed.
        Damage in the data is only found when the data is used.
    UrlError, UsageError
        If `fname` does not name a file that bidsplan can read.
    """
    file = find_file(fname, fs, anonymous=anon)
    return _Unpacked(RangedFile(file), file.what).image()


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of an image, which nibabel reads under a lock.

    A read returns all bytes that it asks for, or raises an error.
    """

    def __init__(self, file: RangedFile, what: str) -> None:
        self._file = file
        self._what = what
        self._packed = file.read(2) == _GZIP
        self._most = file.size * (_MOST_PACKED if self._packed else 1)
        self._stream: gzip.GzipFile | None = None
        self._at = 0
        self._end: int | None = None

    def image(self) -> Nifti1Image:
        """Read the header, and return an image that reads its data later."""
        import nibabel as nib  # imports for a quarter of a second

        try:
            extent = self._extent()
            kind: Any = nib.Nifti2Image if extent.version == 2 else nib.Nifti1Image
            holder = nib.FileHolder(self._what, fileobj=self)
            image: Nifti1Image = kind.from_file_map({"header": holder, "image": holder}, mmap=False)
        except BidsplanError:
            raise
        except Exception as error:
            raise self._damaged(f"no NIfTI image that can be read: {error}") from error
        self._end = extent.offset + extent.bytes
        return image

    def _extent(self) -> Extent:
        head = bytearray(LONGEST_HEADER)
        length = self._fill(memoryview(head))
        self._at = 0
        try:
            extent = nifti_extent(bytes(head[:length]))
        except IntegrityError as error:
            raise self._damaged(str(error)) from error
        if problem := extent.missing(self._most):
            raise self._damaged(problem)
        return extent

    def _damaged(self, problem: str) -> IntegrityError:
        return IntegrityError(f"{self._what}: {problem}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end is not known before it was read")
        self._at = offset + (self._at if whence == io.SEEK_CUR else 0)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        # The number comes from the header, which may be damaged.
        if size is None or not 0 <= size <= self._most:
            raise self._damaged(f"its header asks for {size} bytes, and there are fewer")
        data = bytearray(size)
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        done = self._fill(view)
        if done < len(view):
            raise self._damaged(f"expected {len(view)} bytes at {self._at - done}, got {done}")
        return done

    def _fill(self, view: memoryview) -> int:
        if self._packed:
            done = self._unpack(view)
        else:
            self._file.seek(self._at)
            done = self._file.readinto(view)
        self._at += done
        return done

    def _unpack(self, view: memoryview) -> int:
        done = 0
        # After an error a new stream is opened, because the state of the old one is unknown.
        stream, self._stream = self._stream or self._open_gzip(), None
        try:
            if stream.tell() != self._at:
                stream.seek(self._at)
            while done < len(view) and (piece := stream.read(min(_PIECE, len(view) - done))):
                view[done : done + len(piece)] = piece
                done += len(piece)
            if self._at + done == self._end:
                # gzip compares its checksum only when it is read past the last byte.
                stream.read(1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(f"its gzip is damaged or ends early: {error}") from error
        self._stream = stream
        return done

    def _open_gzip(self) -> gzip.GzipFile:
        self._file.seek(0)
        file: Any = _ShortReads(self._file)
        return gzip.GzipFile(fileobj=file)


class _ShortReads:
    """Gives gzip the bytes that were read ahead, before it requests more.

    Since Python 3.12 gzip asks for 128 KiB at a time, and the bytes of the first request have the
    whole header.
    """

    def __init__(self, file: RangedFile) -> None:
        self.read = file.read1
        self.seek = file.seek


def s3fs_json_read(fname: str | PathLike[str], fs: Any = None, anon: bool = False) -> Any:
    """Read JSON straight from storage.

    Parameters
    ----------
    fname : str or path
        An S3 path or URL.
    fs, anon
        As in `s3fs_nifti_read`.

    Returns
    -------
    dict, list, str, float, int, bool or None

    Raises
    ------
    SourceMissingError, DeniedError, ThrottledError, UnreachableError, StorageError
        If the file can't be read.
    IntegrityError
        If the file is not valid JSON.
    UrlError, UsageError
        If `fname` does not name a file that bidsplan can read.
    """
    return _read_json(find_file(fname, fs, anonymous=anon))


def s3fs_json_write(data: Any, fname: str | PathLike[str], fs: Any = None) -> None:
    """Write JSON straight to storage.

    Parameters
    ----------
    data : dict, list, str, float, int, bool or None
    fname : str or path
        An S3 path or URL. An existing file is only replaced when the new file is complete.
    fs : fsspec.AbstractFileSystem, optional
        The file system that contains `fname`. The default is made from `fname`.

    Raises
    ------
    UsageError
        If `data` can't be written as JSON.
    DestinationError, DeniedError, ThrottledError, UnreachableError
        If the file can't be written.
    """
    _write_json(data, find_file(fname, fs))


def write_json(fname: str | PathLike[str], data: Any) -> None:
    """Write JSON to a local file.

    Parameters
    ----------
    fname : str or path
        The local file. An existing file is only replaced when the new file is complete.
    data : dict, list, str, float, int, bool or None

    Raises
    ------
    UsageError
        If `data` can't be written as JSON.
    DestinationError
        If the file can't be written.
    """
    _write_json(data, local_file(fname))


def read_json(fname: str | PathLike[str]) -> Any:
    """Read JSON from a local file.

    Parameters
    ----------
    fname : str or path
        The local file.

    Returns
    -------
    dict, list, str, float, int, bool or None

    Raises
    ------
    SourceMissingError, DeniedError, StorageError
        If the file can't be read.
    IntegrityError
        If the file is not valid JSON.
    """
    return _read_json(local_file(fname))


def _read_json(file: File) -> Any:
    data = file.read()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{file.what}: not valid JSON: {error}") from error


def _write_json(data: Any, file: File) -> None:
    try:
        text = json.dumps(data).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{file.what}: the data can't be written as JSON: {error}") from error
    file.write(io.BytesIO(text), len(text))
