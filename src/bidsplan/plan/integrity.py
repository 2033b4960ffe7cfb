"""Checks that bytes are the planned ones, by the strongest possible method."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import xxhash

from bidsplan.errors import Choice, IntegrityError, UnprovedError
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from typing_extensions import Buffer

    from bidsplan.plan import Entry


class CheckMethod(StrEnum):
    """How a file was proved to be the planned one; the strongest method comes first."""

    CONTENT = "content"
    """The file has the bytes that the plan contains."""
    SHA256 = "sha256"
    """The file has the SHA-256 in the plan."""
    MD5 = "md5"
    """The file has the MD5 in the plan."""
    CHECKSUM = "checksum"
    """The file has the checksum that the storage keeps of the whole object."""
    ETAG_MD5 = "etag-md5"
    """The file's MD5 is the object's entity tag."""
    MULTIPART = "multipart"
    """The MD5s of the upload's parts give the object's entity tag."""
    RECEIPT = "receipt"
    """The file has the digest in its receipt, so it is unchanged since it was fetched."""
    SIZE = "size"
    """The file has the planned size, and came from the object with the planned entity tag."""


CHECK_NAMES = {
    CheckMethod.CONTENT: "content",
    CheckMethod.SHA256: "SHA-256",
    CheckMethod.MD5: "MD5",
    CheckMethod.CHECKSUM: "S3 checksum",
    CheckMethod.ETAG_MD5: "MD5 (entity tag)",
    CheckMethod.MULTIPART: "multipart entity tag",
    CheckMethod.RECEIPT: "receipt",
    CheckMethod.SIZE: "size only",
}
"""The methods as summaries name them, strongest first."""


class Checksum(NamedTuple):
    """A storage's checksum of a whole object."""

    algorithm: str
    """``sha256``, ``sha1``, ``crc64nvme``, ``crc32c`` or ``crc32``."""
    value: str
    """As S3 writes it: in base64, the highest byte first."""
    whole: bool = True
    """Whether it covers the whole object, and not the checksums of upload parts."""


_MIB = 1 << 20
_USUAL_PARTS = tuple(number * _MIB for number in (5, 8, 15, 16, 50, 64, 100, 1024))
_MULTIPART = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,4})")
_MD5 = re.compile(r"[0-9a-f]{32}")


