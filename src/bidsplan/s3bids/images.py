"""NIfTI images and JSON in storage, read and written in place.

A name is an S3 path, with or without ``s3://``, or any URL that fsspec knows; with a file system,
it is a name there.
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
"""Bytes of an image to be written that are held in memory, and not in a file."""

_MOST_PACKED = 1032
"""Bytes that deflate can make of one."""


def s3fs_nifti_write(img: Nifti1Image, fname: str | PathLike[str], fs: Any = None) -> None:
    """Write a NIfTI image straight to storage, with reproducible bytes.

    Parameters
    ----------
    img : nibabel.Nifti1Image or nibabel.Nifti2Image
    fname : str or path
        Ends in ``.nii``, or in ``.nii.gz`` for gzip. What it named before is replaced only when
        the new file is complete.
    fs : fsspec.AbstractFileSystem, optional
        Made from `fname` by default.

    Raises
    ------
    UsageError
        Where `fname` ends otherwise, or `img` is another kind of image.
    DestinationError, DeniedError, ThrottledError, UnreachableError
        Where it can't be written.
    """
    import nibabel as nib  # with numpy, a quarter of a second

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
            # Else the image would take the stream for its source.
            img.file_map = known
        spool.seek(0, io.SEEK_END)
        size = spool.tell()
        spool.seek(0)
        file.write(spool, size)


def s3fs_nifti_read(fname: str | PathLike[str], fs: Any = None, anon: bool = False) -> Nifti1Image:
    """Open a NIfTI image in storage; its data is read on use.

    Parameters
    ----------
    fname : str or path
        NIfTI-1 or NIfTI-2, with gzip or without, whatever its name.
    fs : fsspec.AbstractFileSystem, optional
        Made from `fname` by default.
    anon : bool
        Whether requests to S3 are unsigned, where `fs` is not given. Else credentials are found as
        the AWS tools find them.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        Only the header has been transferred. A slice of its ``dataobj`` transfers what holds the
        slice; with gzip, all that precedes it as well.

    Raises
    ------
    SourceMissingError, DeniedError, ThrottledError, UnreachableError, StorageError
        Where it can't be read; also when its data is used.
    IntegrityError
        Where it is no NIfTI image, is shorter than its header says, or its gzip is damaged; for
        damage in the data, when the data is used.
    UrlError, UsageError
        Where `fname` names no file that can be read here.
    """
    file = find_file(fname, fs, anonymous=anon)
    return _Unpacked(RangedFile(file), file.what).image()


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of an image; nibabel reads them under a lock.

    A read returns all that it asks for; what ends early is an error.
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
        """Read the header, and return the image, whose data is read later."""
        import nibabel as nib  # with numpy, a quarter of a second

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
        # A damaged header may ask for any number of bytes.
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
        # After an error a new stream is opened: the state of the old one is not known.
        stream, self._stream = self._stream or self._open_gzip(), None
        try:
            if stream.tell() != self._at:
                stream.seek(self._at)
            while done < len(view) and (piece := stream.read(min(_PIECE, len(view) - done))):
                view[done : done + len(piece)] = piece
                done += len(piece)
            if self._at + done == self._end:
                # Only past the last byte does gzip compare its checksum.
                stream.read(1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(f"its gzip is damaged or ends early: {error}") from error
        self._stream = stream
        return done

    def _open_gzip(self) -> gzip.GzipFile:
        self._file.seek(0)
        file: Any = self._file
        return gzip.GzipFile(fileobj=file)


def s3fs_json_read(fname: str | PathLike[str], fs: Any = None, anon: bool = False) -> Any:
    """Read JSON straight from storage.

    Parameters
    ----------
    fname : str or path
    fs, anon
        As in `s3fs_nifti_read`.

    Returns
    -------
    dict, list, str, float, int, bool or None

    Raises
    ------
    SourceMissingError, DeniedError, ThrottledError, UnreachableError, StorageError
        Where it can't be read.
    IntegrityError
        Where it is not JSON.
    UrlError, UsageError
        Where `fname` names no file that can be read here.
    """
    return _read_json(find_file(fname, fs, anonymous=anon))


def s3fs_json_write(data: Any, fname: str | PathLike[str], fs: Any = None) -> None:
    """Write JSON straight to storage.

    Parameters
    ----------
    data : dict, list, str, float, int, bool or None
    fname : str or path
        What it named before is replaced only when the new file is complete.
    fs : fsspec.AbstractFileSystem, optional
        Made from `fname` by default.

    Raises
    ------
    UsageError
        Where `data` has no form in JSON.
    DestinationError, DeniedError, ThrottledError, UnreachableError
        Where it can't be written.
    """
    _write_json(data, find_file(fname, fs))


def write_json(fname: str | PathLike[str], data: Any) -> None:
    """Write JSON to a local file.

    Parameters
    ----------
    fname : str or path
        What it named before is replaced only when the new file is complete.
    data : dict, list, str, float, int, bool or None

    Raises
    ------
    UsageError
        Where `data` has no form in JSON.
    DestinationError
        Where it can't be written.
    """
    _write_json(data, local_file(fname))


def read_json(fname: str | PathLike[str]) -> Any:
    """Read JSON from a local file.

    Parameters
    ----------
    fname : str or path

    Returns
    -------
    dict, list, str, float, int, bool or None

    Raises
    ------
    SourceMissingError, DeniedError, StorageError
        Where it can't be read.
    IntegrityError
        Where it is not JSON.
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
