"""Bringing one entry's bytes to a partial, checked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from bidsplan.digests import Checker, Stopped, Verdict
from bidsplan.errors import IntegrityError, UnreachableError
from bidsplan.events import Proof
from bidsplan.keys import printable
from bidsplan.storage.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.plan import Entry
    from bidsplan.storage import Store

__all__ = ["receive", "write_content"]


class _Progress(Protocol):
    def __call__(self, number: int) -> None: ...


def receive(
    entry: Entry,
    store: Store,
    descriptor: int,
    *,
    progress: _Progress,
    stopping: Callable[[], bool],
) -> Verdict:
    """Write an entry's bytes from its store, and show that they are the planned ones.

    Parameters
    ----------
    entry : Entry
    store : Store
    descriptor : int
        An empty file's; what is in it after an error is worth nothing.
    progress : callable
        Takes numbers of bytes, negative ones where a try is taken back.
    stopping : callable
        Tells whether to stop.

    Returns
    -------
    Verdict
        One that holds.

    Raises
    ------
    IntegrityError
        Where bytes arrived twice that are not the planned ones.
    StorageError
        Where they can't be had.
    Stopped
    """
    verdict = retrying()(_attempt, entry, store, descriptor, progress, stopping)
    if not verdict.holds:
        # Once more from the start: bytes may be damaged on their way.
        progress(-entry.size)
        verdict = retrying()(_attempt, entry, store, descriptor, progress, stopping)
    if verdict.holds:
        return verdict
    if verdict.proof is Proof.ETAG_MD5 and not store.etag_is_md5(entry.key):
        size = f"{entry.size} bytes"
        return Verdict(Proof.SIZE, size, size, verdict.content)
    progress(-entry.size)
    raise IntegrityError(
        f"{printable(entry.path)}: the bytes that came are not the planned ones: by "
        f"{verdict.proof.value}, expected {verdict.expected}, got {verdict.got}; the source or the "
        "way to it is damaged, so try again later or compile anew"
    )


def _attempt(
    entry: Entry,
    store: Store,
    descriptor: int,
    progress: _Progress,
    stopping: Callable[[], bool],
) -> Verdict:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.ftruncate(descriptor, 0)
    checker = Checker(entry)
    arrived = 0
    stream = store.stream(entry.key, etag=entry.etag, version=entry.version)
    try:
        for chunk in stream:
            if stopping():
                raise Stopped
            arrived += len(chunk)
            if arrived > entry.size:
                raise _wrong_size(entry, f"more than {entry.size}")
            _write(descriptor, chunk)
            checker.update(chunk)
            progress(len(chunk))
        if arrived != entry.size:
            raise _wrong_size(entry, str(arrived))
    except BaseException:
        progress(-min(arrived, entry.size))
        raise
    finally:
        stream.close()
    return checker.verdict()


def _wrong_size(entry: Entry, got: str) -> UnreachableError:
    return UnreachableError(
        f"{printable(entry.path)}: {entry.size} bytes are planned, and {got} came; the source has "
        "changed, or the answer was cut short"
    )


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_content(entry: Entry, descriptor: int) -> Verdict:
    """Write a generated entry, whose bytes are in the plan."""
    data = (entry.content or "").encode()
    _write(descriptor, data)
    checker = Checker(entry)
    checker.update(data)
    return checker.verdict()