def part_sizes(size: int, parts: int) -> list[int]:
    """Return the likely part sizes of an upload of this size.

    They are the part sizes of common clients, and the smallest whole number of MiB that fits.

    Examples
    --------
    >>> [size >> 20 for size in part_sizes(20 << 20, 3)]
    [7, 8]
    """
    even = -(-size // (parts * _MIB)) * _MIB
    if parts == 1:
        # All part sizes would give the same digest.
        return [even] if even else []
    return sorted({part for part in (*_USUAL_PARTS, even) if part and -(-size // part) == parts})


def best_check(entry: Entry) -> CheckMethod:
    """Return the strongest method that can check an entry's bytes."""
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


class VerifyMode(Choice):
    """How received bytes are checked."""

    FULL = "full"
    """Compare the strongest digest that is known."""
    SIZE = "size"
    """Compare size and entity tag only: faster for large files, but damage goes unnoticed."""


class Verdict(NamedTuple):
    """The result of a check, which succeeded if `expected` equals `got`."""

    proof: CheckMethod
    expected: str
    got: str
    content: str
    """The bytes' xxh3-128 in hexadecimal, for receipts."""
    etag_is_not_digest: bool = False
    """Whether the storage said that the object's entity tag is not its MD5."""
    etag: str = ""
    """The planned entity tag, if it looks like an MD5 and only the size was compared."""

    @property
    def holds(self) -> bool:
        """Whether the bytes are the planned ones."""
        return self.expected == self.got

    def by_size_only(self, size: int) -> Verdict:
        """Return the verdict by size, if the planned tag is not a digest."""
        return _of_sizes(size, size, self.content, etag_is_not_digest=True)


def _of_sizes(planned: int, got: int, content: str, *, etag_is_not_digest: bool = False) -> Verdict:
    return Verdict(
        CheckMethod.SIZE, f"{planned} bytes", f"{got} bytes", content, etag_is_not_digest
    )


_DIGESTS = {
    CheckMethod.SHA256: ("sha256", "sha256"),
    CheckMethod.MD5: ("md5", "md5"),
    CheckMethod.ETAG_MD5: ("md5", "etag"),
}
"""Algorithms, and the fields of an entry that contain their digests."""


class _Digest(Protocol):
    def update(self, data: Buffer, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Parts:
    """Computes the entity tag of an upload, for one part size."""

    def __init__(self, size: int) -> None:
        self.size = size
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
        self._left = self.size

    def hexdigest(self) -> str:
        if self._left != self.size:
            self._close()
        return f"{self._whole.hexdigest()}-{self._count}"


class _PartsAside:
    """Like `_Parts`, with a thread pool, for bytes that can be read again."""

    def __init__(self, size: int, read: Callable[[int, int], Buffer], pool: Executor) -> None:
        self._size = size
        self._read = read
        self._pool = pool
        self._arrived = 0
        self._parts: list[Future[bytes]] = []

    def update(self, data: Buffer) -> None:
        self._arrived += memoryview(data).nbytes
        while self._arrived >= (len(self._parts) + 1) * self._size:
            self._submit((len(self._parts) + 1) * self._size)

    def _submit(self, stop: int) -> None:
        self._parts.append(self._pool.submit(self._digest, len(self._parts) * self._size, stop))

    def _digest(self, start: int, stop: int) -> bytes:
        digest = hashlib.md5(usedforsecurity=False)
        for place in range(start, stop, _MIB):
            digest.update(self._read(place, min(stop, place + _MIB)))
        return digest.digest()

    def hexdigest(self) -> str:
        if self._arrived > len(self._parts) * self._size:
            self._submit(self._arrived)
        parts = b"".join(part.result() for part in self._parts)
        return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{len(self._parts)}"


class _Crc:
    """A cyclic redundancy check."""

    def __init__(self, function: Callable[[Buffer, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: Buffer) -> None:
        self._value = self._function(data, self._value)

    def hexdigest(self) -> str:
        return self._value.to_bytes(self._size, "big").hex()


def _digest_of(algorithm: str) -> _Digest:
    if algorithm in {"md5", "sha1", "sha256"}:
        return hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "crc32":
        return _Crc(zlib.crc32, 4)
    import anycrc  # rarely needed

    if algorithm == "crc64nvme":
        return _Crc(anycrc.Model("CRC64-NVME").calc, 8)
    return _Crc(anycrc.Model("CRC32-ISCSI").calc, 4)


class Checker:
    """Digests an entry's bytes as they arrive, and checks them.

    Parameters
    ----------
    checksum : Checksum, optional
        The storage's checksum, which is compared instead of the entity tag.
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
        self._size = 0
        self._content = xxhash.xxh3_128()
        self._digests: list[_Digest] = []
        if checksum is not None:
            self._digests = [_digest_of(checksum.algorithm)]
        elif self._proof in _DIGESTS:
            self._digests = [_digest_of(_DIGESTS[self._proof][0])]
        if self._proof is CheckMethod.MULTIPART and (checksum is None or not checksum.whole):
            parts = int((entry.etag or "").rpartition("-")[2])
            self._digests += [_Parts(size) for size in part_sizes(entry.size, parts)]

    def digest_aside(self, read: Callable[[int, int], Buffer], pool: Executor) -> None:
        """Let a thread pool digest the parts of a multipart entity tag.

        Parameters
        ----------
        read : callable
            Returns the bytes between two positions, which were digested in order.
        pool : Executor
            The thread pool, which must not end before the verdict.
        """
        self._digests = [
            _PartsAside(digest.size, read, pool) if isinstance(digest, _Parts) else digest
            for digest in self._digests
        ]

    def update(self, data: Buffer) -> None:
        """Digest the next bytes."""
        self._size += memoryview(data).nbytes
        self._content.update(data)
        for digest in self._digests:
            digest.update(data)

    def verdict(self) -> Verdict:
        """Compare the bytes so far with the plan."""
        entry, proof, content = self._entry, self._proof, self._content.hexdigest()
        found = [digest.hexdigest() for digest in self._digests]
        if self._size == entry.size:
            if proof is CheckMethod.CONTENT:
                planned = xxhash.xxh3_128((entry.content or "").encode()).hexdigest()
                return Verdict(proof, planned, content, content)
            if self._checksum is not None and entry.etag not in found[1:]:
                algorithm, expected, _ = self._checksum
                value = base64.b64encode(bytes.fromhex(found[0])).decode()
                tag_is_not_digest = proof is CheckMethod.ETAG_MD5
                written = f"{algorithm} {expected}", f"{algorithm} {value}"
                return Verdict(CheckMethod.CHECKSUM, *written, content, tag_is_not_digest)
            if proof in _DIGESTS:
                return Verdict(proof, getattr(entry, _DIGESTS[proof][1]), found[0], content)
            if entry.etag in found:
                return Verdict(proof, entry.etag, entry.etag, content)
        # A multipart tag with unknown part sizes proves nothing against the bytes.
        tag = entry.etag if best_check(entry) is CheckMethod.ETAG_MD5 else None
        return _of_sizes(entry.size, self._size, content)._replace(etag=tag or "")


def check_whole(entry: Entry, data: Buffer, checking: VerifyMode = VerifyMode.FULL) -> Verdict:
    """Compare all bytes of an entry with the plan, as `Checker` does."""
    etag = entry.etag
    # Nearly all small objects have only a plain tag.
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


def judge_two_reads(
    entry: Entry, verdict: Verdict, checksum: Checksum | None, *, same: bool
) -> Verdict:
    """Judge bytes that were not proved in two reads.

    An entity tag may not be an MD5, and a checksum may only cover the checksums of parts, without
    the storage saying so. If the `same` bytes arrived twice, such a digest proves nothing about
    them.
    """
    where = printable(entry.path)
    details = f"by {verdict.proof.value}, expected {verdict.expected}, got {verdict.got}"
    tag = verdict.proof is CheckMethod.ETAG_MD5
    untyped = verdict.proof is CheckMethod.CHECKSUM and checksum is not None and not checksum.whole
    if not same or not (tag or untyped):
        raise IntegrityError(
            f"{where}: the bytes received are not the planned ones: {details}; the source or the "
            "connection is damaged; try again later, or compile again"
        )
    if tag or best_check(entry) is CheckMethod.ETAG_MD5:
        raise UnprovedError(
            f"{where}: nothing shows that the bytes are the planned ones: {details}, twice; either "
            "the entity tag is no MD5 (encryption, some gateways) or the source is damaged; "
            "'--verify size' accepts the file by its size"
        )
    return verdict.by_size_only(entry.size)
