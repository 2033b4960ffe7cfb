"""What has been materialised, so that a finished plan costs one look at each file and no request.

Receipts are lines of JSON in the destination's ``.bidsplan/receipts``, a file for each writer. They
are a cache: one that is corrupt, foreign or outdated means that a file is verified again.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import xxhash

from bidsplan.events import Proof
from bidsplan.keys import STATE_DIRECTORY

if TYPE_CHECKING:
    from bidsplan.destination import Destination, FileState
    from bidsplan.plan import Entry, Plan

__all__ = ["Receipt", "Receipts", "fingerprint"]

_DIRECTORY = f"{STATE_DIRECTORY}/receipts"
_LARGEST = 1 << 30
_LONGEST_LINE = 1 << 16
_BATCH = 4096


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
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._name = f"{secrets.token_hex(8)}.jsonl"
        self._known: dict[str, Receipt] = {}
        self._waiting: list[bytes] = []
        self._lock = Lock()
        # Nothing there, or nothing that may be read, is no receipts.
        with suppress(OSError):
            self._load()

    def _load(self) -> None:
        decoder = msgspec.json.Decoder(Receipt)
        with self._destination.directory(_DIRECTORY) as directory:
            for name in sorted(os.listdir(directory)):
                for line in _lines(directory, name):
                    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                        self._take(decoder.decode(line))

    def _take(self, receipt: Receipt) -> None:
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
        receipt = self._known.get(path)
        if receipt is None or not state.regular:
            return None
        same = (receipt.size, receipt.mtime_ns, receipt.source) == (
            state.size,
            state.mtime_ns,
            source,
        )
        return receipt if same else None

    def of(self, path: str, source: str) -> Receipt | None:
        """Give a path's receipt, whatever stands there now."""
        receipt = self._known.get(path)
        return receipt if receipt is not None and receipt.source == source else None

    def add(self, receipt: Receipt) -> None:
        """Note a file that has landed."""
        with self._lock:
            self._known[receipt.path] = receipt
            self._waiting.append(msgspec.json.encode(receipt) + b"\n")
            full = len(self._waiting) >= _BATCH
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what was noted, once the files themselves are on the disk.

        A receipt must not outlive a power cut that its file does not.
        """
        with self._lock:
            lines, self._waiting = self._waiting, []
            if not lines:
                return
            self._destination.sync()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with self._destination.directory(_DIRECTORY, create=True) as directory:
                descriptor = os.open(self._name, flags, 0o666, dir_fd=directory)
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(lines)


def _lines(directory: int, name: str) -> list[bytes]:
    """Read one writer's lines, of which the last may be torn."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            lines = file.read(_LARGEST).split(b"\n")[:-1]
    except OSError:
        return []
    return [line for line in lines if len(line) <= _LONGEST_LINE]
