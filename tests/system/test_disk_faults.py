"""A disk that is full, broken or read-only: the run stops, says why, and loses nothing."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.cli.main import run
from bidsplan.plan.file import write_plan
from bidsplan.storage import rename as renaming
from codes import without_codes
from plans import leftovers, local_plan, plan_over, tree, write_files

IMAGE = "sub-1/anat/image.nii.gz"
BIG = random.Random(3).randbytes(9 << 20)
FILES = {
    "a.txt": b"hello",
    IMAGE: BIG,
    **{f"sub-2/{number:03}.json": b"{}" for number in range(60)},
}
OLD = {IMAGE: b"old", "a.txt": b"old"}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@pytest.fixture
def command(request, tmp_path):
    """Give the arguments of a fetch into a destination where older files stand."""
    if request.param == "local":
        plan, more = local_plan(tmp_path, FILES), ()
    else:
        bucket = request.getfixturevalue("bucket")
        bucket.fill(FILES)
        plan, more = plan_over(f"s3://{bucket.name}", FILES), ("--endpoint-url", bucket.endpoint)
    write_plan(plan, tmp_path / "p.plan.jsonl")
    write_files(tmp_path / "d", OLD)
    fetch = ["fetch", str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d")]
    return [*fetch, "--existing", "replace", "--json", *more]


def is_partial(descriptor):
    return "/.bidsplan/partial/" in str(Path(f"/proc/self/fd/{descriptor}").readlink())


def broken(call, number, real):
    """Give a system call that fails on partials, after it was made, as a disk's cache does."""

    def fails(*arguments, **options):
        hit = call == "rename" or (isinstance(arguments[0], int) and is_partial(arguments[0]))
        if hit and call == "close":
            real(*arguments)
        if hit:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    return fails


def unnamed(number):
    """Give a call that renames without replacing, and that fails."""

    def fails(*_):
        ctypes.set_errno(number)
        return -1

    return fails


NAMES = {"write": "write", "close": "close", "rename": "replace"}
NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
FAULTS = [("local", call, number) for call in NAMES for number in NUMBERS]
FAULTS += [("s3", call, errno.ENOSPC) for call in NAMES]


@pytest.mark.parametrize(
    ("command", "call", "number"),
    FAULTS,
    ids=[f"{source}-{call}-{errno.errorcode[number]}" for source, call, number in FAULTS],
    indirect=["command"],
)
def test_what_can_not_be_written_is_named_and_the_old_file_stands(
    command, tmp_path, monkeypatch, capsys, call, number
):
    with monkeypatch.context() as patch:
        patch.setattr(os, NAMES[call], broken(call, number, getattr(os, NAMES[call])))
        if call == "rename":
            # New files get their names by another call than those that replace others.
            patch.setattr(renaming, "_exclusive_rename", lambda: unnamed(number))
        code = run(command)
    told = capsys.readouterr()
    rows = {row["path"]: row for row in map(json.loads, told.out.splitlines()) if "path" in row}
    errors = {row["error"] for row in rows.values() if "error" in row}
    assert code == 1
    assert errors == {"disk-full" if number in FULL else "destination"}
    assert os.strerror(number) in told.err
    # All others would fail alike: they are not tried, and each has its row.
    assert set(rows) == set(FILES)
    assert "skip" in {row.get("action") for row in rows.values()}
    assert tree(tmp_path / "d") == OLD
    assert run(command) == 0
    assert tree(tmp_path / "d") == FILES
    assert leftovers(tmp_path / "d") == []


