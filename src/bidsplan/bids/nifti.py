"""Checks that a NIfTI file contains all data that its header describes.

Headers are not trusted: the promised bytes are only counted, and no memory is allocated for them.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from bidsplan.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


LONGEST_HEADER = 540
"""Bytes of a NIfTI-2 header; one of NIfTI-1 is shorter."""

_CHUNK = 1 << 20
_GZIP = 31  # zlib's number for gzip's own header and checksum


class Extent(NamedTuple):
    """The position and size of a NIfTI file's data, from its header."""

    version: int
    offset: int
    bytes: int

    def missing(self, size: int) -> str | None:
        """Describe what a file of `size` bytes lacks; None if it is complete."""
        got = max(size - self.offset, 0)
        if got >= self.bytes:
            return None
        return f"expected {self.bytes} bytes of data by its header, got {got}"


def nifti_extent(head: bytes) -> Extent:
    """Read the extent from a file's first `LONGEST_HEADER` unpacked bytes.

    Raises IntegrityError if the bytes are not the header of a single NIfTI file, or if the header
    can't be right.
    """
    import nibabel as nib  # imports for a quarter of a second

    kinds: dict[int, tuple[Any, int, int]] = {
        1: (nib.Nifti1Header, 348, 344),
        2: (nib.Nifti2Header, LONGEST_HEADER, 4),
    }
    for version, (kind, length, place) in kinds.items():
        if len(head) < length or head[place : place + 4] != b"n+%d\0" % version:
            continue
        header = kind(head[:length], check=False)
        try:
            shape = tuple(int(count) for count in header.get_data_shape())
            offset, width = int(header.get_data_offset()), header.get_data_dtype().itemsize
        except Exception as error:
            raise _impossible(header) from error
        # One NIfTI type has one bit for each voxel, which no numpy type has.
        bits = 8 * width or int(header["bitpix"])
        if int(header["dim"][0]) not in range(8) or min((*shape, offset, bits)) < 0:
            raise _impossible(header)
        return Extent(version, offset, -(-math.prod(shape) * bits // 8))
    raise IntegrityError("no header of a single NIfTI file: expected 'n+1' or 'n+2' in it")


def _impossible(header: Any) -> IntegrityError:
    fields = ", ".join(f"{name} {header[name]}" for name in ("dim", "datatype", "vox_offset"))
    return IntegrityError(f"a NIfTI header that can't be right: {fields}")


def nifti_problem(chunks: Iterable[bytes], size: int, *, packed: bool) -> str | None:
    """Describe what is wrong with a NIfTI file, or return None.

    Only as many `chunks` are read as needed. If `packed` is true, gzip's checksums are compared.
    """
    try:
        if packed:
            return _packed_problem(chunks)
        head = b""
        for chunk in chunks:
            head += chunk[: LONGEST_HEADER - len(head)]
            if len(head) == LONGEST_HEADER:
                break
        return nifti_extent(head).missing(size)
    except IntegrityError as error:
        return str(error)


def _packed_problem(chunks: Iterable[bytes]) -> str | None:
    head, size = b"", 0
    try:
        for piece in _unpacked(chunks):
            known = len(head)
            head += piece[: LONGEST_HEADER - known]
            size += len(piece)
            if known < LONGEST_HEADER == len(head):
                # A file that is not an image need not be unpacked to its end.
                nifti_extent(head)
    except EOFError:
        missing = nifti_extent(head).missing(size) or f"after {size} bytes unpacked"
        return f"its gzip ends early: {missing}"
    except zlib.error as error:
        return f"its gzip is damaged after {size} bytes unpacked: {error}"
    return nifti_extent(head).missing(size)


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip in bounded chunks; raise EOFError if it ends early."""
    member, whole = zlib.decompressobj(_GZIP), False
    for chunk in chunks:
        data = chunk
        # Zeros may follow the gzip data, to fill a block of a tape.
        while data := data.lstrip(b"\0") if whole else data:
            yield member.decompress(data, _CHUNK)
            whole, data = member.eof, member.unconsumed_tail
            if whole:
                data, member = member.unused_data, zlib.decompressobj(_GZIP)
    if not whole:
        raise EOFError
