"""One entry on its way: it goes on where it broke off, and never as another object."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidsplan.destination.base import Stopped
from bidsplan.destination.local import LocalWriter
from bidsplan.destination.partial_files import Partial
from bidsplan.errors import (
    CredentialsError,
    IntegrityError,
    SourceChangedError,
    StorageError,
    ThrottledError,
    UnprovedError,
    UnreachableError,
)
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod, VerifyMode
from bidsplan.storage import Children, Store
from bidsplan.storage.objects import Identity
from bidsplan.transfer import download
from bidsplan.transfer.concurrency import ConcurrencyLimit
from bidsplan.transfer.session import Session
from plans import md5

DATA = bytes(range(256)) * 4
POOL = ThreadPoolExecutor(4)


class Impatient(threading.Event):
    """Waits for nothing, so that tries follow at once."""

    def wait(self, timeout=None):
        return self.is_set()


class Answer:
    def __init__(self, chunks, size, etag, error):
        self._chunks, self.size, self.etag, self._error = chunks, size, etag, error
        self.identity = Identity(etag) if etag else None

    def __iter__(self):
        yield from self._chunks
        if self._error:
            raise self._error

    def close(self):
        pass


class Scripted(Store):
    """Serves one object, a turn of a script for each request.

    A turn is the bytes to break off behind, counted from the object's start; an error to raise at
    once; or a function that answers by itself. After the script requests succeed.
    """

    url = "test://root"

    def __init__(self, data=DATA, script=(), *, etag=None, tag_is_md5=True):
        self._data, self._script = data, list(script)
        self._etag, self._tag_is_md5 = md5(data) if etag is None else etag, tag_is_md5
        self.starts = []

    def children(self, prefix=""):
        return Children((), ())

    def list(self, prefix=""):
        return iter(())

    def etag_is_md5(self, key, *, version=None):
        return self._tag_is_md5

    def stream(self, key, *, etag=None, version=None, start=0):
        self.starts.append(start)
        turn = self._script.pop(0) if self._script else len(self._data)
        if isinstance(turn, Exception):
            raise turn
        if callable(turn):
            return turn(start)
        body = self._data[start : max(turn, start)]
        chunks = [body[i : i + 100] for i in range(0, len(body), 100)]
        error = UnreachableError("broke off") if turn < len(self._data) else None
        return Answer(chunks, len(self._data), self._etag, error)


def entry_of(data=DATA, **fields):
    fields.setdefault("etag", md5(data))
    return Entry(path="x.bin", key="x.bin", size=len(data), reason="selected", **fields)


def session_of(checking, stop):
    limit = ConcurrencyLimit(4)
    return Session(checking, limit, POOL, stop)


def receive(folder, store, entry=None, stop=None, *, prefix=None, copied=False, checking=None):
    """Give the verdict, the bytes that came and the sum of the progress, or the error.

    A prefix is what an earlier run had, in the same file or in one to copy.
    """
    told = []

    def progress(number, *, resumed=False):
        told.append(number)

    path = folder / "partial"
    path.write_bytes(prefix if prefix and not copied else b"")
    with path.open("r+b") as file:
        partial = Partial("partial", file.fileno(), prefix=file.fileno() if prefix else -1)
        if copied:
            (folder / "left").write_bytes(prefix)
            partial.prefix = os.open(folder / "left", os.O_RDONLY)
        try:
            verdict = download.receive(
                entry or entry_of(),
                store,
                LocalWriter(None, "x.bin", partial),
                session_of(checking or VerifyMode.FULL, stop or Impatient()),
                progress,
            )
        except BaseException as error:
            error.moved, error.unfinished = sum(told), partial.unfinished
            raise
    return verdict, path.read_bytes(), sum(told)


def test_what_broke_off_goes_on_from_there(tmp_path):
    store = Scripted(script=[300, 700])
    verdict, data, told = receive(tmp_path, store)
    assert (data, told, verdict.proof) == (DATA, len(DATA), CheckMethod.ETAG_MD5)
    assert store.starts == [0, 300, 700]


def test_what_is_bound_to_no_object_starts_again(tmp_path):
    store = Scripted(script=[300, 700], etag="")
    verdict, data, told = receive(tmp_path, store, entry_of(etag=None))
    assert (data, told, verdict.proof) == (DATA, len(DATA), CheckMethod.SIZE)
    assert store.starts == [0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(DATA)), max_size=5),
    bound=st.booleans(),
)
def test_wherever_it_breaks_off_the_bytes_are_right_or_none(tmp_path_factory, cuts, bound):
    entry = entry_of() if bound else entry_of(etag=None)
    store, folder = Scripted(script=cuts), tmp_path_factory.mktemp("p")
    gives_up = len([cut for cut in cuts if cut < len(DATA)]) >= 3
    error = None
    try:
        _, data, told = receive(folder, store, entry)
    except UnreachableError as caught:
        error = caught
    if error is None:
        assert (data, told) == (DATA, len(DATA))
    else:
        assert gives_up
        assert error.moved == 0


def test_nothing_is_asked_for_behind_the_last_byte(tmp_path):
    def whole_and_broken(start):
        return Answer([DATA], len(DATA), md5(DATA), UnreachableError("broke off"))

    store = Scripted(script=[whole_and_broken])
    assert receive(tmp_path, store)[1] == DATA
    assert store.starts == [0]


def test_a_large_object_may_break_off_often_as_long_as_it_gets_on(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_ENOUGH", 150)
    cuts = list(range(100, len(DATA), 100))
    store = Scripted(script=cuts)
    assert receive(tmp_path, store)[1] == DATA
    assert store.starts == [0, *cuts]
    with pytest.raises(UnreachableError):
        receive(tmp_path, Scripted(script=[100] * 20))


def test_a_server_that_knows_no_ranges_is_read_from_the_start(tmp_path):
    refused = StorageError("the storage refused (416)")
    store = Scripted(script=[300, refused])
    assert receive(tmp_path, store)[1:] == (DATA, len(DATA))
    assert store.starts == [0, 300, 0]

    def whole(start):
        return Answer([DATA], len(DATA) + start, None, None)

    store = Scripted(script=[300, whole])
    assert receive(tmp_path, store)[1:] == (DATA, len(DATA))
    assert store.starts == [0, 300, 0]


def test_more_bytes_than_planned_are_never_taken(tmp_path):
    def too_many(start):
        return Answer([DATA, b"more"], None, None, None)

    with pytest.raises(UnreachableError) as caught:
        receive(tmp_path, Scripted(script=[too_many] * 3))
    assert str(caught.value) == (
        "x.bin: 1024 bytes are planned, and more than 1024 came; the source has changed, or the "
        "answer was cut short"
    )
    assert caught.value.moved == 0


def test_a_server_that_ignores_conditions_does_not_pass_off_another_object(tmp_path):
    store = Scripted(etag="f" * 32)
    with pytest.raises(SourceChangedError) as caught:
        receive(tmp_path, store)
    assert str(caught.value) == (
        "x.bin: it is no longer the object that was listed: the planned entity tag is "
        f"{md5(DATA)}, now it is {'f' * 32}; compile the plan again"
    )
    # Once for the bytes and once for the message: what has changed is not tried again.
    assert store.starts == [0, 0]


def test_a_source_without_tags_that_has_another_size_has_changed(tmp_path):
    store = Scripted(data=b"short")
    with pytest.raises(SourceChangedError) as caught:
        receive(tmp_path, store, entry_of(etag=None))
    assert str(caught.value) == (
        "x.bin: the source has 5 bytes now, and 1024 are planned; compile the plan again"
    )
    assert store.starts == [0]


def test_an_encrypted_object_is_not_fetched_twice(tmp_path):
    entry = entry_of(etag="a" * 32)
    store = Scripted(etag="a" * 32, tag_is_md5=False)
    verdict, data, told = receive(tmp_path, store, entry)
    assert (verdict.proof, verdict.holds, data, told) == (CheckMethod.SIZE, True, DATA, len(DATA))
    assert store.starts == [0]


def damaged(start):
    return Answer([bytes(len(DATA))], len(DATA), None, None)


def test_damaged_bytes_are_fetched_once_more(tmp_path):
    store = Scripted(script=[damaged])
    assert receive(tmp_path, store)[1:] == (DATA, len(DATA))
    assert store.starts == [0, 0]


def test_bytes_that_stay_damaged_are_an_error_that_says_how_it_shows(tmp_path):
    store = Scripted(script=[damaged] * 9)
    planned = entry_of(md5=md5(DATA))
    with pytest.raises(IntegrityError) as caught:
        receive(tmp_path, store, planned)
    assert str(caught.value) == (
        "x.bin: the bytes received are not the planned ones: by md5, expected "
        f"{md5(DATA)}, got {md5(bytes(len(DATA)))}; the source or the connection is damaged; "
        "try again later, or compile again"
    )
    assert (caught.value.code, store.starts, caught.value.moved) == ("corrupt", [0, 0], 0)


def test_bytes_that_only_an_entity_tag_speaks_against_are_not_proved(tmp_path):
    with pytest.raises(UnprovedError) as caught:
        receive(tmp_path, Scripted(script=[damaged] * 9))
    assert str(caught.value) == (
        "x.bin: nothing shows that the bytes are the planned ones: by etag-md5, expected "
        f"{md5(DATA)}, got {md5(bytes(len(DATA)))}, twice; either the entity tag is no MD5 "
        "(encryption, some gateways) or the source is damaged; '--verify size' accepts the file by "
        "its size"
    )


def test_bytes_that_differ_between_two_reads_are_corrupt_whatever_the_tag(tmp_path):
    def otherwise(start):
        return Answer([b"x" * len(DATA)], len(DATA), md5(DATA), None)

    with pytest.raises(IntegrityError) as caught:
        receive(tmp_path, Scripted(script=[damaged, otherwise]))
    assert caught.value.code == "corrupt"


def test_stopping_ends_a_wait_at_once(tmp_path):
    stop = threading.Event()
    throttled = ThrottledError("slow down")
    throttled.retry_after = 25.0

    def throttle(start):
        threading.Timer(0.05, stop.set).start()
        raise throttled

    began = time.monotonic()
    with pytest.raises(Stopped):
        receive(tmp_path, Scripted(script=[throttle]), stop=stop)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("checking", VerifyMode)
def test_what_an_earlier_run_had_is_gone_on_from(tmp_path, copied, checking):
    store = Scripted(script=[700])
    found = receive(tmp_path, store, prefix=DATA[:300], copied=copied, checking=checking)
    # Whatever was asked for, what is gone on from is digested.
    assert (found[0].proof, found[1:]) == (CheckMethod.ETAG_MD5, (DATA, len(DATA)))
    assert store.starts == [300, 700]


def test_a_prefix_that_is_all_needs_no_request(tmp_path):
    store = Scripted()
    assert receive(tmp_path, store, prefix=DATA)[1:] == (DATA, len(DATA))
    assert store.starts == []


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(
    ("prefix", "starts"),
    [
        (bytes(300), [300, 0]),
        (bytes(len(DATA)), [0]),
        (DATA + b"more", [0]),
        (bytes(3 << 20), [0]),
    ],
    ids=["other bytes", "all other bytes", "too long", "much too long"],
)
def test_a_wrong_prefix_costs_one_new_beginning(tmp_path, prefix, starts, copied):
    store = Scripted()
    assert receive(tmp_path, store, prefix=prefix, copied=copied)[1:] == (DATA, len(DATA))
    assert store.starts == starts


@pytest.mark.parametrize(
    ("entry", "tag_is_md5"),
    [
        (entry_of(etag="a" * 32), False),
        (entry_of(etag=f"{'a' * 32}-1"), True),
    ],
    ids=["encrypted", "of parts that nobody guesses"],
)
def test_a_prefix_that_nothing_proves_is_not_taken(tmp_path, entry, tag_is_md5):
    store = Scripted(etag=entry.etag, tag_is_md5=tag_is_md5)
    verdict, data, _ = receive(tmp_path, store, entry, prefix=bytes(300))
    assert (verdict.proof, data) == (CheckMethod.SIZE, DATA)
    assert store.starts == [300, 0]


def test_a_prefix_of_a_server_that_knows_no_ranges_is_given_up(tmp_path):
    store = Scripted(script=[StorageError("the storage refused (416)")])
    assert receive(tmp_path, store, prefix=DATA[:300])[1:] == (DATA, len(DATA))
    assert store.starts == [300, 0]


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        ([300] * 9, True),
        ([ThrottledError("slow down")] * 9, True),
        ([CredentialsError("expired")], True),
        ([300, SourceChangedError("changed"), SourceChangedError("changed")], False),
        ([damaged] * 9, False),
    ],
    ids=["unreachable", "throttled", "credentials", "changed", "corrupt"],
)
def test_what_says_nothing_against_the_bytes_keeps_them(tmp_path, script, kept):
    with pytest.raises((StorageError, IntegrityError)) as caught:
        receive(tmp_path, Scripted(script=script))
    assert (caught.value.unfinished, caught.value.moved) == (kept, 0)


def test_taking_up_a_prefix_can_be_stopped(tmp_path):
    stop = threading.Event()
    stop.set()
    store = Scripted()
    with pytest.raises(Stopped) as caught:
        receive(tmp_path, store, prefix=DATA[:300], stop=stop)
    assert (caught.value.unfinished, store.starts) == (True, [])
    assert (tmp_path / "partial").read_bytes() == DATA[:300]
