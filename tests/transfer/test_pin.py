"""Pinning a plan to the bytes that were fetched, and compiling over it afterwards."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from bidsplan.errors import DestinationError
from bidsplan.events import Failed, Finished, Pinned
from bidsplan.plan import Entry
from bidsplan.plan.file import read_plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from bidsplan.transfer.pins import pin
from bidsplan.transfer.verification import verify
from plans import (
    FILES,
    failures,
    fetch,
    finished,
    local_plan,
    md5,
    plan_of,
    plan_over,
    tree,
    write_files,
)
from servers import Rule


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def pinned(plan, folder, **options):
    *events, last = pin(plan, folder, **options)
    assert isinstance(last, Pinned)
    assert {event.entry.path for event in events} == {entry.path for entry in plan.entries}
    return last.plan


def digests(plan):
    return {entry.path: entry.sha256 for entry in plan.entries}


def test_a_pinned_plan_has_the_digest_of_each_file_and_nothing_else_new(tmp_path):
    plan = local_plan(tmp_path)
    fetch(plan, tmp_path / "d")
    result = pinned(plan, tmp_path / "d")
    assert digests(result) == {path: sha256(data) for path, data in FILES.items()}
    lines = [json.loads(line) for line in result.lines()]
    for line in lines:
        line.pop("sha256", None)
        line.pop("entries_sha256", None)
    before = [json.loads(line) for line in plan.lines()]
    before[0].pop("entries_sha256")
    assert lines == before


def test_the_number_of_readers_does_not_count_and_a_pinned_plan_stays_as_it_is(tmp_path):
    plan = local_plan(tmp_path)
    fetch(plan, tmp_path / "d")
    first = pinned(plan, tmp_path / "d", jobs=1)
    assert pinned(plan, tmp_path / "d", jobs=8) == first
    assert pinned(first, tmp_path / "d") == first


def test_all_machines_must_get_the_pinned_bytes(tmp_path):
    plan = local_plan(tmp_path)
    fetch(plan, tmp_path / "d")
    result = pinned(plan, tmp_path / "d")
    # Of the same size, as nothing but a digest shows for a local source.
    (tmp_path / "source" / "a.txt").write_bytes(b"HELLO")
    failed = failures(fetch(result, tmp_path / "elsewhere"))
    assert {path: error.code for path, error in failed.items()} == {"a.txt": "corrupt"}
    assert not (tmp_path / "elsewhere" / "a.txt").exists()
    assert failures(fetch(result, tmp_path / "d")) == {}
    proofs = {proof for _, proof in finished(verify(result, tmp_path / "d")).values()}
    assert proofs == {CheckMethod.SHA256}


def test_what_is_generated_needs_no_digest_and_what_has_one_keeps_it(tmp_path):
    entries = [
        Entry(path="a", size=2, reason="dataset", content="{}"),
        Entry(path="b", key="b", size=1, reason="selected", sha256=sha256(b"b")),
        Entry(path="c", key="c", size=1, reason="selected", md5=md5(b"c")),
        Entry(path="d", key="d", size=1, reason="selected", etag=md5(b"d"), version="v"),
    ]
    plan = plan_of(entries, "s3://b")
    write_files(tmp_path / "d", {"a": b"{}", "b": b"b", "c": b"c", "d": b"d"})
    result = pinned(plan, tmp_path / "d")
    assert digests(result) == {"a": None, "b": sha256(b"b"), "c": sha256(b"c"), "d": sha256(b"d")}


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda path: path.write_bytes(b"HELLO"), "corrupt"),
        (lambda path: path.write_bytes(b"hell"), "corrupt"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_there_is_no_pinned_plan_where_a_file_does_not_verify(tmp_path, harm, code):
    plan = local_plan(tmp_path)
    fetch(plan, tmp_path / "d")
    harm(tmp_path / "d" / "a.txt")
    events = list(pin(plan, tmp_path / "d"))
    assert {path: error.code for path, error in failures(events).items()} == {"a.txt": code}
    assert len(events) == len(FILES)
    assert {type(event) for event in events} == {Failed, Finished}


def test_size_alone_is_not_enough(tmp_path):
    plan = local_plan(tmp_path)
    write_files(tmp_path / "d", FILES)
    failed = failures(pin(plan, tmp_path / "d"))
    # What is empty is all there is of it.
    assert {path: error.code for path, error in failed.items()} == {
        "a.txt": "unproved",
        "sub-1/anat/image.nii.gz": "unproved",
    }
    assert "fetch the plan to compare it with its source" in str(failed["a.txt"])
    fetch(plan, tmp_path / "d")
    assert len(digests(pinned(plan, tmp_path / "d"))) == len(FILES)


def test_a_tag_that_is_no_digest_can_be_pinned(bucket, proxy, tmp_path):
    bucket.fill(FILES)
    tagged = {"x-amz-server-side-encryption": "aws:kms", "Content-Length": "5"}
    proxy.rules.append(Rule("status", "a.txt", status=200, headers=tagged, method="HEAD"))
    answer = {"ETag": f'"{md5(b"other")}"'}
    proxy.rules.append(Rule("status", "a.txt", status=200, headers=answer, body=b"hello"))
    plan = plan_over(f"s3://{bucket.name}", {"a.txt": b"other"})
    access = Access(endpoint_url=proxy.url)
    assert failures(fetch(plan, tmp_path / "d", access=access)) == {}
    assert digests(pinned(plan, tmp_path / "d", access=access)) == {"a.txt": sha256(b"hello")}


def test_a_destination_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DestinationError, match="there is no such directory"):
        list(pin(local_plan(tmp_path), tmp_path / "nowhere"))


def test_closing_it_stops_the_reading(tmp_path):
    files = {f"{number:03}": b"x" for number in range(200)}
    plan = local_plan(tmp_path, files)
    fetch(plan, tmp_path / "d")
    events = pin(plan, tmp_path / "d", jobs=1)
    next(events)
    events.close()
    assert list(events) == []


# The command, and compiling over a pinned plan.

STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "README": b"hello",
    "sub-1/anat/sub-1_T1w.nii.gz": b"first",
    "sub-2/anat/sub-2_T1w.nii.gz": b"second",
}
T1W = "sub-1/anat/sub-1_T1w.nii.gz"


def write_manifest(url, more=""):
    text = f"manifest_version: 1\nstudy: {{id: x, url: '{url}'}}\n{more}"
    Path("m.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def local(ask_here):
    """Give a plan of a local study that is fetched."""
    write_files(Path("study"), STUDY)
    write_manifest("study")
    assert ask_here("fetch", "m.yaml", "d")[0] == 0


@pytest.fixture
def remote(ask_here, bucket, monkeypatch):
    """Give a bucket whose study is fetched and pinned."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    bucket.fill({f"study/{key}": data for key, data in STUDY.items()})
    write_manifest(f"s3://{bucket.name}/study")
    assert ask_here("fetch", "m.yaml", "d")[0] == 0
    assert ask_here("pin", "m.plan.jsonl", "d")[0] == 0
    return bucket


