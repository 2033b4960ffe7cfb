"""Merging the receipts of many old runs into one file.

A destination that is fetched to every day would gather a file of receipts a day, and each run reads
them all.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import xxhash

from bidsplan.destination.receipts import DIRECTORY, receipts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.destination.directory import Destination
    from bidsplan.destination.receipts import Receipt


_NAME = re.compile(r"[0-9a-f]{16}\.jsonl")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_MANY = 32
"""Files that cost less to read than to merge."""

_RESTING = 24 * 3600.0
"""Seconds without a change after which nobody is taken to write to a file of receipts."""


class _State(NamedTuple):
    """What shows that a file has not changed."""

    inode: int
    size: int
    mtime_ns: int


def compact(folder: Destination) -> None:
    """Merge files of receipts that nobody writes to any more, where there are many.

    Of several receipts of a path and a source the latest is kept, with each state that a local
    source had, and both of a file that was brought and later kept. Files of others that may be at
    work are left alone, and none goes before all that counts of it is in the new one.

    Parameters
    ----------
    folder : Destination
        Whose lock is held.
    """
    # Where it does not go well, all is read as before.
    with suppress(OSError), folder.directory(DIRECTORY) as directory:
        old = _resting(directory)
        if len(old) > _MANY:
            _write(directory, _merged(directory, list(old)))
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
    """Read files twice, so that not all that a million lines say is in memory."""
    latest: dict[int, int] = {}
    given: set[int] = set()
    for name in names:
        for receipt in receipts_of(directory, name):
            mark = _mark(receipt)
            latest[mark] = max(latest.get(mark, receipt.mtime_ns), receipt.mtime_ns)
    for name in names:
        for receipt in receipts_of(directory, name):
            # Of a file that was brought and later kept, prune needs the receipt of the first.
            exact = _mark(receipt, (receipt.source_state, receipt.kept))
            if latest.get(_mark(receipt)) == receipt.mtime_ns and exact not in given:
                given.add(exact)
                yield receipt


def _mark(receipt: Receipt, state: object = None) -> int:
    return xxhash.xxh3_64_intdigest(f"{receipt.path}\0{receipt.source}\0{state}".encode())


def _write(directory: int, receipts: Iterator[Receipt]) -> None:
    name = f"{secrets.token_hex(8)}.jsonl"
    encoder = msgspec.json.Encoder()
    try:
        descriptor = os.open(name, _NEW_FILE, 0o666, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            for receipt in receipts:
                file.write(encoder.encode(receipt) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise
