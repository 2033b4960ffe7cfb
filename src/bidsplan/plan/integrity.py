"""Checks that bytes are the planned ones, by the best means that a plan gives."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import xxhash

from bidsplan.plan import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from bidsplan.plan import Entry


class CheckMethod(StrEnum):
    """How strongly a file was shown to be the planned one, strongest first.

    Attributes
    ----------
    CONTENT
        The plan holds its bytes.
    SHA256, MD5
        The plan holds its digest.
    CHECKSUM
        The storage keeps a checksum of all of it.
    ETAG_MD5
        Its digest is the object's entity tag.
    MULTIPART
        The digests of its parts make the object's entity tag.
    RECEIPT
        It is what was fetched, by the digest noted then.
    SIZE
        It has the planned size, and came from the object with the planned entity tag.
    """

    CONTENT = "content"
    SHA256 = "sha256"
    MD5 = "md5"
    CHECKSUM = "checksum"
    ETAG_MD5 = "etag-md5"
    MULTIPART = "multipart"
    RECEIPT = "receipt"
    SIZE = "size"


class Checksum(NamedTuple):
    """What a storage keeps of all of an object's bytes.

    Parameters
    ----------
    algorithm : str
        ``sha256``, ``sha1``, ``crc64nvme``, ``crc32c`` or ``crc32``.
    value : str
        As S3 writes it: in base64, the highest byte first.
    """

    algorithm: str
    value: str


_MIB = 1 << 20
_USUAL_PARTS = tuple(number * _MIB for number in (5, 8, 15, 16, 50, 64, 100, 1024))
_MULTIPART = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,4})")
_MD5 = re.compile(r"[0-9a-f]{32}")


def part_sizes(size: int, parts: int) -> list[int]:
    """List the sizes of parts that an upload of so many parts may have had.

    Parameters
    ----------
    size : int
        Bytes in all.

    Returns
    -------
    list of int
        Sizes that usual clients take, and the least whole number of MiB.

    Examples
    --------
    >>> [size >> 20 for size in part_sizes(20 << 20, 3)]
    [7, 8]
    """
    even = -(-size // (parts * _MIB)) * _MIB
    return sorted({part for part in (*_USUAL_PARTS, even) if part and -(-size // part) == parts})


def best_check(entry: Entry) -> CheckMethod:
    """Tell what an entry's bytes can be shown by."""
    if entry.content is not None:
        return CheckMethod.CONTENT
    if entry.sha256:
        return CheckMethod.SHA256
    if entry.md5:
        return CheckMethod.MD5
    etag = entry.etag or ""
    if _MD5.fullmatch(etag):
        return CheckMethod.ETAG_MD5
    match = _MULTIPART.fullmatch(etag)
    if match and part_sizes(entry.size, int(match[2])):
        return CheckMethod.MULTIPART
    return CheckMethod.SIZE


class VerifyMode(StrEnum):
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
    proof : CheckMethod
        What was compared.
    expected, got : str
        Equal where the bytes are the planned ones.
    content : str
        The bytes' xxh3-128, in hexadecimal, for receipts.
    etag_is_not_digest : bool
        Whether the storage said that the object's entity tag is no digest.
    """

    proof: CheckMethod
    expected: str
    got: str
    content: str
    etag_is_not_digest: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bytes are the planned ones."""
        return self.expected == self.got

    def by_size_only(self, size: int) -> Verdict:
        """Give what is left where the planned tag turns out to be no digest: the size."""
        return Verdict(
            CheckMethod.SIZE,
            f"{size} bytes",
            f"{size} bytes",
            self.content,
            etag_is_not_digest=True,
        )


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
    import anycrc  # rarely needed

    if algorithm == "crc64nvme":
        return _Crc(anycrc.Model("CRC64-NVME").calc, 8)
    return _Crc(anycrc.Model("CRC32-ISCSI").calc, 4)


class Checker:
    """Digests bytes as they come.

    Parameters
    ----------
    entry : Entry
        What they should be.
    checksum : Checksum, optional
        That the storage keeps of them, to be compared instead of the entity tag.
    """

    def __init__(
        self,
        entry: Entry,
        checking: VerifyMode = VerifyMode.FULL,
        checksum: Checksum | None = None,
    ) -> None:
        self._entry = entry
        self._proof = best_check(entry) if checking is VerifyMode.FULL else CheckMethod.SIZE
        self._checksum = checksum
        if checksum is not None:
            self._proof = CheckMethod.CHECKSUM
        self._size = 0
        self._content = xxhash.xxh3_128()
        self._digests = self._make()

    def _make(self) -> list[_Digest]:
        match self._proof:
            case CheckMethod.CHECKSUM if self._checksum:
                return [_digest_of(self._checksum.algorithm)]
            case CheckMethod.SHA256:
                return [hashlib.sha256()]
            case CheckMethod.MD5 | CheckMethod.ETAG_MD5:
                return [hashlib.md5(usedforsecurity=False)]
            case CheckMethod.MULTIPART:
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
        """Compare what came with what was planned."""
        entry, content = self._entry, self._content.hexdigest()
        if self._size != entry.size:
            return Verdict(CheckMethod.SIZE, f"{entry.size} bytes", f"{self._size} bytes", content)
        found = [digest.hexdigest() for digest in self._digests]
        match self._proof:
            case CheckMethod.CONTENT:
                planned = xxhash.xxh3_128((entry.content or "").encode()).hexdigest()
                return Verdict(CheckMethod.CONTENT, planned, content, content)
            case CheckMethod.CHECKSUM if self._checksum:
                value = base64.b64encode(bytes.fromhex(found[0])).decode()
                algorithm, expected = self._checksum
                got, etag_is_not_digest = (
                    f"{algorithm} {value}",
                    best_check(entry) is CheckMethod.ETAG_MD5,
                )
                return Verdict(
                    CheckMethod.CHECKSUM,
                    f"{algorithm} {expected}",
                    got,
                    content,
                    etag_is_not_digest,
                )
            case CheckMethod.SHA256:
                return Verdict(CheckMethod.SHA256, entry.sha256 or "", found[0], content)
            case CheckMethod.MD5:
                return Verdict(CheckMethod.MD5, entry.md5 or "", found[0], content)
            case CheckMethod.ETAG_MD5:
                return Verdict(CheckMethod.ETAG_MD5, entry.etag or "", found[0], content)
            case CheckMethod.MULTIPART if entry.etag in found:
                return Verdict(CheckMethod.MULTIPART, entry.etag or "", entry.etag or "", content)
            case _:
                # A size of parts that nobody guesses proves nothing against the bytes.
                return Verdict(
                    CheckMethod.SIZE, f"{entry.size} bytes", f"{self._size} bytes", content
                )


def check_whole(entry: Entry, data: Buffer, checking: VerifyMode = VerifyMode.FULL) -> Verdict:
    """Compare all of an entry's bytes with what was planned, as `Checker` does."""
    etag = entry.etag
    # Nearly all small objects: a plain tag, and nothing stronger.
    if (
        checking is VerifyMode.FULL
        and etag is not None
        and entry.sha256 is None
        and entry.md5 is None
        and entry.content is None
        and _MD5.fullmatch(etag)
        and memoryview(data).nbytes == entry.size
    ):
        got = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return Verdict(CheckMethod.ETAG_MD5, etag, got, xxhash.xxh3_128_hexdigest(data))
    checker = Checker(entry, checking)
    checker.update(data)
    return checker.verdict()
