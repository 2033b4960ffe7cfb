"""Showing that bytes are the planned ones, by the strongest means that a plan gives."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import xxhash

from bidsplan.events import Proof
from bidsplan.proofs import part_sizes, strongest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from bidsplan.destination import Destination
    from bidsplan.plan import Entry
    from bidsplan.storage.values import Checksum

__all__ = [
    "Checker",
    "Checking",
    "Stopped",
    "Verdict",
    "check_whole",
    "chunks",
    "part_sizes",
    "read_checked",
    "strongest",
]

_CHUNK = 1 << 20

_MD5 = re.compile(r"[0-9a-f]{32}")


class Checking(StrEnum):
    """How bytes that arrive are checked.

    Attributes
    ----------
    FULL
        By the strongest digest that is known.
    SIZE
        By their number and the entity tag only. What large files cost is halved, and bytes that
        are damaged on their way go unnoticed.
    """

    FULL = "full"
    SIZE = "size"


class Verdict(NamedTuple):
    """What checking gave.

    Parameters
    ----------
    proof : Proof
        What was compared.
    expected, got : str
        Equal where the bytes are the planned ones.
    content : str
        The bytes' xxh3-128, in hexadecimal, for receipts.
    opaque : bool
        Whether the storage said that the object's entity tag is no digest.
    """

    proof: Proof
    expected: str
    got: str
    content: str
    opaque: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bytes are the planned ones."""
        return self.expected == self.got

    def by_size_only(self, size: int) -> Verdict:
        """Give what is left where the planned tag turns out to be no digest: the size."""
        return Verdict(Proof.SIZE, f"{size} bytes", f"{size} bytes", self.content, opaque=True)