def in_a_namespace(script, *arguments, **options):
    """Run a shell script that may mount file systems, which nobody else sees."""
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-euc", script, "sh"]
    return subprocess.run(
        [*unshare, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(scope="session")
def mounts(tmp_path_factory):
    """Skip where this user may not mount."""
    folder = tmp_path_factory.mktemp("mounts")
    if not shutil.which("unshare") or in_a_namespace("mount -t tmpfs none $1", folder).returncode:
        pytest.skip("this user may not mount file systems")


BIDSPLAN = [sys.executable, "-m", "bidsplan"]


def test_a_disk_of_four_mebibytes_holds_what_fits(mounts, tmp_path):
    files = {f"sub-{number:02}/image.nii.gz": BIG[: 700_000 + number] for number in range(20)}
    write_plan(local_plan(tmp_path, files), tmp_path / "p.plan.jsonl")
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=4m none "$1"; copy=$2; shift 2; "$@" && code=0 || code=$?; '
    script += 'cp -R disk "$copy"; exit $code'
    fetch = [*BIDSPLAN, "fetch", tmp_path / "p.plan.jsonl", disk / "d", "--json"]
    fetch.append("--no-space-check")
    done = in_a_namespace(script, disk, copy, *fetch, cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()][:-1]
    assert done.returncode == 1
    assert "No space left on device; free some space, and run it again" in done.stderr
    assert (
        "the run stopped, since other files would fail in the same way: the disk is full"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert {row.get("error") for row in rows} == {None, "disk-full"}
    assert {row["path"] for row in rows} == set(files)
    there = tree(copy / "d")
    assert there == {path: files[path] for path in there}
    assert set(there) == {row["path"] for row in rows if row.get("action") == "fetch"}
    assert len(there) >= 3
    assert leftovers(copy / "d") == []


def test_a_disk_without_room_is_an_error_before_the_first_byte(mounts, tmp_path):
    files = {f"sub-{number:02}/image.nii.gz": BIG[: 700_000 + number] for number in range(8)}
    write_plan(local_plan(tmp_path, files), tmp_path / "p.plan.jsonl")
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=4m none "$1"; copy=$2; shift 2; "$@" && code=0 || code=$?; '
    script += 'cp -R disk "$copy"; exit $code'
    fetch = [*BIDSPLAN, "fetch", "-q", tmp_path / "p.plan.jsonl", disk / "d"]
    done = in_a_namespace(script, disk, copy, *fetch, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert without_codes(done.stderr) == (
        f"error: {disk}/d: 5.6 MB are still to be fetched, and 4.2 MB are free; free some space, "
        "or fetch with --no-space-check\n"
    )
    assert tree(copy / "d") == {}
    # What is there already needs no room.
    script = script.replace("copy=$2;", 'copy=$2; mkdir "$1/d"; cp -R source/sub-0[0-4] "$1/d";')
    script = script.replace("4m", "8m")
    shutil.rmtree(copy)
    # One at a time, since a file that is compared with its source needs room for a copy.
    done = in_a_namespace(script, disk, copy, *fetch, "--jobs", "1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(copy / "d") == files


def test_a_destination_that_may_only_be_read_is_one_error(mounts, tmp_path):
    write_plan(local_plan(tmp_path, FILES), tmp_path / "p.plan.jsonl")
    write_files(tmp_path / "d", OLD)
    script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; shift; "$@"'
    fetch = [*BIDSPLAN, "fetch", tmp_path / "p.plan.jsonl", tmp_path / "d"]
    done = in_a_namespace(script, tmp_path / "d", *fetch)
    assert (done.returncode, done.stdout) == (1, "")
    assert without_codes(done.stderr) == (
        f"error: {tmp_path}/d/.bidsplan: can't be written: Read-only file system\n"
    )
    assert tree(tmp_path / "d") == OLD
    done = in_a_namespace(script, tmp_path / "d", *fetch[:-1], tmp_path / "d" / "inner")
    assert done.returncode == 1
    assert "inner: can't be opened: Read-only file system" in done.stderr


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(
    ("call", "error"), [("rename", "EXDEV"), ("rename", "EIO"), ("syncfs", "EIO")]
)
def test_what_the_kernel_refuses_is_told(tmp_path, call, error):
    write_plan(local_plan(tmp_path, FILES), tmp_path / "p.plan.jsonl")
    calls = "rename,renameat,renameat2" if call == "rename" else call
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    fetch = [*BIDSPLAN, "fetch", str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d")]
    done = subprocess.run(
        [*strace, "-e", f"inject={calls}:error={error}", *fetch],
        capture_output=True,
        text=True,
        check=False,
    )
    assert os.strerror(getattr(errno, error)) in done.stderr
    assert "Traceback" not in done.stderr
    if call == "rename":
        assert (done.returncode, tree(tmp_path / "d")) == (1, {})
    else:
        # The files were checked; only what is known of them could not be made to last.
        assert (done.returncode, tree(tmp_path / "d")) == (0, FILES)
        assert "receipts could not be written" in done.stderr
        assert list((tmp_path / "d" / ".bidsplan").rglob("*.jsonl")) == []


CLOSED = {
    "a lock": ("d/.bidsplan/lock", 0, None),
    "the destination": ("d", 0, None),
    "a source's directory": ("source", 0, None),
    "the plan": ("p.plan.jsonl", 2, "p.plan.jsonl: can't be read: Input/output error"),
}


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(("place", "code", "said"), CLOSED.values(), ids=CLOSED)
def test_an_error_on_closing_is_no_defect(tmp_path, place, code, said):
    write_plan(local_plan(tmp_path, {"a.txt": b"hello"}), tmp_path / "p.plan.jsonl")
    arguments = [str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d")]
    assert run(["fetch", *arguments]) == 0
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(tmp_path / place)]
    strace += ["-e", "trace=close", "-e", "inject=close:error=EIO"]
    command = "verify" if place == "d" else "fetch"
    done = subprocess.run(
        [*strace, *BIDSPLAN, command, *arguments], capture_output=True, text=True, check=False
    )
    assert "defect" not in done.stderr
    assert (said or "") in done.stderr
    if place == "d":
        # The file's directory could not be closed, so that reading the file failed.
        assert "Input/output error" in done.stderr
    else:
        assert done.returncode == code
    assert tree(tmp_path / "d") == {"a.txt": b"hello"}


def test_a_failure_of_the_machine_is_no_defect(tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")

    (tmp_path / "study" / "sub-1").mkdir(parents=True)
    (tmp_path / "m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: study}\n")
    monkeypatch.setattr(Path, "exists", fails)
    assert run(["fetch", str(tmp_path / "m.yaml"), str(tmp_path / "d")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: somewhere: Input/output error; this machine or one of its disks")
    assert "defect" not in told