def test_the_command_pins_in_place(local, ask_here):
    code, out, err = ask_here("pin", "m.plan.jsonl", "d")
    assert (code, err) == (0, "")
    done = "wrote m.plan.jsonl: with the sha256 of 4 files\n"
    assert out == f"4 files read and verified by receipt\n{done}"
    plan = read_plan("m.plan.jsonl")
    assert digests(plan) == {path: sha256(data) for path, data in STUDY.items()}
    before = Path("m.plan.jsonl").read_bytes()
    code, out, _ = ask_here("pin", "m.yaml", "d", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {"plan": "m.plan.jsonl", "pinned": 4}
    assert Path("m.plan.jsonl").read_bytes() == before
    assert ask_here("verify", "m.plan.jsonl", "d")[1] == "4 files read and verified by SHA-256\n"
    assert ask_here("fetch", "--locked", "m.yaml", "d")[:2] == (
        0,
        "d: 4 kept; 4 files checked by SHA-256\n",
    )


def test_the_command_writes_nothing_where_a_file_differs(local, ask_here):
    before = Path("m.plan.jsonl").read_bytes()
    Path("d/README").write_bytes(b"HELLO")
    Path("d", T1W).unlink()
    code, out, err = ask_here("pin", "m.plan.jsonl", "d")
    assert code == 1
    assert out == "2 files read and verified by receipt; 1 failed (corrupt); 1 failed (missing)\n"
    for part in ("README: not the planned file", f"{T1W}: there is no such file", "not written"):
        assert part in err
    assert Path("m.plan.jsonl").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == [
        "d",
        "m.plan.jsonl",
        "m.yaml",
        "study",
    ]


def test_the_command_writes_elsewhere(local, ask_here):
    before = Path("m.plan.jsonl").read_bytes()
    assert ask_here("pin", "m.plan.jsonl", "d", "-o", "p.jsonl.gz")[0] == 0
    assert Path("m.plan.jsonl").read_bytes() == before
    assert digests(read_plan("p.jsonl.gz"))["README"] == sha256(b"hello")
    assert gzip.decompress(Path("p.jsonl.gz").read_bytes()).count(b"\n") == 5
    assert ask_here("fetch", "p.jsonl.gz", "e")[0] == 0


def test_a_place_that_can_not_be_is_told_before_anything_is_read(local, ask_here):
    Path("plans").mkdir()
    code, _, err = ask_here("pin", "m.plan.jsonl", "nowhere", "-o", "plans/p.jsonl")
    assert code == 2
    assert "plans/p.jsonl: its source 'study' is relative to .; write the pinned plan there" in err
    code, _, err = ask_here("pin", "m.plan.jsonl", "nowhere", "-o", "p.json")
    assert code == 2
    assert "p.json: a plan's name ends in .jsonl" in err


def test_a_plan_of_remote_sources_may_go_anywhere(remote, ask_here):
    Path("plans").mkdir()
    assert ask_here("pin", "m.plan.jsonl", "d", "-o", "plans/p.jsonl")[0] == 0
    assert Path("plans/p.jsonl").read_bytes() == Path("m.plan.jsonl").read_bytes()


def test_a_pinned_plan_is_current_and_compiles_to_itself(remote, ask_here):
    before = Path("m.plan.jsonl").read_bytes()
    assert ask_here("compile", "--check", "m.yaml")[:2] == (0, "m.plan.jsonl is current\n")
    assert ask_here("compile", "m.yaml")[0] == 0
    assert Path("m.plan.jsonl").read_bytes() == before


def test_a_changed_object_loses_its_digest_and_the_others_keep_theirs(remote, ask_here):
    remote.put(f"study/{T1W}", b"FIRST")
    code, out, _ = ask_here("compile", "--check", "m.yaml")
    assert code == 1
    assert out.splitlines()[1:] == [f"~ {T1W} (etag changed, sha256 removed)"]
    assert ask_here("compile", "m.yaml")[0] == 0
    expected = {path: sha256(data) for path, data in STUDY.items()} | {T1W: None}
    assert digests(read_plan("m.plan.jsonl")) == expected


def test_fetching_a_changed_manifest_keeps_the_digests(remote, ask_here):
    write_manifest(f"s3://{remote.name}/study", "subjects: {include: ['1']}\n")
    code, _, err = ask_here("fetch", "m.yaml", "e")
    assert (code, err.startswith("wrote m.plan.jsonl")) == (0, True)
    expected = {path: sha256(data) for path, data in STUDY.items() if "sub-2" not in path}
    assert digests(read_plan("m.plan.jsonl")) == expected
    assert tree(Path("e")) == {path: STUDY[path] for path in expected}


def test_the_same_key_of_another_root_is_another_object(remote, ask_here, bucket):
    bucket.fill({f"other/{key}": data for key, data in STUDY.items()})
    write_manifest(f"s3://{bucket.name}/other")
    assert ask_here("compile", "m.yaml")[0] == 0
    assert set(digests(read_plan("m.plan.jsonl")).values()) == {None}


def test_another_version_of_the_same_bytes_is_another_object(ask_here, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    bucket.versioned()
    bucket.fill({f"study/{key}": data for key, data in STUDY.items()})
    url = f"s3://{bucket.name}/study"
    text = f"manifest_version: 1\nstudy: {{id: x, url: '{url}', versions: pinned}}\n"
    Path("m.yaml").write_text(text, encoding="utf-8")
    assert ask_here("fetch", "m.yaml", "d")[0] == 0
    assert ask_here("pin", "m.yaml", "d")[0] == 0
    assert ask_here("compile", "--check", "m.yaml")[0] == 0
    bucket.put(f"study/{T1W}", STUDY[T1W])
    assert ask_here("compile", "m.yaml")[0] == 0
    assert {path for path, digest in digests(read_plan("m.plan.jsonl")).items() if not digest} == {
        T1W
    }


def test_local_files_keep_their_digests_while_their_size_is_the_same(local, ask_here):
    assert ask_here("pin", "m.plan.jsonl", "d")[0] == 0
    assert ask_here("compile", "--check", "m.yaml")[0] == 0
    # Another size shows; other bytes of the same size do not, and never pass for the pinned ones.
    Path("study/README").write_bytes(b"longer than before")
    Path("study", T1W).write_bytes(b"FIRST")
    assert ask_here("compile", "m.yaml")[0] == 0
    kept = digests(read_plan("m.plan.jsonl"))
    assert (kept["README"], kept[T1W]) == (None, sha256(b"first"))
    code, out, _ = ask_here("fetch", "m.yaml", "e")
    assert (code, out.endswith("1 failed (corrupt)\n")) == (1, True)
    # As the manual says: a new plan knows nothing of the old bytes.
    Path("m.plan.jsonl").unlink()
    assert ask_here("fetch", "m.yaml", "e")[0] == 0
    assert Path("e", T1W).read_bytes() == b"FIRST"


def test_a_plan_that_can_not_be_read_carries_nothing_and_says_so(local, ask_here):
    assert ask_here("pin", "m.plan.jsonl", "d")[0] == 0
    lines = Path("m.plan.jsonl").read_text().splitlines(keepends=True)
    Path("m.plan.jsonl").write_text("".join(lines[:-1]))
    code, out, _ = ask_here("compile", "--check", "m.yaml")
    assert (code, "would be rewritten" in out) == (1, True)
    code, _, err = ask_here("compile", "m.yaml")
    assert code == 0
    assert "warning: digests are not carried over: m.plan.jsonl: the plan is truncated" in err
    assert set(digests(read_plan("m.plan.jsonl")).values()) == {None}


def test_digests_follow_an_object_to_another_path(remote, ask_here):
    # Each site is at a path of its own, and the object is the same.
    text = f"manifest_version: 1\nsite: [study]\nstudy: {{id: x, url: 's3://{remote.name}'}}\n"
    Path("m.yaml").write_text(text, encoding="utf-8")
    assert ask_here("compile", "m.yaml")[0] == 0
    assert digests(read_plan("m.plan.jsonl")) == {
        f"study/{path}": sha256(data) for path, data in STUDY.items()
    }
