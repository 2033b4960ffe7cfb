"""Receipts of fetched files, so that later runs need not fetch or read them.

Receipts are a cache. If a receipt is corrupt, foreign or stale, its file is verified again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import BidsplanError, Problem
from bidsplan.plan.integrity import CheckMethod, Verdict
from bidsplan.storage.file_state import SourceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MANY = 4096
_LONGEST_WAIT = 30.0
"""Receipts are written after these seconds, so that a killed run repeats little work."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The record of a file that was fetched to its path, or kept there.

    Parameters
    ----------
    size : int
        Size in bytes.
    mtime_ns : int
        The modification time of a file in a directory, in nanoseconds.
    tag : str
        The value by which the storage identifies the object, which changes whenever the object is
        written. It is empty for a file in a directory.
    source : str
        A fingerprint of the source's place and of the planned bytes.
    content : str
        The bytes' xxh3-128, in hexadecimal.
    proof : CheckMethod
        How the bytes were proved.
    etag_is_not_digest : bool
        Whether the storage said that the source's entity tag is not a digest of its bytes.
    etag : str
        The planned entity tag, if it looks like an MD5 and the file was only checked by size.
    source_state : SourceState or None
        The state of a local source when it was read. None for other sources, and for a source that
        changed meanwhile.
    kept : bool
        Whether the file already existed and was only compared. Such a file was not fetched by
        bidsplan, unless another receipt says so.
    wrong : bool
        Whether this is no proof, but the record that the file was read and is wrong. Earlier
        receipts of the same size and identity then prove nothing.
    doubts : int
        How many such records there are, up to this receipt. Receipts have no other order in time.
    """

    path: str
    size: int
    mtime_ns: int = 0
    tag: str = ""
    source: str
    content: str
    proof: CheckMethod
    etag_is_not_digest: bool = msgspec.field(default=False, name="opaque")
    etag: str = ""
    source_state: SourceState | None = None
    kept: bool = False
    wrong: bool = False
    doubts: int = 0

    @property
    def identity(self) -> int | str:
        """The file's identity, which changes whenever the file is written."""
        return self.tag or self.mtime_ns


def make_receipt(
    path: str,
    size: int,
    identity: int | str,
    source: str,
    verdict: Verdict,
    source_state: SourceState | None,
    *,
    kept: bool,
) -> Receipt:
    """Make the receipt of a checked file; parameters as in `Receipt`."""
    return Receipt(
        path=path,
        size=size,
        mtime_ns=identity if isinstance(identity, int) else 0,
        tag=identity if isinstance(identity, str) else "",
        source=source,
        content=verdict.content,
        proof=verdict.proof,
        etag_is_not_digest=verdict.etag_is_not_digest,
        etag=verdict.etag,
        source_state=source_state,
        kept=kept,
    )


def make_doubt(path: str, size: int, identity: int | str, doubts: int) -> Receipt:
    """Make the record that a file was found wrong."""
    nothing = Verdict(CheckMethod.SIZE, "", "", "")
    receipt = make_receipt(path, size, identity, "", nothing, None, kept=True)
    return msgspec.structs.replace(receipt, wrong=True, doubts=doubts)


encode_lines = msgspec.json.Encoder().encode_lines
_DECODER = msgspec.json.Decoder(Receipt)
# A number with too many digits raises ValueError, and deep nesting RecursionError.
_INVALID = (msgspec.MsgspecError, ValueError, RecursionError)


def decode_lines(text: bytes) -> list[Receipt]:
    """Read lines of JSON, and skip invalid ones."""
    try:
        return _DECODER.decode_lines(text)
    except _INVALID:
        found = []
        for line in text.splitlines():
            with suppress(*_INVALID):
                found.append(_DECODER.decode(line))
        return found


