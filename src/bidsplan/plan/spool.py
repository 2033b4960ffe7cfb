"""Stores and sorts the entries of large plans in temporary files."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter, eq
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple, overload
from weakref import finalize

from bidsplan.errors import DestinationError
from bidsplan.plan.model import ENCODER
from bidsplan.plan.parse import parse_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.plan.model import Entry


BLOCK = 1024
"""The entries that are written and read at a time."""

MOST_IN_MEMORY = 50_000
"""The most entries that are kept in memory; each takes half a kilobyte."""

_PATH = attrgetter("path")


class Block(NamedTuple):
    """Consecutive entries of a plan, with their lines."""

    entries: Sequence[Entry]
    text: bytes


class SpooledEntries(Sequence["Entry"]):
    """Entries in a temporary file, which is removed with the object.

    The entries can be iterated, indexed and compared like a tuple, from several threads. Each block
    is read when it is needed. A copy or a pickle becomes a tuple.
    """

    def __init__(self) -> None:
        with explaining_full_disk():
            file: IO[bytes] = TemporaryFile(prefix="bidsplan-")  # noqa: SIM115 - see finalize
        self._file = file
        self._ends = [0]
        self._numbers = [0]
        self._last: tuple[int, Sequence[Entry]] = -1, ()
        finalize(self, _close, file)

    def append(self, text: bytes, number: int) -> None:
        """Add `number` entries as lines."""
        with explaining_full_disk():
            self._file.write(text)
            # It is read by its descriptor.
            self._file.flush()
        self._ends.append(self._ends[-1] + len(text))
        self._numbers.append(self._numbers[-1] + number)

    @property
    def number_of_blocks(self) -> int:
        """How many blocks were added."""
        return len(self._ends) - 1

    def texts(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read the lines of each block, or of some blocks."""
        stop = len(self._ends) - 1 if stop is None else stop
        return (self._text(number) for number in range(start, stop))

    def _text(self, number: int) -> bytes:
        start, end = self._ends[number : number + 2]
        return os.pread(self._file.fileno(), end - start, start)

    def __len__(self) -> int:
        return self._numbers[-1]

    def __iter__(self) -> Iterator[Entry]:
        for text in self.texts():
            yield from parse_lines(text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpooledEntries | tuple):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type[tuple[Entry, ...]], tuple[tuple[Entry, ...]]]:
        return tuple, (tuple(self),)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        place = range(len(self))[index]
        block = bisect_right(self._numbers, place) - 1
        number, entries = self._last
        if number != block:
            entries = parse_lines(self._text(block))
            self._last = block, entries
        return entries[place - self._numbers[block]]


def _close(file: IO[bytes]) -> None:
    """Close a temporary file, also on a full disk."""
    with suppress(OSError):
        file.close()


@contextmanager
def explaining_full_disk() -> Iterator[None]:
    """Explain the error if a temporary file can't be written."""
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"a temporary file can't be written: {error.strerror or error}; let TMPDIR name a "
            "directory with more space"
        ) from error


def blocks_of(entries: Sequence[Entry]) -> Iterator[Block]:
    """Yield blocks of some thousand entries, with their lines."""
    if isinstance(entries, SpooledEntries):
        yield from (Block(parse_lines(text), text) for text in entries.texts())
        return
    for start in range(0, len(entries), BLOCK):
        some = entries[start : start + BLOCK]
        yield Block(some, ENCODER.encode_lines(some))


def texts_of(entries: Sequence[Entry]) -> Iterator[bytes]:
    """Yield the lines of entries, some thousands at a time."""
    if isinstance(entries, SpooledEntries):
        return entries.texts()
    return (block.text for block in blocks_of(entries))


def collect(entries: Iterable[Entry], *, spool: bool) -> Sequence[Entry]:
    """Keep entries in memory or, if `spool` is true, many in a file."""
    if not spool:
        return tuple(entries)
    kept: list[Entry] = []
    spooled: SpooledEntries | None = None
    most = MOST_IN_MEMORY
    for entry in entries:
        kept.append(entry)
        if len(kept) > most:
            spooled = spooled or SpooledEntries()
            _write(spooled, kept)
            kept, most = [], BLOCK
    if spooled is None:
        return tuple(kept)
    _write(spooled, kept)
    return spooled


def _write(spooled: SpooledEntries, entries: Sequence[Entry]) -> None:
    for some, text in blocks_of(entries):
        spooled.append(text, len(some))


class EntrySorter:
    """Sorts entries by path, without changing the order of equal paths.

    Parameters
    ----------
    spool : bool
        Whether many entries are sorted in a temporary file.
    """

    def __init__(self, *, spool: bool) -> None:
        self._spool = spool
        self._waiting: list[Entry] = []
        self._spooled: SpooledEntries | None = None
        self._ends = [0]

    def add(self, entries: Iterable[Entry]) -> None:
        """Add entries in any order."""
        self._waiting.extend(entries)
        if self._spool and len(self._waiting) > MOST_IN_MEMORY:
            self._waiting.sort(key=_PATH)
            self._spooled = self._spooled or SpooledEntries()
            _write(self._spooled, self._waiting)
            self._ends.append(self._spooled.number_of_blocks)
            self._waiting = []

    def sorted(self) -> Iterator[Sequence[Entry]]:
        """Yield all entries in order; nothing can be added afterwards."""
        self._waiting.sort(key=_PATH)
        waiting, self._waiting = self._waiting, []
        runs: list[Iterator[Sequence[Entry]]] = []
        if self._spooled is not None:
            runs = [map(parse_lines, self._spooled.texts(*ends)) for ends in pairwise(self._ends)]
        return _merge([*runs, iter([waiting] if waiting else [])])


def _merge(runs: Sequence[Iterator[Sequence[Entry]]]) -> Iterator[Sequence[Entry]]:
    """Merge sorted runs; blocks that do not overlap are passed on whole."""
    heads: list[tuple[str, int, Sequence[Entry]]] = []
    for number, run in enumerate(runs):
        if block := next(run, ()):
            heappush(heads, (block[0].path, number, block))
    while heads:
        _, number, block = heappop(heads)
        cut = len(block)
        if heads:
            limit, other, _ = heads[0]
            find = bisect_right if number < other else bisect_left
            cut = find(block, limit, key=_PATH)
        yield block[:cut]
        rest = block[cut:] or next(runs[number], ())
        if rest:
            heappush(heads, (rest[0].path, number, rest))
