"""A destination that is no directory: what stands there, and what was noted of it."""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import xxhash

from bidsplan.destination.batch import Batch
from bidsplan.destination.reading import Stopped
from bidsplan.errors import BidsplanError, StorageError
from bidsplan.paths import STATE_DIRECTORY
from bidsplan.plan.integrity import Checker, CheckMethod, best_check
from bidsplan.storage.file_state import SourceState
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Verdict
    from bidsplan.storage import Object, WritableStore


_DIRECTORY = f"{STATE_DIRECTORY}/receipts/"
_LARGEST = 16 << 20
_READERS = 8


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The receipt of one file that was written to storage.

    Parameters
    ----------
    size : int
        Bytes.
    tag : str
        What the storage tells the object by, which changes whenever it is written.
    source : str
        Fingerprint of what was planned for the path.
    content : str
        The bytes' xxh3-128, in hexadecimal.
    proof : CheckMethod
        What they were shown by.
    etag_is_not_digest : bool
        Whether the storage said that the source's entity tag is no digest of its bytes.
    kept : bool
        As in `Receipt`.
    """

    path: str
    size: int
    tag: str
    source: str
    content: str
    proof: CheckMethod
    etag_is_not_digest: bool = msgspec.field(default=False, name="opaque")
    source_state: SourceState | None = None
    kept: bool = False

    def marks(self) -> set[int]:
        """Give marks of the object as it stood and of what was planned, as `Receipts` are found."""
        states = {None, self.source_state}
        return {mark(self.path, self.size, self.tag, self.source, state) for state in states}


def mark(
    path: str, size: int, tag: str | None, source: str, source_state: SourceState | None = None
) -> int:
    """Give the mark that a note of such an object has."""
    text = f"{path}\0{size}\0{tag}\0{source}\0{source_state}"
    return xxhash.xxh3_64_intdigest(text.encode())


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Note)
_INVALID = (msgspec.MsgspecError, ValueError, RecursionError)


def read_notes(sink: WritableStore) -> Iterator[Note]:
    """Read all notes of a destination, passing over what is none.

    Raises
    ------
    StorageError
        Where they can't be listed.
    """
    keys = [item.key for item in sink.store.list(_DIRECTORY) if item.size <= _LARGEST]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="bidsplan-notes") as pool:
        for text in pool.map(lambda key: _read(sink, key), keys):
            for line in text.splitlines():
                with suppress(*_INVALID):
                    yield _DECODER.decode(line)


def _read(sink: WritableStore, key: str) -> bytes:
    # A note that can't be read is none: its file is compared again.
    with suppress(StorageError):
        return retrying()(sink.store.read, key, limit=_LARGEST)
    return b""


class NoteWriter:
    """Notes what has been written, in objects that nobody else writes.

    Attributes
    ----------
    trouble : BidsplanError or None
        Why notes could not be written, where they could not. The files are none the worse.
    """

    def __init__(self, sink: WritableStore) -> None:
        self.trouble: BidsplanError | None = None
        self._sink = sink
        self._name = secrets.token_hex(8)
        self._written = 0
        self._waiting = Batch[Note]()
        self._lock = Lock()

    def add(self, note: Note) -> bool:
        """Note a file; tells whether it is time to `flush`."""
        return self._waiting.add(note)

    def flush(self) -> None:
        """Write what was noted; where that fails, `trouble` tells why."""
        with self._lock:
            notes = self._waiting.take()
            number, self._written = self._written, self._written + bool(notes)
        if not notes:
            return
        data = _ENCODER.encode_lines(notes)
        key = f"{_DIRECTORY}{self._name}-{number:04}.jsonl"
        try:
            with self._sink.upload(key, len(data), replace=True) as upload:
                upload.write(data)
                upload.commit(xxhash.xxh3_128_hexdigest(data))
        except BidsplanError as error:
            self.trouble = error


class ListingCursor:
    """What stands in a destination, looked up in the order of a plan.

    One walk over the listing beside the plan, so that neither is ever in memory. A listing that is
    out of order costs work and no file, since nothing is ever written over unasked.
    """

    def __init__(self, sink: WritableStore) -> None:
        self._listing = sink.standing()
        self._next: Object | None = None
        self._begun = False

    def at(self, path: str) -> Object | None:
        """Give what stands at a path; each path must come after the one before.

        Raises
        ------
        StorageError
            Where the listing fails.
        """
        if not self._begun:
            self._begun, self._next = True, next(self._listing, None)
        while self._next is not None and self._next.key < path:
            self._next = next(self._listing, None)
        return self._next if self._next is not None and self._next.key == path else None


def proof_by_tag(entry: Entry, found: Object) -> CheckMethod | None:
    """Tell whether an object's own tag shows that it is the planned file.

    Returns
    -------
    CheckMethod or None
        None where it does not show it, which is not to say that it is another.
    """
    proof = best_check(entry)
    match proof:
        case CheckMethod.CONTENT:
            data = (entry.content or "").encode()
            wanted: str | None = hashlib.md5(data, usedforsecurity=False).hexdigest()
        case CheckMethod.MD5:
            wanted = entry.md5
        case CheckMethod.ETAG_MD5 | CheckMethod.MULTIPART:
            wanted = entry.etag
        case _:
            return None
    return proof if (found.size, found.etag) == (entry.size, wanted) else None


def read_back(
    entry: Entry,
    sink: WritableStore,
    stopping: Callable[[], bool],
    tap: Callable[[Entry], Callable[[bytes], None]] | None = None,
) -> Verdict:
    """Read a file of the destination, and compare it with what was planned.

    Parameters
    ----------
    tap : callable, optional
        Called whenever reading begins; gives what takes the bytes as well.

    Raises
    ------
    SourceMissingError
        Where there is no such file.
    StorageError
    Stopped
    """

    def read() -> Verdict:
        checker = Checker(entry)
        taker = tap(entry) if tap else None
        with closing(sink.store.stream(entry.path)) as stream:
            for chunk in stream:
                if stopping():
                    raise Stopped
                checker.update(chunk)
                if taker is not None:
                    taker(bytes(chunk))
        return checker.verdict()

    return retrying()(read)
