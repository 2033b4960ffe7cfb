"""What has been materialised, so that a finished plan costs one look at each file and no request.

Receipts are lines of JSON in the destination's ``.bidsplan/receipts``, a file for each writer. They
are a cache: one that is corrupt, foreign or outdated means that a file is verified again.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from bidsplan.destination.batch import Batch
from bidsplan.errors import Problem
from bidsplan.paths import STATE_DIRECTORY
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage.file_state import SourceState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.destination.directory import Destination, FileState
    from bidsplan.destination.sources import Sources
    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Verdict


DIRECTORY = f"{STATE_DIRECTORY}/receipts"
"""Where a destination's receipts are."""

_LONGEST_LINE = 1 << 16
_BLOCK = 1 << 20


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One file that was brought to its path, or kept there.

    Parameters
    ----------
    size : int
        Bytes.
    mtime_ns : int
        When the file was last modified, in nanoseconds.
    source : str
        Fingerprint of the place and of what was planned for the path.
    content : str
        The bytes' xxh3-128, in hexadecimal.
    proof : CheckMethod
        What they were shown by.
    etag_is_not_digest : bool
        Whether the storage said that the object's entity tag is no digest of its bytes.
    source_state : SourceState or None
        Of a local source when it was read; None for other sources, and for one that changed
        meanwhile.
    kept: bool
        Whether the file stood there before and was compared only; someone else brought it, unless
        another receipt of the same file says otherwise.
    """

    path: str
    size: int
    mtime_ns: int
    source: str
    content: str
    proof: CheckMethod
    etag_is_not_digest: bool = msgspec.field(default=False, name="opaque")
    source_state: SourceState | None = None
    kept: bool = False


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Receipt)
# A number of too many digits is a ValueError, nesting a RecursionError.
_INVALID = (msgspec.MsgspecError, ValueError, RecursionError)


def make_receipt(
    sources: Sources,
    entry: Entry,
    state: FileState,
    verdict: Verdict,
    source_state: SourceState | None = None,
    *,
    kept: bool = False,
) -> Receipt:
    """Note what was brought or kept for an entry.

    Parameters
    ----------
    state : FileState
        Of the file as it stands.
    source_state : SourceState, optional
        Of a local source, which it had before and after its bytes were read.
    kept : bool
        Whether the file stood there before.
    """
    return Receipt(
        path=entry.path,
        size=state.size,
        mtime_ns=state.mtime_ns,
        source=sources.fingerprint(entry),
        content=verdict.content,
        proof=verdict.proof,
        etag_is_not_digest=verdict.etag_is_not_digest,
        source_state=source_state,
        kept=kept,
    )


class Receipts:
    """The receipts of a destination, by path."""

    def __init__(self, destination: Destination) -> None:
        self._known: dict[str, Receipt] = {}
        self._others: dict[tuple[str, str], list[Receipt]] = {}
        for receipt in read_receipts(destination):
            known, latest = self._known.get(receipt.path), receipt
            # That of the latest file; writers' names have no order in time.
            if known is not None:
                known, latest = sorted((known, receipt), key=attrgetter("mtime_ns"))
                self._put_aside(known, latest)
            self._known[receipt.path] = latest

    def _put_aside(self, receipt: Receipt, latest: Receipt) -> None:
        """Keep the latest receipt of each other source of a path, and of each state it had."""
        if _origin(receipt) == _origin(latest):
            return
        others = self._others.setdefault((receipt.path, receipt.source), [])
        for number, known in enumerate(others):
            if known.source_state == receipt.source_state:
                others[number] = max(known, receipt, key=attrgetter("mtime_ns"))
                return
        others.append(receipt)

    def find(self, path: str, state: FileState, source: str) -> Receipt | None:
        """Find the receipt of a file that nobody has touched since.

        Parameters
        ----------
        state : FileState
            Of the file as it stands.
        source : str
            Fingerprint of what is planned for it now.
        """
        receipt = self.of(path, source)
        if receipt is None or not state.regular:
            return None
        same = (receipt.size, receipt.mtime_ns) == (state.size, state.mtime_ns)
        return receipt if same else None

    def of(self, path: str, source: str, source_state: SourceState | None = None) -> Receipt | None:
        """Give a path's latest receipt of a source, whatever stands there now.

        Parameters
        ----------
        source : str
            Fingerprint of what is planned for it now.
        source_state : SourceState, optional
            Of a local source as it is now; without it, any that it had will do.
        """
        found = list(self._others.get((path, source), ()))
        latest = self._known.get(path)
        if latest is not None and latest.source == source:
            found.append(latest)
        if source_state is not None:
            found = [receipt for receipt in found if receipt.source_state == source_state]
        return max(found, key=attrgetter("mtime_ns"), default=None)


def _origin(receipt: Receipt) -> tuple[str, SourceState | None]:
    return receipt.source, receipt.source_state


class ReceiptIndex:
    """Which files stand as a receipt says, in a few bytes for each: there may be a million."""

    def __init__(self, destination: Destination) -> None:
        proofs = {proof: proof for proof in CheckMethod}
        self._known: dict[int, CheckMethod] = {}
        for each in read_receipts(destination):
            proof = proofs[each.proof]
            # Marks have about 64 bits, and none outlives the process: a large plan has millions.
            self._known[hash((each.path, each.size, each.mtime_ns, each.source, None))] = proof
            # Found by the state of its local source too; without one where the source is gone.
            if (state := each.source_state) is not None:
                self._known[hash((each.path, each.size, each.mtime_ns, each.source, state))] = proof

    def find(
        self,
        path: str,
        size: int,
        mtime_ns: int,
        source: str,
        source_state: SourceState | None = None,
    ) -> CheckMethod | None:
        """Tell what a plain file was shown by that nobody has touched since.

        Parameters
        ----------
        size, mtime_ns : int
            Of the file as it stands.
        source : str
            Fingerprint of what is planned for it now.
        source_state : SourceState, optional
            Of a local source as it is now; without it, any that it had will do.

        Returns
        -------
        CheckMethod or None
            None where there is no receipt of it.
        """
        return self._known.get(hash((path, size, mtime_ns, source, source_state)))


class ReceiptWriter:
    """Notes what has been brought, in a file of its own.

    Attributes
    ----------
    trouble : OSError or None
        Why receipts could not be written, where they could not. The files are none the worse.
    written : bool
        Whether some were.
    """

    def __init__(self, destination: Destination) -> None:
        self.trouble: OSError | None = None
        self.written = False
        self._destination = destination
        self._name = f"{secrets.token_hex(8)}.jsonl"
        self._waiting = Batch[Receipt]()
        self._writing = Lock()

    def add(self, receipt: Receipt) -> bool:
        """Note a file that has landed.

        Returns
        -------
        bool
            Whether it is time to write what is noted, by `flush`.
        """
        return self._waiting.add(receipt)

    def flush(self) -> None:
        """Write what was noted, once the files themselves are on the disk.

        A receipt must not outlive a power cut that its file does not. Where it can't be written,
        `trouble` tells why.
        """
        with self._writing:
            receipts = self._waiting.take()
            if receipts:
                self._write(receipts)

    def _write(self, receipts: list[Receipt]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._destination.sync()
            with self._destination.directory(DIRECTORY, create=True) as directory:
                descriptor = os.open(self._name, flags, 0o666, dir_fd=directory)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_ENCODER.encode_lines(receipts))
            self.written = True
        except OSError as error:
            self.trouble = error


def no_receipts(error: OSError) -> Problem:
    """Say that receipts could not be written, and what that costs."""
    said = error.strerror or str(error)
    message = f"receipts could not be written ({said}); the files are there and were checked"
    return Problem(message=message, hint="the next run will read them all again")


def read_receipts(destination: Destination) -> Iterator[Receipt]:
    """Read all receipts of a destination, passing over what is none."""
    # Nothing there, or nothing that may be read, is no receipts.
    with suppress(OSError), destination.directory(DIRECTORY) as directory:
        read: set[str] = set()
        # A file that is gone by its turn was merged into one that is there on a second look.
        while names := set(os.listdir(directory)) - read:
            read |= names
            for name in sorted(names):
                with suppress(OSError):
                    yield from receipts_of(directory, name)


def receipts_of(directory: int, name: str) -> Iterator[Receipt]:
    """Read the receipts in one file, passing over what is none.

    Parameters
    ----------
    directory : int
        Descriptor of the directory that it stands in.

    Raises
    ------
    OSError
    """
    for text in _blocks(directory, name):
        try:
            yield from _DECODER.decode_lines(text)
        except _INVALID:
            for line in text.splitlines():
                with suppress(*_INVALID):
                    yield _DECODER.decode(line)


def _blocks(directory: int, name: str) -> Iterator[bytes]:
    """Read one writer's lines, of which the last may be torn, about a MiB at a time."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        while block := file.read(_BLOCK):
            # What is torn, or too long to be one of ours, has no line feed in time.
            block += file.readline(_LONGEST_LINE) if not block.endswith(b"\n") else b""
            yield block if block.endswith(b"\n") else block[: block.rfind(b"\n") + 1]
