"""Partial files that are written in any order, with notes of complete blocks.

After its bytes, a partial file has a mark and a digest for each block; incomplete blocks have
zeros. A later run fetches only the missing blocks. A block's digest only shows that the block was
written completely. The whole file is therefore digested before it gets its path, and then the notes
are cut off.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from bidsplan.destination.partial_files import Partial

BLOCK = 1 << 20
"""The bytes of a block; a file's last block may be shorter."""

_MARK = b"bidsplan-blocks1"
_DIGEST = 16  # bytes of an xxh3-128
_NONE = bytes(_DIGEST)


class Blocks:
    """A partial file that is written in any order.

    Parameters
    ----------
    size : int
        Size of the whole file in bytes.
    """

    def __init__(self, partial: Partial, size: int) -> None:
        self._partial = partial
        self.size = size
        self.number = -(-size // BLOCK)
        self._notes = size + len(_MARK)

    def end_of(self, index: int) -> int:
        """Return the position after a block."""
        return min(self.size, (index + 1) * BLOCK)

    def begin(self, stopping: Callable[[], bool]) -> Iterator[int]:
        """Prepare the file, and yield the blocks that earlier runs completed.

        Raises OSError.
        """
        partial = self._partial
        source = partial.prefix
        held = os.fstat(source).st_size if source >= 0 else 0
        noted = held > self.size and os.pread(source, len(_MARK), self.size) == _MARK
        notes = os.pread(source, self.number * _DIGEST, self._notes) if noted else b""
        if source != partial.descriptor or not noted:
            os.ftruncate(partial.descriptor, self._notes)
            os.pwrite(partial.descriptor, _MARK, self.size)
        try:
            for index in range(self.number):
                if stopping():
                    return
                note = notes[index * _DIGEST : (index + 1) * _DIGEST]
                in_order = held <= self.size and self.end_of(index) <= held
                if (note and note != _NONE) or in_order:
                    yield from self._adopt(index, source, None if in_order else note)
        finally:
            partial.close_prefix()

    def _adopt(self, index: int, source: int, note: bytes | None) -> Iterator[int]:
        """Yield a block of an earlier run, if it matches its note."""
        start = index * BLOCK
        data = os.pread(source, self.end_of(index) - start, start)
        found = xxhash.xxh3_128_digest(data)
        if len(data) == self.end_of(index) - start and note in {None, found}:
            if source != self._partial.descriptor:
                self.write(start, data)
            if source != self._partial.descriptor or note is None:
                self.note(index, found)
            yield index

    def write(self, start: int, data: Buffer) -> None:
        """Write bytes at a place; raises OSError."""
        view = memoryview(data)
        written = os.pwrite(self._partial.descriptor, view, start)
        while written < view.nbytes:
            written += os.pwrite(self._partial.descriptor, view[written:], start + written)

    def note(self, index: int, digest: bytes) -> None:
        """Note that a block is complete, with its xxh3-128; raises OSError."""
        os.pwrite(self._partial.descriptor, digest, self._notes + index * _DIGEST)

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes that were written; raises OSError."""
        return os.pread(self._partial.descriptor, stop - start, start)

    def finish(self) -> None:
        """Remove the notes from the file; raises OSError."""
        os.ftruncate(self._partial.descriptor, self.size)