class _Digest(Protocol):
    def update(self, data: Buffer, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Parts:
    """An entity tag as an upload in parts of one size makes it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._part = hashlib.md5(usedforsecurity=False)
        self._whole = hashlib.md5(usedforsecurity=False)
        self._count = 0

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            some = view[: self._left]
            self._part.update(some)
            self._left -= len(some)
            view = view[len(some) :]
            if not self._left:
                self._close()

    def _close(self) -> None:
        self._whole.update(self._part.digest())
        self._count += 1
        self._part = hashlib.md5(usedforsecurity=False)
        self._left = self._size

    def hexdigest(self) -> str:
        if self._left != self._size:
            self._close()
        return f"{self._whole.hexdigest()}-{self._count}"


class _Crc:
    """A cyclic redundancy check, as S3 writes it."""

    def __init__(self, function: Callable[[Buffer, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: Buffer) -> None:
        self._value = self._function(data, self._value)

    def hexdigest(self) -> str:
        return self._value.to_bytes(self._size, "big").hex()


def _digest_of(algorithm: str) -> _Digest:
    if algorithm in {"sha256", "sha1"}:
        return hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "crc32":
        return _Crc(zlib.crc32, 4)
    import anycrc  # noqa: PLC0415 - rarely needed

    if algorithm == "crc64nvme":
        return _Crc(anycrc.Model("CRC64-NVME").calc, 8)
    return _Crc(anycrc.Model("CRC32-ISCSI").calc, 4)


class Checker:
    """Digests bytes as they come.

    Parameters
    ----------
    entry : Entry
        What they should be.
    checking : Checking
    checksum : Checksum, optional
        That the storage keeps of them, to be compared instead of the entity tag.
    """

    def __init__(
        self,
        entry: Entry,
        checking: Checking = Checking.FULL,
        checksum: Checksum | None = None,
    ) -> None:
        self._entry = entry
        self._proof = strongest(entry) if checking is Checking.FULL else Proof.SIZE
        self._checksum = checksum
        if checksum is not None:
            self._proof = Proof.CHECKSUM
        self._size = 0
        self._content = xxhash.xxh3_128()
        self._digests = self._make()

    def _make(self) -> list[_Digest]:
        match self._proof:
            case Proof.CHECKSUM if self._checksum:
                return [_digest_of(self._checksum.algorithm)]
            case Proof.SHA256:
                return [hashlib.sha256()]
            case Proof.MD5 | Proof.ETAG_MD5:
                return [hashlib.md5(usedforsecurity=False)]
            case Proof.MULTIPART:
                parts = int((self._entry.etag or "").rpartition("-")[2])
                return [_Parts(size) for size in part_sizes(self._entry.size, parts)]
            case _:
                return []

    def update(self, data: Buffer) -> None:
        """Take the next bytes."""
        self._size += memoryview(data).nbytes
        self._content.update(data)
        for digest in self._digests:
            digest.update(data)

    def verdict(self) -> Verdict:
        """Compare what came with what was planned.

        Returns
        -------
        Verdict
        """
        entry, content = self._entry, self._content.hexdigest()
        if self._size != entry.size:
            return Verdict(Proof.SIZE, f"{entry.size} bytes", f"{self._size} bytes", content)
        found = [digest.hexdigest() for digest in self._digests]
        match self._proof:
            case Proof.CONTENT:
                planned = xxhash.xxh3_128((entry.content or "").encode()).hexdigest()
                return Verdict(Proof.CONTENT, planned, content, content)
            case Proof.CHECKSUM if self._checksum:
                value = base64.b64encode(bytes.fromhex(found[0])).decode()
                algorithm, expected = self._checksum
                got, opaque = f"{algorithm} {value}", strongest(entry) is Proof.ETAG_MD5
                return Verdict(Proof.CHECKSUM, f"{algorithm} {expected}", got, content, opaque)
            case Proof.SHA256:
                return Verdict(Proof.SHA256, entry.sha256 or "", found[0], content)
            case Proof.MD5:
                return Verdict(Proof.MD5, entry.md5 or "", found[0], content)
            case Proof.ETAG_MD5:
                return Verdict(Proof.ETAG_MD5, entry.etag or "", found[0], content)
            case Proof.MULTIPART if entry.etag in found:
                return Verdict(Proof.MULTIPART, entry.etag or "", entry.etag or "", content)
            case _:
                # A size of parts that nobody guesses proves nothing against the bytes.
                return Verdict(Proof.SIZE, f"{entry.size} bytes", f"{self._size} bytes", content)


def check_whole(entry: Entry, data: Buffer, checking: Checking = Checking.FULL) -> Verdict:
    """Compare all of an entry's bytes with what was planned, as `Checker` does.

    Parameters
    ----------
    entry : Entry
    data : Buffer
    checking : Checking

    Returns
    -------
    Verdict
    """
    etag = entry.etag
    # Nearly all small objects: a plain tag, and nothing stronger.
    if (
        checking is Checking.FULL
        and etag is not None
        and entry.sha256 is None
        and entry.md5 is None
        and entry.content is None
        and _MD5.fullmatch(etag)
        and memoryview(data).nbytes == entry.size
    ):
        got = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return Verdict(Proof.ETAG_MD5, etag, got, xxhash.xxh3_128_hexdigest(data))
    checker = Checker(entry, checking)
    checker.update(data)
    return checker.verdict()


class Stopped(Exception):  # noqa: N818 - a request that was heard, and no error
    """The work was asked to stop."""


def read_checked(
    entry: Entry,
    destination: Destination,
    stopping: Callable[[], bool] = lambda: False,
    taker: Callable[[bytes], None] | None = None,
) -> Verdict:
    """Read a file of the destination, and compare it with what was planned.

    Parameters
    ----------
    entry : Entry
    destination : Destination
    stopping : callable
    taker : callable, optional
        Takes the bytes that are read as well.

    Returns
    -------
    Verdict

    Raises
    ------
    DestinationError
        Where it can't be read.
    Stopped
    """
    checker = Checker(entry)
    with destination.reading(entry.path) as descriptor:
        for chunk in chunks(descriptor, stopping):
            checker.update(chunk)
            if taker is not None:
                taker(chunk)
    return checker.verdict()


def chunks(descriptor: int, stopping: Callable[[], bool]) -> Iterator[bytes]:
    """Read a file in pieces, as long as nobody stops it.

    Parameters
    ----------
    descriptor : int
    stopping : callable

    Yields
    ------
    bytes

    Raises
    ------
    OSError
    Stopped
    """
    while chunk := os.read(descriptor, _CHUNK):
        if stopping():
            raise Stopped
        yield chunk
