"""Many processes that fetch one plan to one destination, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("distributed")

from bidsplan.cli.main import run
from bidsplan.plan import Plan
from bidsplan.plan.file import write_plan
from clusters import SOURCE, Cluster, KillingSite
from plans import leftovers, plan_over, tree

SUBJECTS = [f"{number:02}" for number in range(1, 9)]
FILES = {
    "dataset_description.json": b"{}",
    **{
        f"sub-{label}/func/sub-{label}_run-{number}_events.tsv": f"{label} {number}".encode() * 50
        for label in SUBJECTS
        for number in range(20)
    },
    **{f"sub-{label}/anat/sub-{label}_T1w.nii": label.encode() * 3_000_000 for label in SUBJECTS},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    found.add(2, "--no-nanny")
    yield found
    found.stop()


@pytest.fixture
def site():
    with KillingSite() as found:
        found.fill(FILES, etag='"v1"')
        yield found


@pytest.fixture
def plan(site, tmp_path):
    made = plan_over(site.url, FILES, tags=False)
    header = {"manifest_sha256": "0" * 64, "study": "x", "roots": made.header.roots}
    path = tmp_path / "x.plan.jsonl"
    write_plan(Plan.build(made.entries, subjects=SUBJECTS, **header), path)
    return path


def start(plan, *options):
    command = [sys.executable, "-m", "bidsplan", "fetch", "--json", "--allow-protocol", "http"]
    command += [*options, str(plan), str(plan.parent / "d")]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def finish(processes):
    """Wait for processes; give the rows of each, and their exit codes."""
    said = [process.communicate() for process in processes]
    rows = [[json.loads(line) for line in output.splitlines()] for output, _ in said]
    return rows, [process.returncode for process in processes], [error for _, error in said]


def told(rows, action=None):
    return Counter(
        row["path"]
        for some in rows
        for row in some
        if "path" in row and (action is None or row.get("action") == action)
    )


def check(plan):
    folder = plan.parent / "d"
    assert tree(folder) == FILES
    assert run(["verify", "--quiet", str(plan), str(folder)]) == 0


def wait_until(reached):
    end = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def ways(address):
    return {
        "one": [()],
        "shards": [("--shard", f"{number}/4") for number in range(1, 5)],
        "slices": [("--subject", label) for label in SUBJECTS[:3]]
        + [sum((("--subject", label) for label in SUBJECTS[3:]), ())],
        "dask": [("--dask", address)],
    }


@pytest.mark.parametrize("way", ways(""))
def test_each_way_makes_the_same_tree_and_reports_each_file_once(site, plan, cluster, way):
    site.killed = 0
    rows, codes, said = finish([start(plan, *some) for some in ways(cluster.address)[way]])
    assert set(codes) == {0}, said
    check(plan)
    assert not leftovers(plan.parent / "d")
    assert told(rows, "fetch") == dict.fromkeys(FILES, 1)
    shared = {"dataset_description.json"} if way == "slices" else set()
    assert {path for path, number in told(rows).items() if number > 1} <= shared


@pytest.mark.parametrize("way", ["shards", "slices"])
def test_a_killed_process_leaves_nothing_wrong_and_is_made_up_for(site, plan, cluster, way):
    site.left = len(FILES) // 2
    parts = ways("")[way]
    processes = [start(plan, *some) for some in parts]
    _, codes, said = finish(processes)
    assert sorted(codes) == [-signal.SIGKILL] + [0] * (len(codes) - 1), said
    found = tree(plan.parent / "d")
    assert found.items() < FILES.items()
    rows, codes, said = finish([start(plan, *parts[codes.index(-signal.SIGKILL)])])
    assert codes == [0], said
    check(plan)
    assert told(rows, "fetch") >= Counter(FILES.keys() - found.keys())


@pytest.mark.parametrize("nanny", ["--no-nanny", "--nanny"])
def test_a_killed_worker_is_made_up_for_in_the_same_run(site, plan, cluster, nanny):
    if nanny == "--nanny":
        # Its nanny starts another one in its place.
        cluster.client.retire_workers(list(cluster.client.nthreads()))
        cluster.add(2, nanny)
    before = set(cluster.pids())
    site.left = len(FILES) // 2
    rows, codes, said = finish([start(plan, "--dask", cluster.address)])
    assert codes == [0], said
    assert site.killed in before
    check(plan)
    assert told(rows) == dict.fromkeys(FILES, 1)
    summary = rows[0][-1]
    # What the killed worker brought of files that another one fetched is not counted.
    assert summary["bytes"] + summary["resumed"] <= sum(map(len, FILES.values()))
    if nanny == "--no-nanny":
        cluster.add(1, nanny)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_stop_when_the_client_does(site, plan, cluster, number):
    """A file is held back, and what waits for it ends; then another run finishes the work."""
    site.killed, asked, going = 0, threading.Event(), threading.Event()
    answer = site.answer

    def held(handler):
        if "run-5" in handler.path:
            asked.set()
            assert going.wait(30)
        answer(handler)

    site.answer = held
    process = start(plan, "--dask", cluster.address)
    assert asked.wait(30)
    process.send_signal(number)
    wait_until(lambda: not any(cluster.client.processing().values()))
    going.set()
    # Also of what the scheduler has forgotten; a lambda need not be there to be imported.
    active = cluster.client.run
    wait_until(lambda: not any(active(lambda dask_worker: dask_worker.active_threads).values()))
    assert finish([process])[1] == [130 if number == signal.SIGINT else -number]
    assert tree(plan.parent / "d").items() < FILES.items()
    assert finish([start(plan, "--dask", cluster.address)])[1] == [0]
    check(plan)
