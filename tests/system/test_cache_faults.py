"""A content cache that many processes use, that are killed, and whose disk is full."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys

import pytest
from test_disk_faults import in_a_namespace, mounts  # noqa: F401 - a fixture

from bidsplan.plan.file import write_plan
from caches import contents, damaged, proved_plan, unfinished
from kills import Runs
from plans import leftovers, tree

pytestmark = pytest.mark.timeout(180)

BIDSPLAN = [sys.executable, "-m", "bidsplan"]
BIG = random.Random(9).randbytes(5 << 20)
FILES = {
    "README": b"read me",
    "sub-1/anat/sub-1_T1w.nii.gz": BIG,
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-2/anat/sub-2_T1w.nii.gz": BIG[:700_000],
}
MANY = {f"sub-{n:02}/sub-{n:02}_scan.json": bytes([n]) * 3000 for n in range(60)} | FILES


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    started = Runs(tmp_path_factory.mktemp("kills") / "log")
    yield started
    started.stop()


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "p.plan.jsonl"
    write_plan(proved_plan(tmp_path / "source", FILES), path)
    return path


def test_killed_at_any_step_the_cache_has_a_content_or_none(runs, plan, tmp_path):
    killed = half = 0
    for step in range(1, 200, 3):
        cache, place = tmp_path / f"cache-{step}", tmp_path / f"d-{step}"
        fetch = ["fetch", plan, place, "--cache", cache]
        code = runs.run(*fetch, at=step)
        assert damaged(cache) == []
        if code == 0:
            break
        assert code == -9
        killed += 1
        half += bool(unfinished(cache))
        shutil.rmtree(place, ignore_errors=True)
        assert runs.run(*fetch) == 0
        assert tree(place) == FILES
        assert len(contents(cache)) == len(FILES)
        assert damaged(cache) == []
        assert unfinished(cache) == leftovers(place) == []
        shutil.rmtree(cache)
        shutil.rmtree(place)
    assert killed > 3
    assert half > 0


def test_what_a_killed_run_added_is_counted_by_the_next_one(runs, tmp_path):
    path, cache = tmp_path / "p.plan.jsonl", tmp_path / "cache"
    write_plan(proved_plan(tmp_path / "source", MANY), path)
    for step in range(300, 1500, 100):
        assert runs.run("fetch", path, tmp_path / f"d-{step}", "--cache", cache, at=step) == -9
        if len(contents(cache)) > len(MANY) // 2:
            break
        shutil.rmtree(cache)
    one = tmp_path / "one.plan.jsonl"
    write_plan(proved_plan(tmp_path / "other", {"new.json": b"new"}), one)
    size = ["--cache-size", str(10 * 4096)]
    assert runs.run("fetch", one, tmp_path / "e", "--cache", cache, *size) == 0
    assert 0 < len(contents(cache)) <= 10


def test_processes_that_fill_and_empty_one_cache_at_once_all_end_well(tmp_path):
    """It holds a third of what they fetch, so that each removes what others add and read."""
    path, cache = tmp_path / "p.plan.jsonl", tmp_path / "cache"
    write_plan(proved_plan(tmp_path / "source", MANY), path)
    fetch = [*BIDSPLAN, "fetch", "--json", "--cache", cache, "--cache-size", "3MB", path]
    for attempt in range(2):
        started = [
            subprocess.Popen(
                [*fetch, tmp_path / f"d-{attempt}-{number}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(4)
        ]
        for number, process in enumerate(started):
            out, told = process.communicate(timeout=60)
            assert (process.returncode, told) == (0, "")
            assert json.loads(out.splitlines()[-1])["done"] == {"fetch": len(MANY)}
            assert tree(tmp_path / f"d-{attempt}-{number}") == MANY
        assert damaged(cache) == unfinished(cache) == []
    assert sum(file.stat().st_size for file in contents(cache).values()) <= 3_000_000
    assert len(contents(cache)) > 0


def mounted(tmp_path, size, disk, *command):
    """Run a command with a disk of a size; gives it and what the disk holds in the end."""
    disk.mkdir()
    script = 'mount -t tmpfs -o size=$1 none "$2"; disk=$2; copy=$3; shift 3; '
    script += '"$@" && code=0 || code=$?; cp -R "$disk" "$copy"; exit $code'
    return in_a_namespace(script, size, disk, tmp_path / "copy", *command, cwd=tmp_path)


def test_a_full_cache_disk_is_told_once_and_costs_nothing_else(mounts, plan, tmp_path):  # noqa: F811
    disk = tmp_path / "disk"
    fetch = [*BIDSPLAN, "fetch", "--quiet", plan, tmp_path / "d", "--cache", disk / "cache"]
    done = mounted(tmp_path, "2m", disk, *fetch)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "can't be written: No space left on device" in done.stderr
    assert tree(tmp_path / "d") == FILES
    assert damaged(tmp_path / "copy" / "cache") == unfinished(tmp_path / "copy" / "cache") == []


def test_a_cache_leaves_room_for_the_files_themselves(mounts, plan, tmp_path):  # noqa: F811
    """The disk has room for the files, and not for another copy of the large one."""
    disk = tmp_path / "disk"
    fetch = [*BIDSPLAN, "fetch", plan, disk / "d", "--cache", disk / "cache"]
    done = mounted(tmp_path, "8m", disk, *fetch)
    assert done.returncode == 0
    assert "no room left besides that of the files still to be fetched" in done.stderr
    assert tree(tmp_path / "copy" / "d") == FILES
    assert damaged(tmp_path / "copy" / "cache") == []


def test_a_cache_that_may_only_be_read_is_read(mounts, plan, tmp_path):  # noqa: F811
    cache = tmp_path / "cache"
    fetch = [*BIDSPLAN, "fetch", plan, "--cache", cache, "--json"]
    assert subprocess.run([*fetch, tmp_path / "a"], check=False).returncode == 0
    (cache / "content").joinpath("more").mkdir()
    removed = next(name for name in contents(cache) if name.endswith("-2"))
    contents(cache)[removed].unlink()
    script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; shift; "$@"'
    done = in_a_namespace(script, cache, *fetch, tmp_path / "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1])["cached"] == len(FILES) - 1
    assert tree(tmp_path / "b") == FILES
