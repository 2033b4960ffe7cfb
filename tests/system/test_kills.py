"""Whenever it is killed, each path is absent or right, and the next run makes it whole."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys

import pytest

from bidsplan.plan.file import write_plan
from kills import Runs
from plans import leftovers, local_plan, md5, plan_over, tree, write_files
from sites import Site

pytestmark = pytest.mark.timeout(180)

BIG = random.Random(9).randbytes(9 << 20)
FILES = {
    "README": b"read me",
    "sub-1/anat/sub-1_T1w.nii.gz": BIG,
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-2/anat/sub-2_T1w.nii.gz": BIG[:700_000],
    "sub-2/sub-2_sessions.tsv": b"",
}
OLD = dict.fromkeys(FILES, b"old")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    started = Runs(tmp_path_factory.mktemp("kills") / "log")
    yield started
    started.stop()


@pytest.fixture
def fetch(tmp_path):
    """Give the arguments of a fetch from a source, into one destination."""

    def arguments(plan, *more):
        write_plan(plan, tmp_path / "p.plan.jsonl")
        return ["fetch", tmp_path / "p.plan.jsonl", tmp_path / "d", *more]

    return arguments


@pytest.fixture(params=["local", "obstore", "fsspec"])
def source(request):
    return request.param


@pytest.fixture
def command(request, source, fetch, tmp_path):
    if source == "local":
        return fetch(local_plan(tmp_path, FILES))
    bucket = request.getfixturevalue("bucket")
    bucket.fill(FILES)
    transport = ("--transport", source, "--endpoint-url", bucket.endpoint)
    return fetch(plan_over(f"s3://{bucket.name}", FILES), *transport)


def check(folder, before):
    """Show that each path holds what was planned, or what it held before."""
    found = tree(folder)
    assert set(before) <= set(found) <= set(FILES)
    for path, data in found.items():
        assert data in {FILES[path], before.get(path, FILES[path])}
    return bool(leftovers(folder))


def converge(runs, command, folder):
    assert runs.run(*command) == 0
    assert tree(folder) == FILES
    assert leftovers(folder) == []


def kill_at_steps(runs, command, folder, before, *, stride=1):
    """Begin anew for each step, until one comes that the run does not reach."""
    kills = partials = 0
    write_files(folder, before)
    while code := runs.run(*command, at=1 + kills * stride):
        assert code == -signal.SIGKILL
        kills += 1
        partials += check(folder, before)
        converge(runs, command, folder)
        shutil.rmtree(folder)
        write_files(folder, before)
    return kills, partials


def test_killed_at_any_step_it_goes_on(runs, source, command, tmp_path):
    # Servers take their time, so not each of the many writes is tried.
    stride = 1 if source == "local" else 6
    kills, partials = kill_at_steps(runs, command, tmp_path / "d", {}, stride=stride)
    assert kills >= 30 // stride
    assert partials >= 20 // stride


def test_killed_at_any_step_the_old_file_stands_or_the_new_one(runs, fetch, tmp_path):
    command = fetch(local_plan(tmp_path, FILES), "--existing", "replace")
    # The steps are those of a fetch to an empty directory, each of which is tried above.
    kills, partials = kill_at_steps(runs, command, tmp_path / "d", OLD, stride=2)
    assert kills >= 15
    assert partials >= 10


def test_killed_again_and_again_it_gets_there(runs, command, tmp_path):
    folder, draw = tmp_path / "d", random.Random(1)
    kills = partials = 0
    longest = 0.2
    while kills < 25 or not partials:
        code = runs.run(*command, after=draw.uniform(0, longest))
        if code == 0:
            converge(runs, command, folder)
            shutil.rmtree(folder)
            # Kills by luck should strike on the way, however fast the machine is just now.
            longest *= 0.9
        else:
            assert code == -signal.SIGKILL
            kills += 1
            partials += check(folder, {})
            longest *= 1.05
    converge(runs, command, folder)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("number", [1, 2, 5])
def test_killed_in_a_rename_it_goes_on(fetch, tmp_path, number):
    # strace counts the calls of each thread by itself, so all are made by one.
    command = fetch(local_plan(tmp_path, FILES), "--jobs", "1")
    calls = "rename,renameat,renameat2"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    strace += ["-e", f"inject={calls}:signal=SIGKILL:when={number}"]
    run = [sys.executable, "-m", "bidsplan", *map(str, command)]
    done = subprocess.run([*strace, *run], capture_output=True, check=False)
    assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}
    check(tmp_path / "d", {})
    assert len(tree(tmp_path / "d")) in {number - 1, number}
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0
    assert tree(tmp_path / "d") == FILES
    assert leftovers(tmp_path / "d") == []


def asked_for(requests):
    """Count the bytes that requests ask for, each of which must be for a range."""
    ranges = [headers["Range"].removeprefix("bytes=").split("-") for _, _, headers in requests]
    return sum(int(last) + 1 - int(first) for first, last in ranges)


def test_killed_between_ranges_it_asks_for_the_rest(runs, fetch, tmp_path):
    files = {"sub-1/func/sub-1_bold.nii.gz": BIG * 5}
    [(path, data)] = files.items()
    folder, draw = tmp_path / "d", random.Random(2)
    kills = resumed = 0
    with Site() as site:
        site.fill(files, etag=f'"{md5(data)}"')
        command = fetch(plan_over(site.url, files), "--allow-protocol", "http")
        while kills < 8 or not resumed:
            begun, before = bool(leftovers(folder)), len(site.requests)
            code = runs.run(*command, after=draw.uniform(0.05, 0.5))
            assert tree(folder).get(path, data) == data
            if code == 0:
                resumed += begun and asked_for(site.requests[before:]) < len(data)
                shutil.rmtree(folder)
            else:
                assert code == -signal.SIGKILL
                kills += 1
        assert runs.run(*command) == 0
    assert tree(folder) == files
    assert leftovers(folder) == []
