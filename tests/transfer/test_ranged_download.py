"""A large object by ranges: each of the same object, and digested in order."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import xxhash

from bidsplan.destination.base import Stopped
from bidsplan.destination.blocks import BLOCK, Blocks
from bidsplan.destination.local import LocalWriter
from bidsplan.destination.partial_files import Partial
from bidsplan.errors import (
    DeniedError,
    IntegrityError,
    SourceChangedError,
    StorageError,
    UnreachableError,
)
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod, VerifyMode
from bidsplan.storage import Children, Store
from bidsplan.storage.objects import Abilities, Identity
from bidsplan.transfer.concurrency import ConcurrencyLimit
from bidsplan.transfer.download import receive
from bidsplan.transfer.session import Session
from plans import md5

# A little more than two ranges and a half, and no whole number of blocks.
DATA = b"".join(number.to_bytes(4, "big") for number in range(10 * BLOCK + 5))
SIZE = len(DATA)
RANGE = 16 * BLOCK


class Ranged(Store):
    """Serves one object by ranges, and may answer each request in its own way.

    `turn` takes the number of the request for a start, from 0 on, the start and the stop. It may
    raise, or return the bytes to send, or an `Identity` of another object, or None.
    """

    url = "test://root"
    abilities = Abilities(ranges=True)

    def __init__(self, turn=lambda number, start, stop: None, data=DATA, etag=None):
        self._turn, self._data = turn, data
        self._etag = md5(data) if etag is None else etag
        self.asked = []
        self.came = []
        self.others_came = threading.Event()
        self.sent = 0
        self._counts = Counter()
        self._lock = threading.Lock()

    def children(self, prefix=""):
        return Children((), ())

    def stream(self, key, *, etag=None, version=None, start=0, stop=None):
        with self._lock:
            self.asked.append((start, stop))
            number, self._counts[start] = self._counts[start], self._counts[start] + 1
        said = self._turn(number, start, stop)
        identity = said if isinstance(said, Identity) else Identity(self._etag)
        wanted = len(self._data) if stop is None else stop
        body = said if isinstance(said, bytes) else self._data[start:wanted]
        short = None if len(body) >= wanted - start else UnreachableError("it broke off")
        return Answer(self, start, body, len(self._data), identity, short)

    def ended(self, start):
        """Note that a range was sent whole."""
        with self._lock:
            self.came.append(start)
            if {RANGE, 2 * RANGE} <= set(self.came):
                self.others_came.set()


class Answer:
    def __init__(self, store, start, body, size, identity, error):
        self._store, self._start, self._body, self._error = store, start, body, error
        self.size, self.identity, self.etag = size, identity, identity and identity.tag

    def __iter__(self):
        for start in range(0, len(self._body), 700_000):
            chunk = self._body[start : start + 700_000]
            with self._store._lock:
                self._store.sent += len(chunk)
            yield chunk
        if self._error:
            raise self._error
        self._store.ended(self._start)

    def close(self):
        pass


class Impatient(threading.Event):
    """Waits for nothing, so that tries follow at once."""

    def wait(self, timeout=None):
        return self.is_set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def fetch(tmp_path, pool):
    """Receive the object into a partial file, which may hold what an earlier run had."""

    def call(store, *, stop=None, checking=VerifyMode.FULL, tag=None, copied=False):
        path = tmp_path / "partial"
        path.touch()
        limit = ConcurrencyLimit(8)
        session = Session(checking, limit, pool, stop or Impatient())
        entry = Entry(
            path="x.bin", key="x.bin", size=SIZE, etag=tag or store._etag, reason="selected"
        )
        told = Counter()

        def progress(number, *, resumed=False):
            told["resumed" if resumed else "fetched"] += number

        left = os.open(path, os.O_RDWR)
        made = left
        if copied:
            made = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
        partial = Partial("partial", made, prefix=left)
        try:
            verdict = receive(entry, store, LocalWriter(None, "x.bin", partial), session, progress)
        finally:
            partial.close()
        whole = (tmp_path / "copy" if copied else path).read_bytes()
        return verdict, whole, told

    return call


def test_ranges_cover_the_object_once(fetch):
    store = Ranged()
    verdict, data, told = fetch(store)
    assert data == DATA
    assert verdict.proof is CheckMethod.ETAG_MD5
    assert verdict.content == xxhash.xxh3_128_hexdigest(DATA)
    assert sorted(store.asked) == [
        (0, RANGE),
        (RANGE, 2 * RANGE),
        (2 * RANGE, SIZE),
    ]
    assert told == {"fetched": SIZE}


@pytest.mark.parametrize("part", [5, 8, 15, 16])
@pytest.mark.parametrize("damaged", [False, True])
def test_parts_are_digested_side_by_side(fetch, part, damaged):
    """A tag of parts shows that its bytes came, and shows nothing where others did."""
    parts = [DATA[start : start + part * BLOCK] for start in range(0, SIZE, part * BLOCK)]
    tag = f"{md5(b''.join(hashlib.md5(one).digest() for one in parts))}-{len(parts)}"
    data = DATA[:-1] + b"X" if damaged else DATA
    verdict, came, _ = fetch(Ranged(data=data, etag=tag))
    assert came == data
    assert verdict.proof is (CheckMethod.SIZE if damaged else CheckMethod.MULTIPART)
    assert verdict.content == xxhash.xxh3_128_hexdigest(data)


def test_ranges_may_come_in_any_order(fetch):
    def turn(number, start, stop):
        # The first range breaks off, and goes on only once the others are there.
        if start == 0:
            return DATA[: BLOCK + 10]
        if start < RANGE:
            assert store.others_came.wait(10)
        return None

    store = Ranged(turn)
    assert fetch(store)[1] == DATA
    assert store.came[-1] == BLOCK + 10


def test_a_range_that_breaks_off_goes_on_from_there(fetch):
    def turn(number, start, stop):
        if start == RANGE:
            return DATA[start : start + 2 * BLOCK + 17]
        return None

    store = Ranged(turn)
    _verdict, data, told = fetch(store)
    assert data == DATA
    assert told["fetched"] == SIZE
    assert (RANGE + 2 * BLOCK + 17, 2 * RANGE) in store.asked
    assert store.sent == SIZE


@pytest.mark.parametrize("number", [0, 1])
def test_a_range_of_another_object_is_never_spliced_in(fetch, tmp_path, number):
    def turn(count, start, stop):
        if number == 0:
            return Identity("f" * 32) if start == 2 * RANGE else None
        if start == RANGE:
            return DATA[start : start + BLOCK]
        return Identity("f" * 32) if start == RANGE + BLOCK else None

    store = Ranged(turn)
    with pytest.raises(SourceChangedError):
        fetch(store)


def test_damaged_bytes_are_fetched_once_more_from_the_start(fetch):
    def turn(number, start, stop):
        if start == RANGE and number == 0 and stop is not None:
            return b"X" + DATA[start + 1 : stop]
        return None

    store = Ranged(turn)
    verdict, data, told = fetch(store)
    assert data == DATA
    assert verdict.proof is CheckMethod.ETAG_MD5
    assert (0, None) in store.asked
    assert told["fetched"] == SIZE


def test_bytes_that_are_damaged_twice_are_corrupt(fetch):
    wrong = b"X" + DATA[1:]
    with pytest.raises(IntegrityError):
        fetch(Ranged(data=wrong, etag=md5(DATA)))


@pytest.mark.parametrize("turned", ["refused", "longer", "no identity"])
def test_a_server_without_ranges_is_read_by_one_request(fetch, turned):
    def turn(number, start, stop):
        if stop is None:
            return None
        if turned == "refused":
            raise StorageError("the whole object came")
        return DATA[start : stop + 1]

    store = Ranged(turn)
    if turned == "no identity":
        store.stream = no_identity(store.stream)
    verdict, data, told = fetch(store, tag=md5(DATA))
    assert data == DATA
    assert verdict.holds
    assert (0, None) in store.asked
    assert told["fetched"] == SIZE


def no_identity(stream):
    def call(*args, **more):
        answer = stream(*args, **more)
        answer.identity, answer.etag = None, None
        return answer

    return call


def test_what_is_denied_is_no_reason_to_try_without_ranges(fetch):
    def turn(number, start, stop):
        if start == RANGE:
            raise DeniedError("denied")

    store = Ranged(turn)
    with pytest.raises(DeniedError):
        fetch(store)
    assert (0, None) not in store.asked


def interrupted(fetch, behind):
    """Fetch, and stop behind so many bytes."""
    stop = Impatient()
    store = Ranged()

    inner = store.stream

    def stream(*args, **more):
        answer = inner(*args, **more)
        chunks = iter(answer)

        def counted():
            for chunk in chunks:
                if store.sent > behind:
                    stop.set()
                yield chunk

        answer.__class__ = type("Stopping", (Answer,), {"__iter__": lambda _: counted()})
        return answer

    store.stream = stream
    with pytest.raises(Stopped):
        fetch(store, stop=stop)
    return store


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("behind", [BLOCK, 10 * BLOCK, 30 * BLOCK])
def test_a_later_run_asks_for_the_missing_blocks_only(fetch, behind, copied):
    first = interrupted(fetch, behind)
    store = Ranged()
    verdict, data, told = fetch(store, copied=copied)
    assert data == DATA
    assert verdict.proof is CheckMethod.ETAG_MD5
    assert told["resumed"] + told["fetched"] == SIZE
    assert store.sent == told["fetched"]
    assert all(start % BLOCK == 0 for start, _ in store.asked)
    # What is lost is at most the block that each connection was at.
    assert store.sent + first.sent <= SIZE + RANGE


def test_a_block_that_was_changed_on_the_disk_is_fetched_anew(fetch, tmp_path):
    interrupted(fetch, 30 * BLOCK)
    path = tmp_path / "partial"
    whole = set(noted(path))
    victim = min(whole)
    with path.open("r+b") as file:
        file.seek(victim * BLOCK + 7)
        file.write(b"damage")
    store = Ranged()
    _verdict, data, told = fetch(store)
    assert data == DATA
    assert told["resumed"] < len(whole) * BLOCK
    assert any(start <= victim * BLOCK < stop for start, stop in store.asked)


def noted(path):
    with path.open("rb") as file:
        file.seek(SIZE + 16)
        notes = file.read()
    return [i for i in range(len(notes) // 16) if notes[16 * i : 16 * i + 16].strip(b"\0")]


def test_blocks_that_somebody_else_wrote_are_never_taken_for_the_object(fetch, tmp_path):
    path = tmp_path / "partial"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    blocks = Blocks(Partial("p", descriptor), SIZE)
    assert list(blocks.begin(lambda: False)) == []
    evil = b"evil" * (BLOCK // 4)
    for index in range(3, 9):
        blocks.write(index * BLOCK, evil)
        blocks.note(index, xxhash.xxh3_128_digest(evil))
    os.close(descriptor)
    store = Ranged()
    verdict, data, _told = fetch(store, checking=VerifyMode.SIZE)
    assert data == DATA
    assert verdict.holds
    assert (0, None) in store.asked


def test_a_file_that_an_older_version_left_is_gone_on_from(fetch, tmp_path):
    (tmp_path / "partial").write_bytes(DATA[: 5 * BLOCK + 3])
    store = Ranged()
    _verdict, data, told = fetch(store)
    assert data == DATA
    assert told["resumed"] == 5 * BLOCK
    assert min(start for start, _ in store.asked) == 5 * BLOCK


def test_a_finished_partial_needs_no_request(fetch, tmp_path):
    (tmp_path / "partial").write_bytes(DATA)
    store = Ranged()
    _verdict, data, told = fetch(store)
    assert (data, store.asked, told["resumed"]) == (DATA, [], SIZE)


def test_a_full_disk_ends_all_connections(fetch, monkeypatch):
    real = os.pwrite

    def full(descriptor, data, start):
        if start >= RANGE and len(data) > 16:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, start)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(Ranged())


def test_what_an_earlier_run_had_and_can_not_be_read_is_fetched_anew(fetch, tmp_path, monkeypatch):
    (tmp_path / "partial").write_bytes(DATA[: 5 * BLOCK])
    real, failures = os.pread, [OSError(errno.EIO, "Input/output error")]

    def once(*arguments):
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(os, "pread", once)
    verdict, data, told = fetch(Ranged(), copied=True)
    assert (data, told["fetched"]) == (DATA, SIZE)
    assert verdict.holds
