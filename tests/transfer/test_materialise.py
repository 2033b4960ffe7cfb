"""The executor: after anything that goes wrong, a path is right or as it was."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading

import pytest

from bidsplan.destination.local import LocalDestination
from bidsplan.errors import DestinationError, UnsafePathError
from bidsplan.events import Action, Decided, Finished
from bidsplan.plan import Entry, Plan, Root, clashes
from bidsplan.plan.file import write_plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access, Transport
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.verification import verify
from plans import (
    BIG,
    FILES,
    failures,
    fetch,
    finished,
    leftovers,
    local_plan,
    moved,
    plan_over,
    tree,
)
from servers import Rule

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]


@pytest.fixture
def s3_plan(bucket):
    bucket.fill(FILES)
    return plan_over(f"s3://{bucket.name}", FILES)


def test_a_local_source_is_copied_and_kept(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    assert not failures(fetch(plan, folder))
    assert tree(folder) == FILES
    again = finished(fetch(plan, folder))
    assert {action for action, _ in again.values()} == {Action.KEEP}
    assert leftovers(folder) == []


def test_files_get_the_modes_that_others_may_read(tmp_path):
    old = os.umask(0o022)
    try:
        fetch(local_plan(tmp_path), tmp_path / "d")
    finally:
        os.umask(old)
    assert (tmp_path / "d" / "a.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_progress_adds_up_also_over_a_broken_connection(s3_plan, proxy, tmp_path, transport):
    proxy.rules.append(Rule("cut", "image", times=1))
    access = Access(transport=transport, endpoint_url=proxy.url)
    events = fetch(s3_plan, tmp_path / "d", access=access)
    assert not failures(events)
    assert tree(tmp_path / "d") == FILES
    for path, data in FILES.items():
        assert moved(events, path) == len(data)
    assert finished(events)["a.txt"] == (Action.FETCH, CheckMethod.ETAG_MD5)


FAULTS = {
    "throttled, then not": (Rule("status", "image", times=2, status=503), None),
    "failed, then not": (Rule("status", "image", times=1, status=500), None),
    "cut off, then not": (Rule("cut", "image", times=1), None),
    "too short, then not": (Rule("short", "image", times=1), None),
    "damaged, then not": (Rule("flip", "image", times=1), None),
    "always too short": (Rule("short", "image"), "unreachable"),
    "always damaged": (Rule("flip", "image"), "unproved"),
    "denied": (Rule("status", "image", status=403), "denied"),
    "gone": (Rule("status", "image", status=404), "source-missing"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("rule", "code"), FAULTS.values(), ids=FAULTS)
def test_after_a_fault_a_path_is_absent_or_right(s3_plan, proxy, tmp_path, transport, rule, code):
    proxy.rules.append(Rule(**vars(rule)))
    access = Access(transport=transport, endpoint_url=proxy.url)
    folder = tmp_path / "d"
    events = fetch(s3_plan, folder, access=access)
    expected = dict(FILES)
    if code is not None:
        del expected["sub-1/anat/image.nii.gz"]
        assert {path: e.code for path, e in failures(events).items()} == {
            "sub-1/anat/image.nii.gz": code
        }
    else:
        assert not failures(events)
    assert tree(folder) == expected
    assert leftovers(folder) == []
    proxy.rules.clear()
    assert not failures(fetch(s3_plan, folder, access=access))
    assert tree(folder) == FILES


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("when", ["call", "call-mid"])
def test_a_source_that_is_replaced_is_told_and_never_spliced(
    s3_plan, bucket, proxy, tmp_path, transport, when
):
    other = random.Random(1).randbytes(len(BIG))
    key = "sub-1/anat/image.nii.gz"
    proxy.rules.append(Rule(when, "image", times=1, hook=lambda: bucket.put(key, other)))
    access = Access(transport=transport, endpoint_url=proxy.url)
    events = fetch(s3_plan, tmp_path / "d", access=access)
    assert failures(events)[key].code == "source-changed"
    assert "is no longer the object that was listed" in str(failures(events)[key])
    assert key not in tree(tmp_path / "d")
    assert "a.txt" in tree(tmp_path / "d")


def test_existing_files_that_verify_are_kept_without_a_receipt(s3_plan, proxy, tmp_path):
    folder = tmp_path / "d"
    for key, data in FILES.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    events = fetch(s3_plan, folder, access=Access(endpoint_url=proxy.url))
    assert {action for action, _ in finished(events).values()} == {Action.KEEP}
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("existing", "left", "code"),
    [
        (Existing.KEEP, b"mine!", "existing"),
        (Existing.REFUSE, b"mine!", "existing"),
        (Existing.REPLACE, b"hello", None),
    ],
)
@pytest.mark.parametrize("source", ["local", "s3"])
def test_a_file_that_differs_obeys_the_policy(tmp_path, request, source, existing, left, code):
    if source == "local":
        plan, access = local_plan(tmp_path), Access()
    else:
        plan = request.getfixturevalue("s3_plan")
        access = Access(endpoint_url=request.getfixturevalue("proxy").url)
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"mine!")
    events = fetch(plan, folder, existing=existing, access=access)
    assert tree(folder)["a.txt"] == left
    assert {path: error.code for path, error in failures(events).items()} == (
        {"a.txt": code} if code else {}
    )


def test_a_dry_run_decides_and_writes_nothing(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    events = fetch(plan, folder, dry_run=True)
    assert [event.action for event in events] == [Action.FETCH] * 3
    assert not folder.exists()
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"other")
    before = sorted(folder.rglob("*"))
    events = fetch(plan, folder, dry_run=True)
    assert {e.entry.path: e.action for e in events if isinstance(e, Decided)} == {
        "a.txt": Action.COMPARE,
        "sub-1/anat/image.nii.gz": Action.FETCH,
        "sub-1/empty": Action.FETCH,
    }
    assert sorted(folder.rglob("*")) == before


def test_links_in_the_way_are_never_followed(tmp_path):
    plan, folder, outside = local_plan(tmp_path), tmp_path / "d", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "a.txt").write_bytes(b"mine!")
    (folder / "sub-1").symlink_to(outside)
    (folder / "a.txt").symlink_to(outside / "a.txt")
    codes = {path: e.code for path, e in failures(fetch(plan, folder)).items()}
    assert codes == {
        "a.txt": "existing",
        "sub-1/anat/image.nii.gz": "unsafe-path",
        "sub-1/empty": "unsafe-path",
    }
    assert tree(outside) == {"a.txt": b"mine!"}


@pytest.mark.parametrize("place", [".bidsplan", ".bidsplan/partial", ".bidsplan/receipts"])
def test_a_linked_state_directory_is_not_written_through(tmp_path, place):
    plan, folder, outside = local_plan(tmp_path), tmp_path / "d", tmp_path / "outside"
    outside.mkdir()
    link = folder / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    if place == ".bidsplan/receipts":
        fetch(plan, folder)
    else:
        with pytest.raises(UnsafePathError, match=r"d/\.bidsplan: a link or a file is where a dir"):
            fetch(plan, folder)
    assert list(outside.iterdir()) == []


def test_a_directory_under_a_files_name_is_left_alone(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    (folder / "a.txt" / "inside").mkdir(parents=True)
    assert {p: e.code for p, e in failures(fetch(plan, folder)).items()} == {"a.txt": "existing"}
    assert (folder / "a.txt" / "inside").is_dir()


def test_a_changed_plan_is_not_satisfied_by_an_old_receipt(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    files = {**FILES, "a.txt": b"olleh"}
    plan = local_plan(tmp_path, files)
    changed = Plan.build(
        [
            Entry(path=e.path, key=e.key, size=e.size, reason="selected", md5=digest)
            for e in plan.entries
            for digest in [hashlib.md5(files[e.key]).hexdigest()]
        ],
        manifest_sha256="0" * 64,
        study="x",
        roots=plan.header.roots,
        subjects=[],
    )
    events = fetch(changed, folder, existing=Existing.REPLACE)
    assert finished(events)["a.txt"] == (Action.REPLACE, CheckMethod.MD5)
    assert tree(folder) == files


def test_receipts_that_are_torn_or_hostile_cost_only_a_look(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    [receipts] = (folder / ".bidsplan" / "receipts").iterdir()
    good = receipts.read_bytes()
    receipts.write_bytes(b'{"path": 3}\n\xff\n[[[\n' + good[:-20])
    (receipts.parent / "z.jsonl").mkdir()
    (receipts.parent / "y.jsonl").symlink_to("/dev/zero")
    os.mkfifo(receipts.parent / "x.jsonl")
    events = fetch(plan, folder)
    assert {action for action, _ in finished(events).values()} == {Action.KEEP}
    assert not failures(events)


def test_stopping_midway_leaves_right_files_and_their_receipts(tmp_path):
    files = {f"{number:03}": bytes([number]) * 1000 for number in range(200)}
    plan, folder = local_plan(tmp_path, files), tmp_path / "d"
    events = materialise(plan, folder, access=Access(jobs=2))
    for event in events:
        if isinstance(event, Finished) and event.entry.path == "050":
            break
    events.close()
    there = tree(folder)
    assert 0 < len(there) < len(files)
    assert all(files[path] == data for path, data in there.items())
    assert leftovers(folder) == []
    destination = LocalDestination(str(folder), create=False)
    known = {receipt.path for receipt in destination.read_receipts()}
    assert len(known & there.keys()) >= 51


@pytest.mark.parametrize("locks", [True, False])
def test_two_runs_into_one_destination_both_end_well(tmp_path, locks):
    files = {f"d{number % 7}/{number:03}": bytes([number]) * 5000 for number in range(150)}
    plan, folder = local_plan(tmp_path, files), tmp_path / "d"
    results = []
    barrier = threading.Barrier(2)
    if not locks:
        # What stands for the lock is no file, so that neither sees the other.
        (folder / ".bidsplan" / "lock").mkdir(parents=True)

    def work():
        barrier.wait()
        results.append(failures(fetch(plan, folder, wait=True)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{}, {}]
    assert tree(folder) == files
    assert leftovers(folder) == []


def test_a_full_disk_is_named_and_nothing_half_is_left(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    write_plan(plan, tmp_path / "p.jsonl")
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from bidsplan.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    arguments = ["fetch", str(tmp_path / "p.jsonl"), str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "image.nii.gz: can't be written: File too large; free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert "sub-1/anat/image.nii.gz" not in tree(folder)
    assert leftovers(folder) == []


def test_a_file_where_the_destination_should_be(tmp_path):
    (tmp_path / "d").write_text("x")
    with pytest.raises(DestinationError, match="d: is a file, or lies below one"):
        fetch(local_plan(tmp_path), tmp_path / "d")


def test_generated_files_are_written_and_verified(tmp_path):
    entry = Entry(path="dataset_description.json", size=2, reason="dataset", content="{}")
    plan = Plan.build([entry], manifest_sha256="0" * 64, study="x", roots=[], subjects=[])
    assert finished(fetch(plan, tmp_path / "d")) == {
        "dataset_description.json": (Action.FETCH, CheckMethod.CONTENT)
    }
    [event] = verify(plan, str(tmp_path / "d"))
    assert event.proof is CheckMethod.CONTENT


@pytest.mark.parametrize("source", ["local", "s3"])
def test_verify_finds_one_changed_byte_although_time_and_size_are_kept(tmp_path, request, source):
    if source == "local":
        plan, access = local_plan(tmp_path), Access()
    else:
        plan = request.getfixturevalue("s3_plan")
        access = Access(endpoint_url=request.getfixturevalue("proxy").url)
    folder = tmp_path / "d"
    fetch(plan, folder, access=access)
    assert not failures(verify(plan, str(folder), access=access))
    victim = folder / "a.txt"
    before = victim.stat()
    victim.write_bytes(b"hellO")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "sub-1" / "empty").unlink()
    codes = {
        path: error.code
        for path, error in failures(verify(plan, str(folder), access=access)).items()
    }
    assert codes == {"a.txt": "corrupt", "sub-1/empty": "missing"}


def test_verify_reads_through_no_link(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(tmp_path / "source" / "a.txt")
    errors = failures(verify(plan, str(folder)))
    assert isinstance(errors["a.txt"], UnsafePathError)


def multipart_tag(data, part):
    parts = [hashlib.md5(data[i : i + part]).digest() for i in range(0, len(data), part)]
    return f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"


@pytest.mark.parametrize("part", [5 << 20, 8 << 20, 7 << 20])
def test_multipart_tags_are_recomputed(tmp_path, part):
    data = random.Random(part).randbytes(20 << 20)
    tag = multipart_tag(data, part)
    entry = Entry(path="x", key="x", size=len(data), reason="selected", etag=tag)
    plan = Plan.build(
        [entry], manifest_sha256="0" * 64, study="x", roots=[Root(url="s3://b")], subjects=[]
    )
    (tmp_path / "x").write_bytes(data)
    [event] = verify(plan, str(tmp_path))
    assert event.proof is CheckMethod.MULTIPART
    (tmp_path / "x").write_bytes(data[:-1] + b"?")
    [event] = verify(plan, str(tmp_path))
    assert event.proof is CheckMethod.SIZE


def test_names_that_this_file_system_tells_apart_are_both_written(tmp_path):
    files = {"sub-a/x.txt": b"1", "sub-A/x.txt": b"2", "caf\u00e9": b"3", "cafe\u0301": b"4"}
    plan = local_plan(tmp_path, files)
    folder = LocalDestination(str(tmp_path / "source"), create=False)
    folds = folder.folds_names()
    folder.close()
    found = {(first.path, other.path) for first, other in clashes(plan.entries)}
    assert found == {("sub-A/x.txt", "sub-a/x.txt"), ("cafe\u0301", "caf\u00e9")}
    errors = failures(fetch(plan, tmp_path / "d"))
    assert set(errors) == ({other for _, other in found} if folds else set())


def test_a_name_that_is_too_long_for_the_file_system_is_told(tmp_path):
    entry = Entry(path="x" * 300, size=2, reason="dataset", content="{}")
    plan = Plan.build([entry], manifest_sha256="0" * 64, study="x", roots=[], subjects=[])
    [error] = failures(fetch(plan, tmp_path / "d")).values()
    assert "File name too long" in str(error)
