"""What every destination does alike: a directory, memory and S3."""

from __future__ import annotations

import pytest
import xxhash

from bidsplan.destination import open_destination
from bidsplan.destination.base import Stopped
from bidsplan.destination.receipts import Receipt, ReceiptIndex, ReceiptWriter
from bidsplan.errors import ExistingFileError, LockedError, MissingFileError
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from plans import leftovers

SIZES = {"empty": 0, "small": 1000, "large": (9 << 20) + 1}
PATH = "sub-1/a b.nii"


class Place:
    """A place to open destinations at, which others can write to as well."""

    def __init__(self, url, put, partials):
        self.url, self.put, self.partials = url, put, partials
        self.opened = []

    def open(self):
        self.opened.append(open_destination(self.url, Access(), create=True))
        return self.opened[-1]


@pytest.fixture(params=["local", "memory", "s3"])
def place(request, tmp_path):
    if request.param == "local":

        def put(path, data):
            (tmp_path / "d" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "d" / path).write_bytes(data)

        made = Place(str(tmp_path / "d"), put, lambda: leftovers(tmp_path / "d"))
    elif request.param == "memory":
        fs = request.getfixturevalue("memory")
        made = Place(
            "memory://d",
            lambda path, data: fs.pipe_file(f"/d/{path}", data),
            lambda: fs.find("/d/.bidsplan/partial") if fs.exists("/d/.bidsplan/partial") else [],
        )
    else:
        request.getfixturevalue("s3")
        bucket = request.getfixturevalue("bucket")
        made = Place(
            f"s3://{bucket.name}/pre",
            lambda path, data: bucket.put(f"pre/{path}", data),
            bucket.uploads,
        )
    yield made
    for destination in made.opened:
        destination.close()


@pytest.fixture
def destination(place):
    opened = place.open()
    opened.prepare()
    return opened


def body(size):
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def content(data):
    return xxhash.xxh3_128_hexdigest(data)


def write(destination, path, data, *, whole=False, replace=False, before=lambda: None):
    """Write a file in one go or in pieces; `before` is called just before the commit."""
    if whole:
        before()
        return destination.write_small(path, data, content(data), replace=replace)
    with destination.writer(path, len(data), replace=replace) as writer:
        writer.write(b"wrong"[: len(data)])
        writer.restart()
        for start in range(0, len(data), 1 << 20):
            writer.write(memoryview(data)[start : start + (1 << 20)])
        before()
        return writer.commit(content(data), replace=replace)


def read(destination, path):
    with destination.read(path, lambda: False) as chunks:
        return b"".join(chunks)


WAYS = pytest.mark.parametrize("whole", [True, False], ids=["whole", "in pieces"])
ALL = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


@ALL
@WAYS
def test_what_is_written_is_there_and_is_read(place, destination, size, whole):
    data = body(size)
    assert destination.state(PATH) is None
    state = write(destination, PATH, data, whole=whole)
    assert (state.size, state.regular) == (size, True)
    assert destination.state(PATH) == state
    assert place.open().inspect(PATH) == state
    assert read(destination, PATH) == data
    entry = Entry(path=PATH, key=PATH, size=size, reason="selected")
    verdict = destination.check(entry, lambda: False)
    assert (verdict.holds, verdict.content) == (True, content(data))
    destination.close()
    place.opened.remove(destination)
    assert place.partials() == []


def test_paths_are_inspected_in_order(place):
    for path in ("a", "b/c", "b/d", "e"):
        place.put(path, path.encode())
    destination = place.open()
    found = {path: destination.inspect(path) for path in ("a", "b/b", "b/c", "c/x", "c/y", "e")}
    assert {path: state.size for path, state in found.items() if state} == {
        "a": 1,
        "b/c": 3,
        "e": 1,
    }
    assert found["a"] == destination.state("a")


def test_a_file_that_is_not_there_is_missing(destination):
    with pytest.raises(MissingFileError, match="there is no such file"):
        read(destination, "nothing.txt")


def test_reading_can_be_stopped(place, destination):
    place.put("a.txt", b"hello")
    with pytest.raises(Stopped), destination.read("a.txt", lambda: True) as chunks:
        list(chunks)


