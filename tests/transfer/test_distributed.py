"""A plan fetched by the workers of a dask cluster."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.cli.main import run
from bidsplan.errors import (
    DestinationError,
    DiskFullError,
    ExistingFileError,
    FailedFile,
    FetchFailed,
    Problem,
    SelectionError,
    ThrottledError,
    UsageError,
)
from bidsplan.events import Action, Failed, Finished, Skipped, Waiting, Warned
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from bidsplan.progress import Counts
from bidsplan.storage import Access
from bidsplan.transfer.cluster_share import FileBytes
from bidsplan.transfer.materialisation import materialise
from caches import proved_plan
from plans import failures, local_plan, plan_of, tree

distributed = pytest.importorskip("distributed")

FILES = {
    **{f"sub-{n:03}/anat/sub-{n:03}_T1w.json": str(n).encode() * 10 for n in range(120)},
    **{f"sub-{n:03}/anat/sub-{n:03}_T1w.nii": str(n).encode() * 700_000 for n in range(6)},
}


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def threads():
    """Start a cluster of two threads of this process."""
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield cluster, client


def ended(events):
    return Counter(e.entry.path for e in events if isinstance(e, Finished | Failed | Skipped))


def test_workers_make_what_one_run_makes(client, tmp_path):
    plan = local_plan(tmp_path, FILES)
    events = list(materialise(plan, tmp_path / "d", client=client))
    assert not failures(events)
    assert tree(tmp_path / "d") == FILES
    assert ended(events) == dict.fromkeys(FILES, 1)
    counts = Counts()
    for event in events:
        counts.add(event)
    assert counts.bytes == sum(map(len, FILES.values()))
    # Where it can block a worker; see `stop_sampling`.
    sampled = client.run(lambda dask_worker: dask_worker.periodic_callbacks["profile"].is_running())
    assert any(sampled.values()) == (sys.version_info >= (3, 11, 12))


def test_a_worker_that_dies_is_replaced(client, tmp_path):
    plan = local_plan(tmp_path, FILES)
    pids = list(client.run(os.getpid).values())
    fetching = materialise(plan, tmp_path / "d", client=client)
    events = [next(fetching)]
    os.kill(pids[0], signal.SIGKILL)
    events += fetching
    assert not failures(events)
    assert tree(tmp_path / "d") == FILES
    assert ended(events) == dict.fromkeys(FILES, 1)


def test_a_run_that_is_stopped_reports_each_file_and_can_be_finished(client, tmp_path):
    plan = local_plan(tmp_path, FILES)
    events = list(materialise(plan, tmp_path / "d", client=client, stopping=lambda: True))
    assert ended(events) == dict.fromkeys(FILES, 1)
    assert sum(isinstance(event, Skipped) for event in events) > len(FILES) / 2
    assert not failures(materialise(plan, tmp_path / "d", client=client))
    assert tree(tmp_path / "d") == FILES


def test_an_error_of_the_run_is_raised_and_one_of_a_file_is_reported(client, tmp_path):
    plan = local_plan(tmp_path, FILES)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DestinationError, match=r"expected a directory \(worker tcp://"):
        list(materialise(plan, tmp_path / "file", client=client))
    path = next(iter(FILES))
    (tmp_path / "d" / path).parent.mkdir(parents=True)
    (tmp_path / "d" / path).write_text("another file")
    events = list(materialise(plan, tmp_path / "d", client=client))
    assert {at: type(error) for at, error in failures(events).items()} == {path: ExistingFileError}


def test_an_endpoint_with_a_password_is_not_sent(client, tmp_path):
    access = Access(endpoint_url="https://me:password@example.org")
    with pytest.raises(UsageError, match="not sent to other machines") as caught:
        list(materialise(local_plan(tmp_path), tmp_path / "d", client=client, access=access))
    assert "password@" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ThrottledError("slow down"),
        SelectionError(problems=[Problem(message="nothing", at=("a", 1), hint="look")]),
        FetchFailed("x", failed=[FailedFile("a", UsageError("b"))], skipped=["c"]),
    ],
)
def test_errors_survive_the_way_from_a_worker(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.problems == error.problems
    assert vars(copy).keys() == vars(error).keys()


def test_the_command_line_fetches_by_a_cluster(client, tmp_path, capsys):
    write_plan(local_plan(tmp_path, FILES), tmp_path / "x.plan.jsonl")
    address = client.scheduler.address
    paths = [str(tmp_path / "x.plan.jsonl"), str(tmp_path / "d")]
    assert run(["fetch", "--dask", address, *paths]) == 0
    assert f"{len(FILES)} fetched" in capsys.readouterr().out
    assert tree(tmp_path / "d") == FILES
    assert run(["fetch", *paths]) == 0
    assert f"{len(FILES)} kept" in capsys.readouterr().out


def test_a_scheduler_that_does_not_answer_is_wrong_usage(tmp_path, capsys, monkeypatch):
    write_plan(local_plan(tmp_path), tmp_path / "x.plan.jsonl")
    paths = [str(tmp_path / "x.plan.jsonl"), str(tmp_path / "d")]
    assert run(["fetch", "--dask", "nonsense://x", *paths]) == 2
    assert "no dask scheduler answers at nonsense://x" in capsys.readouterr().err


def test_threads_of_this_process_are_a_cluster_too(tmp_path):
    plan = local_plan(tmp_path, FILES)
    with threads() as (cluster, client):
        events = list(materialise(plan, tmp_path / "d", client=client))
        [worker] = cluster.workers.values()
        sampled = worker.periodic_callbacks["profile"].is_running()
    assert ended(events) == dict.fromkeys(FILES, 1)
    assert tree(tmp_path / "d") == FILES
    # An older Python would hang now and then.
    assert sampled == (sys.version_info >= (3, 11, 9))


def test_a_run_waits_for_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("bidsplan.transfer.distributed._QUIET", 0.1)
    plan = local_plan(tmp_path, FILES)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        fetching = materialise(plan, tmp_path / "d", client=client)
        assert next(fetching) == Waiting(holder="the dask cluster has no workers")
        cluster.scale(1)
        assert ended(fetching) == dict.fromkeys(FILES, 1)
    assert tree(tmp_path / "d") == FILES


def test_two_runs_at_once_into_one_destination_report_each_file_once_each(client, tmp_path):
    """As where a worker was taken for lost: two of them fetch the same share."""
    plan = local_plan(tmp_path, FILES)
    with ThreadPoolExecutor(2) as pool:
        both = list(
            pool.map(lambda _: list(materialise(plan, tmp_path / "d", client=client)), range(2))
        )
    for events in both:
        assert ended(events) == dict.fromkeys(FILES, 1)
        assert not failures(events)
    assert tree(tmp_path / "d") == FILES
    fetched = Counter(
        e.entry.path for e in chain(*both) if isinstance(e, Finished) and e.action is Action.FETCH
    )
    assert fetched == dict.fromkeys(FILES, 1)


def test_room_is_looked_for_once_for_the_whole_plan(client, tmp_path):
    free = shutil.disk_usage(tmp_path).free
    entries = [
        Entry(path=f"{name}.nii", key=name, size=free * 3 // 5, reason="selected") for name in "ab"
    ]
    plan = plan_of(entries, str(tmp_path / "source"))
    with pytest.raises(DiskFullError, match=r"still to be fetched.*\(worker tcp://"):
        list(materialise(plan, tmp_path / "d", client=client))
    # Without the look, it is only noticed that there are no sources.
    events = list(materialise(plan, tmp_path / "d", client=client, check_space=False))
    assert ended(events) == dict.fromkeys(("a.nii", "b.nii"), 1)


def test_an_asynchronous_client_is_refused(client, tmp_path):
    async def refused():
        async with distributed.Client(client.scheduler.address, asynchronous=True) as other:
            with pytest.raises(UsageError, match="give a synchronous one"):
                list(materialise(local_plan(tmp_path), tmp_path / "d", client=other))

    asyncio.run(refused())


ENTRY = Entry(path="a", key="a", size=9, reason="selected")
MOVES = st.tuples(st.sampled_from("xyz"), st.integers(-3, 9), st.integers(-3, 9))


@given(st.lists(MOVES), st.sampled_from("xyz"))
def test_bytes_of_a_file_are_those_of_the_worker_that_finished_it(moves, last):
    moved, counts = FileBytes(), Counts()
    for attempt, came, resumed in moves:
        for event in moved.add(ENTRY, attempt, (came, resumed)):
            counts.add(event)
    for event in moved.settle(ENTRY, last):
        counts.add(event)
    own = [move for move in moves if move[0] == last]
    assert counts.bytes == sum(came for _, came, _ in own)
    assert counts.resumed == sum(resumed for *_, resumed in own)


def test_workers_use_a_content_cache_where_they_have_it(client, tmp_path):
    plan, cache = proved_plan(tmp_path / "source", FILES), tmp_path / "cache"
    events = list(materialise(plan, tmp_path / "a", client=client, cache=cache))
    assert not failures(events)
    # Each worker says that it has none; that is told once.
    told = [str(event.problem) for event in events if isinstance(event, Warned)]
    assert len(told) == 1
    assert "can't be opened: No such file or directory" in told[0]
    assert not cache.exists()
    cache.mkdir()
    list(materialise(plan, tmp_path / "b", client=client, cache=cache))
    counts = Counts()
    for event in materialise(plan, tmp_path / "c", client=client, cache=cache):
        counts.add(event)
    assert (counts.cached, counts.bytes) == (len(FILES), 0)
    assert tree(tmp_path / "c") == FILES


def test_files_of_an_earlier_plan_are_looked_for_once_for_the_whole_plan(client, tmp_path):
    fewer = {path: data for path, data in FILES.items() if path.endswith(".json")}
    folder = tmp_path / "d"
    materialised = {"find_unplanned": True, "client": client}
    assert not failures(materialise(local_plan(tmp_path, FILES), folder, **materialised))
    (folder / "sub-000/anat/sub-000_T1w.nii").write_bytes(b"changed by its user")
    events = [*materialise(local_plan(tmp_path, fewer), folder, **materialised)]
    [warned] = [event for event in events if isinstance(event, Warned)]
    assert warned.problem.message == "5 files of an earlier plan are still there"
    assert not failures(events)
    events = [*materialise(local_plan(tmp_path, FILES), folder, **materialised)]
    assert not [event for event in events if isinstance(event, Warned)]


def test_paths_that_the_destination_takes_for_one_are_compared_over_all_shares(
    tmp_path, monkeypatch
):
    real = os.stat

    def folding(path, *arguments, **options):
        """Look names up as a file system does that ignores case."""
        return real(".probe-a" if path == ".probe-A" else path, *arguments, **options)

    clashing = {"sub-000/anat/sub-000_T1W.json": b"x", "SUB-119/anat/sub-119_T1w.json": b"y"}
    plan = local_plan(tmp_path, FILES | clashing)
    monkeypatch.setattr(os, "stat", folding)
    with threads() as (_, client):
        events = list(materialise(plan, tmp_path / "d", client=client))
    # The first in the plan's order keeps its path.
    refused = {"sub-000/anat/sub-000_T1w.json", "sub-119/anat/sub-119_T1w.json"}
    assert {(path, error.help_code) for path, error in failures(events).items()} == {
        (path, "BP708") for path in refused
    }
    assert ended(events) == dict.fromkeys(FILES | clashing, 1)
    assert set(tree(tmp_path / "d")) == (FILES | clashing).keys() - refused
