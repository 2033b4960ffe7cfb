"""A directory's receipts: JSON lines below ``.bidsplan/receipts``.

If a destination is fetched to every day, a new file is added every day, and each run reads all
files. Old files, which no run writes to any more, are therefore merged.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from bidsplan.destination.partial_files import NEW_FILE
from bidsplan.destination.receipts import decode_lines, encode_lines
from bidsplan.paths import STATE_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.destination.directory import Directory
    from bidsplan.destination.receipts import Receipt


_DIRECTORY = f"{STATE_DIRECTORY}/receipts"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_LINE = 1 << 16
_BLOCK = 1 << 20
_NAME = re.compile(r"[0-9a-f]{16}\.jsonl")

_MANY = 32
"""The number of files that are faster to read than to merge."""

_RESTING = 24 * 3600.0
"""Seconds without a change after which a file of receipts is no longer written to."""


class _State(NamedTuple):
    """The state of a file, by which a change shows."""

    inode: int
    size: int
    mtime_ns: int


def new_name() -> str:
    """Return a name for a new file of receipts."""
    return f"{secrets.token_hex(8)}.jsonl"


def read_receipts(folder: Directory) -> Iterator[Receipt]:
    """Read all receipts of a directory, and skip invalid ones."""
    # A directory that is missing or unreadable has no receipts.
    with suppress(OSError), folder.directory(_DIRECTORY) as directory:
        read: set[str] = set()
        # A file that has disappeared meanwhile was merged into another, which is listed next time.
        while names := set(os.listdir(directory)) - read:
            read |= names
            for name in sorted(names):
                with suppress(OSError):
                    yield from _receipts_in(directory, name)


def append_receipts(folder: Directory, name: str, receipts: list[Receipt]) -> None:
    """Append receipts to a file, after the fetched files are on the disk.

    After a power cut, there must be no receipt of a file that is lost. Raises OSError.
    """
    folder.sync()
    with folder.directory(_DIRECTORY, create=True) as directory:
        descriptor = os.open(name, _APPEND, 0o666, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_lines(receipts))


def _receipts_in(directory: int, name: str) -> Iterator[Receipt]:
    """Read the lines of one file of receipts in blocks; the last may be cut off."""
    with os.fdopen(os.open(name, _READ, dir_fd=directory), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        while block := file.read(_BLOCK):
            # A line that is cut off, or too long to be a receipt, has no line feed in time.
            block += file.readline(_LONGEST_LINE) if not block.endswith(b"\n") else b""
            yield from decode_lines(block[: block.rfind(b"\n") + 1])


def compact(folder: Directory) -> None:
    """Merge old files of receipts, if there are many.

    For each path and source, the latest receipt is kept. Receipts with other states of a local
    source are kept too, and so are both receipts of a file that was fetched and later kept. Files
    that other runs may still write to are not touched. A file is removed only after its receipts
    are in the new file. The directory must be locked.
    """
    # If merging fails, all files are read as before.
    with suppress(OSError), folder.directory(_DIRECTORY) as directory:
        old = _resting(directory)
        if len(old) > _MANY:
            _write_merged(directory, list(old))
            for name, state in old.items():
                if _state(directory, name) == state:
                    os.unlink(name, dir_fd=directory)


def _state(directory: int, name: str) -> _State | None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        return None
    return _State(found.st_ino, found.st_size, found.st_mtime_ns)


def _resting(directory: int) -> dict[str, _State]:
    limit = time.time_ns() - int(_RESTING * 1e9)
    states = {name: _state(directory, name) for name in os.listdir(directory)}
    return {
        name: state
        for name, state in sorted(states.items())
        if _NAME.fullmatch(name) and state is not None and state.mtime_ns < limit
    }


def _merged(directory: int, names: list[str]) -> Iterator[Receipt]:
    """Merge receipts by reading the files twice, to save memory."""
    latest: dict[int, int] = {}
    given: set[int] = set()
    for name in names:
        for receipt in _receipts_in(directory, name):
            mark = _mark(receipt)
            latest[mark] = max(latest.get(mark, receipt.mtime_ns), receipt.mtime_ns)
    for name in names:
        for receipt in _receipts_in(directory, name):
            # For a file that was fetched and later kept, prune needs the first receipt.
            exact = _mark(receipt, (receipt.source_state, receipt.kept, receipt.doubts))
            if latest.get(_mark(receipt)) == receipt.mtime_ns and exact not in given:
                given.add(exact)
                yield receipt


def _mark(receipt: Receipt, state: object = None) -> int:
    return xxhash.xxh3_64_intdigest(f"{receipt.path}\0{receipt.source}\0{state}".encode())


def _write_merged(directory: int, names: list[str]) -> None:
    new = new_name()
    try:
        with os.fdopen(os.open(new, NEW_FILE, 0o666, dir_fd=directory), "wb") as file:
            for receipt in _merged(directory, names):
                file.write(encode_lines([receipt]))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise
