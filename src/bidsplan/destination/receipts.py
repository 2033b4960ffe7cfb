"""Receipts: what was fetched, so that a finished plan needs no request and no reading.

They are a cache: one that is corrupt, foreign or stale means that a file is verified again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import BidsplanError, Problem
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage.file_state import SourceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bidsplan.plan.integrity import Verdict

_MANY = 4096
_LONGEST_WAIT = 30.0
"""Seconds after which a kill would cost too much work again."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A file that was fetched to its path, or kept there.

    Parameters
    ----------
    size : int
        Bytes.
    mtime_ns : int
        When a file in a directory was last modified, in nanoseconds.
    tag : str
        What a storage tells the object by, which changes whenever it is written; empty for a file
        in a directory.
    source : str
        Fingerprint of the place and of what was planned for the path.
    content : str
        The bytes' xxh3-128, in hexadecimal.
    proof : CheckMethod
        What they were shown by.
    etag_is_not_digest : bool
        Whether the storage said that the source's entity tag is not a digest of its bytes.
    etag : str
        The planned entity tag, where it looks like an MD5 and the file was checked by size only.
    source_state : SourceState or None
        Of a local source when it was read; None for other sources, and for one that changed
        meanwhile.
    kept : bool
        Whether the file was there before and was compared only; someone else put it there, unless
        another receipt of the same file says otherwise.
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

    @property
    def identity(self) -> int | str:
        """What changes whenever the file is written."""
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
    """Make the receipt of a file that was checked; parameters as of `Receipt`."""
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


encode_lines = msgspec.json.Encoder().encode_lines
_DECODER = msgspec.json.Decoder(Receipt)
# A number of too many digits is a ValueError, nesting a RecursionError.
_INVALID = (msgspec.MsgspecError, ValueError, RecursionError)


def decode_lines(text: bytes) -> list[Receipt]:
    """Read lines of JSON, passing over invalid ones."""
    try:
        return _DECODER.decode_lines(text)
    except _INVALID:
        found = []
        for line in text.splitlines():
            with suppress(*_INVALID):
                found.append(_DECODER.decode(line))
        return found


class ReceiptIndex:
    """Which files are as a receipt says, in a few bytes for each: there may be a million."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        proofs = {proof: proof for proof in CheckMethod}
        self.proofs: dict[int, CheckMethod] = {}
        self.count = 0
        count = 0
        for count, each in enumerate(receipts, 1):  # noqa: B007 - the last one counts
            proof = proofs[each.proof]
            identity = each.tag or each.mtime_ns
            # Marks have about 64 bits, and none outlives the process: a large plan has millions.
            self.proofs[hash((each.path, each.size, identity, each.source, None))] = proof
            # Found by the state of its local source too; without one where the source is gone.
            if (state := each.source_state) is not None:
                self.proofs[hash((each.path, each.size, identity, each.source, state))] = proof
        self.count = count

    def find(
        self,
        path: str,
        size: int,
        identity: int | str | None,
        source: str,
        source_state: SourceState | None = None,
    ) -> CheckMethod | None:
        """Return what a plain file was shown by that nobody has written since.

        Parameters
        ----------
        size, identity
            Of the file as it is now.
        source : str
            Fingerprint of what is planned for it now.
        source_state : SourceState, optional
            Of a local source as it is now; without it, any that it had will do.
        """
        return self.proofs.get(hash((path, size, identity, source, source_state)))


class LatestReceipts:
    """The latest receipt of each path and source, and of each state that a local source had."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        self._known: dict[int, Receipt] = {}
        for receipt in receipts:
            marks = {hash((receipt.path, receipt.source, s)) for s in (None, receipt.source_state)}
            if receipt.etag:
                marks.add(hash((receipt.path, receipt.etag)))
            for mark in marks:
                known = self._known.get(mark)
                # Names of writers have no order in time; where tags are all there is, any will do.
                if known is None or known.mtime_ns <= receipt.mtime_ns:
                    self._known[mark] = receipt

    def find(
        self, path: str, source: str, source_state: SourceState | None = None
    ) -> Receipt | None:
        """Return the latest receipt, whatever file is there now; parameters as `ReceiptIndex`."""
        return self._known.get(hash((path, source, source_state)))

    def find_by_size(self, path: str, etag: str | None) -> Receipt | None:
        """Return the latest receipt by size only, of an object with a tag, wherever that was."""
        return self._known.get(hash((path, etag)))


class ReceiptWriter:
    """Collects receipts, and writes them together, now and then.

    Parameters
    ----------
    write : callable
        A destination's `write_receipts`.

    Attributes
    ----------
    trouble : Exception or None
        Why receipts could not be written, where they could not. The files are none the worse.
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
        """Add a receipt; returns whether it is time to `flush`, once until that is done."""
        with self._adding:
            self._waiting.append(receipt)
            many = len(self._waiting) >= _MANY
            due = not self._flush_due and (many or time.monotonic() - self._since >= _LONGEST_WAIT)
            self._flush_due = self._flush_due or due
            return due

    def flush(self) -> None:
        """Write what was added; where that fails, `trouble` holds the error."""
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
        """Describe what could not be written, and what that costs."""
        if self.trouble is None:
            return None
        reason = getattr(self.trouble, "strerror", None) or self.trouble
        message = f"receipts could not be written ({reason}); the files were fetched and checked"
        return Problem(message=message, hint="the next run reads all of them again")
