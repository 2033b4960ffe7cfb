"""What has been materialised, so that a finished plan costs one look at each file and no request.

Receipts are lines of JSON in the destination's ``.bidsplan/receipts``, a file for each writer. They
are a cache: one that is corrupt, foreign or outdated means that a file is verified again.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import xxhash

from bidsplan.events import Proof
from bidsplan.keys import STATE_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.destination import Destination, FileState
    from bidsplan.plan import Entry, Plan

__all__ = ["Receipt", "Receipts", "fingerprint"]

_DIRECTORY = f"{STATE_DIRECTORY}/receipts"
_LONGEST_LINE = 1 << 16
_BATCH = 4096
_LONGEST_WAIT = 30.0
"""Seconds after which a kill would cost too much reading again."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One file that was brought to its path.

    Parameters
    ----------
    path : str
    size : int
        Bytes.
    mtime_ns : int
        When the file was last modified, in nanoseconds.
    source : str
        Fingerprint of what was planned for the path.
    content : str
        The bytes' xxh3-128, in hexadecimal.
    proof : Proof
        What they were shown by.
    """

    path: str
    size: int
    mtime_ns: int
    source: str
    content: str
    proof: Proof


def fingerprint(plan: Plan, entry: Entry) -> str:
    """Give a short mark of all that a plan says of an entry's source.

    Parameters
    ----------
    plan : Plan
    entry : Entry

    Returns
    -------
    str
        Hexadecimal; another for any other source, tag, version, size or digest.
    """
    url = plan.header.roots[entry.root].url if entry.content is None else ""
    parts = (url, entry.key, entry.etag, entry.version, entry.md5, entry.sha256, entry.content)
    return xxhash.xxh3_64_hexdigest(msgspec.json.encode((entry.size, *parts)))


class Receipts:
    """The receipts of a destination.

    Parameters
    ----------
    destination : Destination

    Attributes
    ----------
    trouble : OSError or None
        Why receipts could not be written, where they could not. The files are none the worse.
    """

    def __init__(self, destination: Destination) -> None:
        self.trouble: OSError | None = None
        self._destination = destination
        self._name = f"{secrets.token_hex(8)}.jsonl"
        self._known: dict[str, Receipt] = {}
        self._waiting: list[bytes] = []
        self._lock = Lock()
        self._writing = Lock()
        self._written = time.monotonic()
        # Nothing there, or nothing that may be read, is no receipts.
        with suppress(OSError):
            self._load()

    def _load(self) -> None:
        decoder = msgspec.json.Decoder(Receipt)
        with self._destination.directory(_DIRECTORY) as directory:
            for name in sorted(os.listdir(directory)):
                with suppress(OSError):
                    for line in _lines(directory, name):
                        # A number of too many digits is a ValueError, nesting a RecursionError.
                        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                            self._take(decoder.decode(line))

    def _take(self, receipt: Receipt) -> None:
        """Keep the receipt of the latest file; writers' names have no order in time."""
        known = self._known.get(receipt.path)
        if known is None or receipt.mtime_ns >= known.mtime_ns:
            self._known[receipt.path] = receipt

    def find(self, path: str, state: FileState, source: str) -> Receipt | None:
        """Find the receipt of a file that nobody has touched since.

        Parameters
        ----------
        path : str
        state : FileState
            Of the file as it stands.
        source : str
            Fingerprint of what is planned for it now.

        Returns
        -------
        Receipt or None
        """
        receipt = self.of(path, source)
        if receipt is None or not state.regular:
            return None
        same = (receipt.size, receipt.mtime_ns) == (state.size, state.mtime_ns)
        return receipt if same else None

    def of(self, path: str, source: str) -> Receipt | None:
        """Give a path's receipt, whatever stands there now."""
        receipt = self.latest(path)
        return receipt if receipt is not None and receipt.source == source else None

    def latest(self, path: str) -> Receipt | None:
        """Give a path's receipt, whatever was planned for it."""
        return self._known.get(path)

    def add(self, receipt: Receipt) -> None:
        """Note a file that has landed; now and then all that is noted is written."""
        with self._lock:
            self._known[receipt.path] = receipt
            self._waiting.append(msgspec.json.encode(receipt) + b"\n")
            waited = time.monotonic() - self._written
            due = len(self._waiting) >= _BATCH or waited >= _LONGEST_WAIT
        if due and self._writing.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._writing.release()

    def flush(self) -> None:
        """Write what was noted, once the files themselves are on the disk.

        A receipt must not outlive a power cut that its file does not. Where it can't be written,
        `trouble` tells why.
        """
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
            self._written = time.monotonic()
        if not lines:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._destination.sync()
            with self._destination.directory(_DIRECTORY, create=True) as directory:
                descriptor = os.open(self._name, flags, 0o666, dir_fd=directory)
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(lines)
        except OSError as error:
            self.trouble = error


def _lines(directory: int, name: str) -> Iterator[bytes]:
    """Read one writer's lines, of which the last may be torn."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        while line := file.readline(_LONGEST_LINE):
            # What is torn, or too long to be one of ours, has no line feed here.
            if line.endswith(b"\n"):
                yield line
