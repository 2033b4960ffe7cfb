"""Receipts: they save requests and reading, and are never trusted further than that."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidsplan.destination import receipts as module
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.receipt_files import compact
from bidsplan.destination.receipts import (
    LatestReceipts,
    Receipt,
    ReceiptIndex,
    ReceiptWriter,
)
from bidsplan.destination.sources import Sources
from bidsplan.events import Action, Warned
from bidsplan.plan.file import write_plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from plans import (
    FILES,
    failures,
    fetch,
    finished,
    local_plan,
    plan_of,
    plan_over,
    tree,
    write_files,
)


def receipt(path="a.txt", **fields):
    values = {"size": 5, "mtime_ns": 1, "source": "s", "content": "c", "proof": CheckMethod.SIZE}
    return Receipt(path=path, **{**values, **fields})


def opened(folder):
    folder.mkdir(exist_ok=True)
    return LocalDestination(str(folder), create=False)


def place(folder):
    return folder / ".bidsplan" / "receipts"


def write_lines(folder, name, data):
    place(folder).mkdir(parents=True, exist_ok=True)
    (place(folder) / name).write_bytes(data)


def encode(item):
    return json.dumps({name: getattr(item, name) for name in item.__struct_fields__}).encode()


def known(folder, path="a.txt"):
    destination = opened(folder)
    try:
        return LatestReceipts(destination.read_receipts()).find(path, "s")
    finally:
        destination.close()


def test_what_was_noted_is_found_by_the_next_run(tmp_path):
    destination = opened(tmp_path / "d")
    notes = ReceiptWriter(destination.write_receipts)
    notes.add(receipt())
    notes.flush()
    destination.close()
    assert known(tmp_path / "d") == receipt()
    assert len(list(place(tmp_path / "d").iterdir())) == 1


@pytest.mark.parametrize(
    ("state", "source", "kept"),
    [
        ((5, 1), "s", True),
        ((6, 1), "s", False),
        ((5, 2), "s", False),
        ((5, "1"), "s", False),
        ((5, None), "s", False),
        ((5, 1), "other", False),
    ],
)
def test_a_receipt_holds_for_the_same_file_of_the_same_source(tmp_path, state, source, kept):
    destination = opened(tmp_path / "d")
    notes = ReceiptWriter(destination.write_receipts)
    notes.add(receipt())
    notes.flush()
    proof = ReceiptIndex(destination.read_receipts()).find("a.txt", *state, source)
    assert proof == (CheckMethod.SIZE if kept else None)


def test_the_latest_file_counts_whatever_its_writers_name(tmp_path):
    folder = tmp_path / "d"
    write_lines(folder, "z.jsonl", encode(receipt(mtime_ns=1)) + b"\n")
    write_lines(folder, "a.jsonl", encode(receipt(mtime_ns=2)) + b"\n")
    assert known(folder).mtime_ns == 2


HOSTILE = {
    "nested": b'{"zz":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a number of many digits": b'{"path":"a.txt","size":' + b"9" * 20_000 + b"}",
    "other types": b'{"path":["a.txt"],"size":"5"}',
    "no proof": encode(receipt()).replace(b'"size"}', b'"trust me"}'),
    "not UTF-8": b'{"path":"\xff\xfe"}',
    "too long": encode(receipt(source="s" * 200_000)),
    "NaN": encode(receipt()).replace(b": 5", b": NaN"),
    "empty": b"",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_line_is_passed_over_and_the_next_one_read(tmp_path, line):
    write_lines(tmp_path / "d", "x.jsonl", line + b"\n" + encode(receipt()) + b"\n")
    assert known(tmp_path / "d") == receipt()


def test_a_torn_line_is_no_receipt(tmp_path):
    write_lines(tmp_path / "d", "x.jsonl", encode(receipt()))
    assert known(tmp_path / "d") is None


LINES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=9) | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(list(Receipt.__struct_fields__)), inner, max_size=6
                )
            ),
            max_leaves=9,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(lines=LINES, cut=st.integers(0, 200))
def test_no_bytes_in_receipts_do_harm(tmp_path_factory, lines, cut):
    folder = tmp_path_factory.mktemp("d")
    honest = encode(receipt("honest.txt")) + b"\n"
    write_lines(folder, "x.jsonl", b"\n".join([*lines, honest]))
    write_lines(folder, "y.jsonl", honest[:cut])
    assert known(folder, "honest.txt") == receipt("honest.txt")


def test_links_are_not_read_as_receipts(tmp_path):
    (tmp_path / "outside").write_bytes(encode(receipt()) + b"\n")
    write_lines(tmp_path / "d", "y.jsonl", b"")
    (place(tmp_path / "d") / "x.jsonl").symlink_to(tmp_path / "outside")
    assert known(tmp_path / "d") is None


def test_receipts_are_written_while_the_work_goes_on(tmp_path, monkeypatch):
    notes = ReceiptWriter(opened(tmp_path / "d").write_receipts)
    assert not notes.add(receipt("a.txt"))
    assert known(tmp_path / "d") is None
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.0)
    assert notes.add(receipt("b.txt"))
    notes.flush()
    assert known(tmp_path / "d") == receipt("a.txt")
    assert known(tmp_path / "d", "b.txt") == receipt("b.txt")


def test_many_receipts_are_due_once_until_they_are_written(monkeypatch):
    monkeypatch.setattr(module, "_MANY", 3)
    written = []
    notes = ReceiptWriter(written.append)
    receipts = [receipt(f"{number}.txt") for number in range(5)]
    assert [notes.add(each) for each in receipts] == [False, False, True, False, False]
    notes.flush()
    assert written == [receipts]
    assert [notes.add(each) for each in receipts[:3]] == [False, False, True]


def test_few_receipts_are_due_after_a_while(monkeypatch):
    written = []
    notes = ReceiptWriter(written.append)
    assert not notes.add(receipt("1.txt"))
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.0)
    assert notes.add(receipt("2.txt"))
    assert not notes.add(receipt("3.txt"))
    notes.flush()
    assert [len(each) for each in written] == [3]
    notes.flush()
    assert len(written) == 1


def test_receipts_that_can_not_be_written_are_a_warning(tmp_path):
    folder = tmp_path / "d"
    (folder / ".bidsplan").mkdir(parents=True)
    (folder / ".bidsplan" / "receipts").write_bytes(b"a file, and no directory")
    events = fetch(local_plan(tmp_path), folder)
    [warned] = [event for event in events if isinstance(event, Warned)]
    assert str(warned.problem) == (
        "receipts could not be written (Not a directory); the files were fetched and checked; "
        "the next run reads all of them again"
    )
    assert not failures(events)
    assert tree(folder) == FILES


def test_what_was_verified_by_reading_is_noted_too(bucket, tmp_path):
    bucket.fill(FILES)
    plan, folder = plan_over(f"s3://{bucket.name}", FILES), tmp_path / "d"
    write_files(folder, FILES)
    events = fetch(plan, folder, access=Access(endpoint_url=bucket.endpoint))
    assert set(finished(events).values()) == {(Action.KEEP, CheckMethod.ETAG_MD5)}
    destination = opened(folder)
    sources = Sources(plan.header.roots, Access(endpoint_url=bucket.endpoint))
    for entry in plan.entries:
        state = destination.state(entry.path)
        index = ReceiptIndex(destination.read_receipts())
        assert index.find(entry.path, *state[:2], sources.fingerprint(entry))
    destination.close()


def test_a_touched_file_is_read_again_and_a_changed_one_found(bucket, tmp_path):
    bucket.fill(FILES)
    plan, folder = plan_over(f"s3://{bucket.name}", FILES), tmp_path / "d"
    access = Access(endpoint_url=bucket.endpoint)
    fetch(plan, folder, access=access)
    os.utime(folder / "a.txt")
    assert not failures(fetch(plan, folder, access=access))
    (folder / "a.txt").write_bytes(b"hellO")
    assert {p: e.code for p, e in failures(fetch(plan, folder, access=access)).items()} == {
        "a.txt": "existing"
    }


def test_a_finished_plan_opens_no_storage_and_imports_none(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    write_plan(plan, tmp_path / "p.plan.jsonl")
    code = (
        "import sys\n"
        "from bidsplan.plan.file import read_plan\n"
        "from bidsplan.transfer.materialisation import materialise\n"
        "actions = [e.action.value for e in materialise(read_plan(sys.argv[1]), sys.argv[2])]\n"
        "print(actions)\n"
        "heavy = {'fsspec', 's3fs', 'obstore', 'botocore', 'urllib3', 'pydantic', 'asyncio',\n"
        "         'tenacity', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p.plan.jsonl"), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(["keep"] * 3), "[]"]


class Failing(LocalDestination):
    """A disk that can't take what was written to it."""

    def sync(self):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class Watching(LocalDestination):
    """Tells what receipts there were whenever files were brought to the disk."""

    def sync(self):
        self.seen = [*getattr(self, "seen", []), len(list(self.read_receipts()))]
        super().sync()