class ReceiptIndex:
    """An index of receipts, with a few bytes for each file.

    Attributes
    ----------
    proofs : dict
        Proofs by the marks that `find` computes.
    count : int
        The number of receipts.
    doubts : dict
        For each file that was found wrong, how often, by a mark of its path, size and identity.
    """

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        proofs = {proof: proof for proof in CheckMethod}
        self.proofs: dict[int, CheckMethod] = {}
        self.doubts: dict[int, int] = {}
        self._renewed: dict[int, int] = {}
        count = 0
        for count, each in enumerate(receipts, 1):  # noqa: B007 - the last one counts
            proof = proofs[each.proof]
            identity = each.tag or each.mtime_ns
            if each.doubts:
                self._add_doubts(each)
                if each.wrong:
                    continue
            # Marks have about 64 bits, and exist only in this process, since a large plan has
            # millions.
            self.proofs[hash((each.path, each.size, identity, each.source, None))] = proof
            # The receipt is found with the state of its local source and, if the source is gone,
            # without.
            if (state := each.source_state) is not None:
                self.proofs[hash((each.path, each.size, identity, each.source, state))] = proof
        self.count = count

    def _add_doubts(self, receipt: Receipt) -> None:
        """Note that a file was found wrong, or was proved after that."""
        path, size, identity = receipt.path, receipt.size, receipt.identity
        if receipt.wrong:
            known, mark = self.doubts, hash((path, size, identity))
        else:
            known, mark = self._renewed, hash((path, size, identity, receipt.source))
        known[mark] = max(known.get(mark, 0), receipt.doubts)

    def find(
        self,
        path: str,
        size: int,
        identity: int | str | None,
        source: str,
        source_state: SourceState | None = None,
    ) -> CheckMethod | None:
        """Return the proof of a file that has not been written since.

        Parameters
        ----------
        size, identity
            The size and identity of the file now.
        source : str
            A fingerprint of the planned source.
        source_state : SourceState, optional
            The state of a local source now. Without it, any earlier state is accepted.
        """
        proof = self.proofs.get(hash((path, size, identity, source, source_state)))
        if proof is None or not self.doubts:
            return proof
        doubts = self.times_wrong(path, size, identity)
        renewed = self._renewed.get(hash((path, size, identity, source)), 0)
        return proof if renewed >= doubts else None

    def times_wrong(self, path: str, size: int, identity: int | str | None) -> int:
        """Return how often a file that has not been written since was found wrong."""
        return self.doubts.get(hash((path, size, identity)), 0)


class FetchedStates:
    """The states of files just after bidsplan fetched them, for any plan."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        found: set[int] = set()
        wrong: set[int] = set()
        for each in receipts:
            mark = hash((each.path, each.size, each.identity))
            if each.wrong:
                wrong.add(mark)
            elif not each.kept:
                found |= {mark, hash((mark, each.content))}
        self._marks = found - wrong

    def has(
        self, path: str, size: int, identity: int | str | None, content: str | None = None
    ) -> bool:
        """Return whether a file is as it was fetched, and was not found wrong since.

        Parameters
        ----------
        content : str, optional
            The file's xxh3-128 now, if it was read.
        """
        mark = hash((path, size, identity))
        return mark in self._marks and (content is None or hash((mark, content)) in self._marks)


class LatestReceipts:
    """The latest receipt of each path and source."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        self._known: dict[int, Receipt] = {}
        self._opaque: set[int] = set()
        for receipt in receipts:
            if receipt.wrong:
                continue
            if receipt.etag_is_not_digest:
                self._opaque.add(hash(receipt.path))
            marks = {hash((receipt.path, receipt.source, s)) for s in (None, receipt.source_state)}
            if receipt.etag:
                marks.add(hash((receipt.path, receipt.etag)))
            for mark in marks:
                known = self._known.get(mark)
                # The names of receipt files have no order in time. If only tags are known, any
                # receipt will do.
                if known is None or known.mtime_ns <= receipt.mtime_ns:
                    self._known[mark] = receipt

    def find(
        self, path: str, source: str, source_state: SourceState | None = None
    ) -> Receipt | None:
        """Return the latest receipt, whatever the file is now."""
        return self._known.get(hash((path, source, source_state)))

    def find_by_size(self, path: str, etag: str | None) -> Receipt | None:
        """Return the latest receipt with proof by size only, for an entity tag."""
        return self._known.get(hash((path, etag)))

    def has_opaque_tag(self, path: str) -> bool:
        """Return whether a source's entity tag was no digest, whatever the source."""
        return hash(path) in self._opaque


class ReceiptWriter:
    """Collects receipts, and writes them in batches.

    Parameters
    ----------
    write : callable
        A destination's `write_receipts`.

    Attributes
    ----------
    trouble : Exception or None
        The error if receipts could not be written. The fetched files are not affected.
    """

    def __init__(self, write: Callable[[list[Receipt]], None]) -> None:
        self.trouble: Exception | None = None
        self._write = write
        self._waiting: list[Receipt] = []
        self._since = time.monotonic()
        self._flush_due = False
        self._adding = Lock()
        self._writing = Lock()

    def add(self, receipt: Receipt) -> bool:
        """Add a receipt; returns whether to call `flush` now."""
        with self._adding:
            self._waiting.append(receipt)
            many = len(self._waiting) >= _MANY
            due = not self._flush_due and (many or time.monotonic() - self._since >= _LONGEST_WAIT)
            self._flush_due = self._flush_due or due
            return due

    def flush(self) -> None:
        """Write the added receipts; if that fails, `trouble` has the error."""
        with self._writing:
            with self._adding:
                receipts, self._waiting = self._waiting, []
                self._since = time.monotonic()
                self._flush_due = False
            if not receipts:
                return
            try:
                self._write(receipts)
            except (OSError, BidsplanError) as error:
                self.trouble = error

    def problem(self) -> Problem | None:
        """Describe the receipts that could not be written, and the consequence."""
        if self.trouble is None:
            return None
        reason = getattr(self.trouble, "strerror", None) or self.trouble
        message = f"receipts could not be written ({reason}); the files were fetched and checked"
        return Problem(message=message, hint="the next run reads all of them again")