@ALL
@WAYS
@pytest.mark.parametrize("replace", [True, False], ids=["replace", "keep"])
@pytest.mark.parametrize("late", [True, False], ids=["just before", "long before"])
def test_a_foreign_file_is_replaced_only_where_that_is_asked(
    place, destination, size, whole, replace, late
):
    data = body(size)

    def put():
        place.put(PATH, b"mine")

    if not late:
        put()
    before = put if late else lambda: None
    state = write(destination, PATH, data, whole=whole, replace=replace, before=before)
    assert (state is not None) is replace
    assert read(destination, PATH) == (data if replace else b"mine")


@pytest.mark.parametrize("size", [1000, SIZES["large"]])
def test_a_commit_that_was_refused_can_be_tried_again(place, destination, size):
    """Where a destination can't replace after all, it refuses, and leaves the file alone."""
    data = body(size)
    with destination.writer(PATH, size, replace=False) as writer:
        writer.write(data)
        place.put(PATH, b"mine")
        assert writer.commit(content(data), replace=False) is None
        try:
            done = writer.commit(content(data), replace=True) is not None
        except ExistingFileError:
            done = False
    assert done is not destination.compares_first
    assert read(destination, PATH) == (data if done else b"mine")


def break_off(destination, size):
    with destination.writer(PATH, size, replace=False) as writer:
        writer.write(body(size - 1))
        raise KeyboardInterrupt


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_what_is_aborted_leaves_nothing(place, destination, size):
    with pytest.raises(KeyboardInterrupt):
        break_off(destination, size)
    assert destination.state(PATH) is None
    assert place.partials() == []


def test_what_is_unfinished_is_resumed_where_that_is_supported(place, destination):
    with destination.writer(PATH, 10, replace=False, key="f" * 32 + "-" + "f" * 32) as writer:
        writer.write(b"whole")
        writer.failed(resumable=True)
    with place.open().writer(PATH, 10, replace=False, key="f" * 32 + "-" + "f" * 32) as writer:
        prefix = b"".join(writer.prefix(lambda: False))
        assert prefix == (b"" if destination.compares_first else b"whole")
        writer.write(b"whole file"[len(prefix) :])
        assert writer.commit(content(b"whole file"), replace=False).size == 10
    assert read(destination, PATH) == b"whole file"
    assert place.partials() == []


def test_receipts_survive_reopening(place, destination):
    states = {path: write(destination, path, path.encode()) for path in ("a.txt", "b.txt")}
    writer = ReceiptWriter(destination.write_receipts)
    for path, (size, identity, _) in states.items():
        writer.add(
            Receipt(
                path=path,
                size=size,
                mtime_ns=identity if isinstance(identity, int) else 0,
                tag=identity if isinstance(identity, str) else "",
                source="s",
                content=content(path.encode()),
                proof=CheckMethod.SIZE,
                etag_is_not_digest=path == "b.txt",
            )
        )
        writer.flush()
    assert writer.trouble is None
    again = place.open()
    receipts = {receipt.path: receipt for receipt in again.read_receipts()}
    assert {path: each.etag_is_not_digest for path, each in receipts.items()} == {
        "a.txt": False,
        "b.txt": True,
    }
    index = ReceiptIndex(receipts.values())
    for path in states:
        state = again.inspect(path)
        assert index.find(path, state.size, state.identity, "s") is CheckMethod.SIZE
        assert index.find(path, state.size, "other", "s") is None


def test_a_second_run_is_kept_out_where_there_are_locks(place, destination):
    assert list(destination.lock(wait=False)) == []
    other = place.open()
    if destination.compares_first:
        assert list(other.lock(wait=False)) == []
    else:
        with pytest.raises(LockedError):
            list(other.lock(wait=False))
    destination.close()
    place.opened.remove(destination)
    assert list(other.lock(wait=False)) == []


def test_files_are_listed_and_removed_unless_they_changed(place, destination):
    for path in ("a/x", "b", ".git/config", "inner/.bidsplan/README", "inner/x"):
        place.put(path, b"data")
    destination.spare([], ".", [])
    listed = {each.path: each for each in destination.list_files()}
    assert listed.keys() == {"a/x", "b"}
    assert listed["b"].state == destination.state("b")
    place.put("b", b"other")
    assert [destination.remove(listed[path]) for path in ("a/x", "b")] == [True, False]
    assert destination.state("a/x") is None
    assert read(destination, "b") == b"other"