def test_a_receipt_is_written_only_when_its_file_is_on_the_disk(tmp_path):
    (tmp_path / "d").mkdir()
    destination = Watching(str(tmp_path / "d"), create=False)
    notes = ReceiptWriter(destination.write_receipts)
    for path in ("a.txt", "b.txt"):
        notes.add(receipt(path))
        notes.flush()
    notes.flush()
    assert destination.seen == [0, 1]
    notes = ReceiptWriter(Failing(str(tmp_path / "d"), create=False).write_receipts)
    notes.add(receipt("c.txt"))
    notes.flush()
    assert notes.trouble.errno == errno.EIO
    assert known(tmp_path / "d", "c.txt") is None


def age(folder):
    for path in place(folder).iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)


def pile_up(folder, number=40):
    """Leave the receipts of many runs, each of a file of its own and one that all have brought."""
    for run in range(number):
        lines = [encode(receipt(f"{run}.txt")), encode(receipt("all.txt", mtime_ns=run))]
        write_lines(folder, f"{run:016x}.jsonl", b"\n".join([*lines, b""]))
    write_lines(folder, f"{number:016x}.jsonl", encode(receipt("0.txt", source="t")) + b"\n")
    age(folder)


def test_the_receipts_of_many_runs_are_merged(tmp_path):
    folder = tmp_path / "d"
    pile_up(folder)
    write_lines(folder, "f" * 16 + ".jsonl", encode(receipt("live.txt")) + b"\n")
    write_lines(folder, "notes.txt", b"mine")
    (place(folder) / ("e" * 16 + ".jsonl")).symlink_to(tmp_path / "nowhere")
    before = LatestReceipts(opened(folder).read_receipts())._known
    # Before the run that has something to do, one that has nothing, and that leaves all alone.
    names = set(os.listdir(place(folder)))
    fetch(plan_of([], str(tmp_path)), folder)
    assert set(os.listdir(place(folder))) == names
    fetch(local_plan(tmp_path), folder)
    left = set(os.listdir(place(folder)))
    assert {"f" * 16 + ".jsonl", "e" * 16 + ".jsonl", "notes.txt"} < left
    # Beside those the run's own, and the merged one.
    assert len(left) == 5
    after = LatestReceipts(opened(folder).read_receipts())._known
    assert {path: after[path] for path in before} == before
    sources = {each.source for each in opened(folder).read_receipts() if each.path == "0.txt"}
    assert sources == {"s", "t"}
    assert sum(each.path == "all.txt" for each in opened(folder).read_receipts()) == 1


def test_receipts_are_left_as_they_are_where_nothing_is_locked(tmp_path):
    folder = tmp_path / "d"
    pile_up(folder)
    names = set(os.listdir(place(folder)))
    (folder / ".bidsplan" / "lock").mkdir()
    fetch(local_plan(tmp_path), folder)
    assert names < set(os.listdir(place(folder)))


def test_a_merge_that_fails_loses_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "d"
    pile_up(folder)
    names = set(os.listdir(place(folder)))

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    compact(opened(folder))
    assert set(os.listdir(place(folder))) == names


def test_who_reads_while_receipts_are_merged_misses_none(tmp_path):
    folder = tmp_path / "d"
    pile_up(folder)
    reading = opened(folder).read_receipts()
    seen = {next(reading).path}
    compact(opened(folder))
    assert len(os.listdir(place(folder))) == 1
    seen |= {each.path for each in reading}
    assert seen == {"all.txt", *(f"{run}.txt" for run in range(40))}
