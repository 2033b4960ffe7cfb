"""A share that several workers fetch is reported as the last of them leaves it."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.errors import DestinationError, UnreachableError
from bidsplan.events import Action, Decided, Failed, Finished, Resumable, Skipped
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod, VerifyMode
from bidsplan.storage import Access
from bidsplan.transfer import cluster_worker
from bidsplan.transfer.cluster_share import Share, read_report
from bidsplan.transfer.cluster_worker import ACTIONS, CHECKS, Report, Task, compressed
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.options import Options
from plans import local_plan

distributed = pytest.importorskip("distributed")

ENTRIES = tuple(Entry(path=name, key=name, size=100, reason="selected") for name in "ab")
FETCH = ACTIONS.index(Action.FETCH)
DECIDED = [(number, FETCH) for number in range(len(ENTRIES))]


def report(attempt, *, finished=(), others=(), over=False, decided=DECIDED):
    proof = CHECKS.index(CheckMethod.SIZE)
    rows = [(number, FETCH, proof, 100, False, False) for number in finished]
    return Report(1, attempt, decided, {}, rows, pickle.dumps(list(others)), over)


def failed(number, text="timed out"):
    return Failed(entry=ENTRIES[number], error=DestinationError(text))


def of_type(events, *types):
    return [event for event in events if isinstance(event, types)]


def test_a_second_worker_makes_up_for_what_the_first_one_failed_at():
    share = Share(ENTRIES)
    first = report("x", others=[failed(0), Resumable(bytes=60)], over=True)
    events = list(share.events(first))
    assert share.resumable == 60
    events += share.events(report("y", finished=[0, 1], over=True))
    events += share.rest(None)
    assert len(of_type(events, Decided)) == 2
    assert [event.entry.path for event in of_type(events, Finished)] == ["a", "b"]
    assert not of_type(events, Failed, Skipped, Resumable)
    assert share.resumable == 0


def test_what_no_worker_finished_is_reported_as_the_last_one_says():
    share = Share(ENTRIES)
    others = [failed(0, "first"), Resumable(bytes=60)]
    assert of_type(share.events(report("x", others=others, over=True)), Failed) == []
    list(share.events(report("y", others=[failed(0, "second"), Resumable(bytes=7)], over=True)))
    # The first worker was only taken for lost.
    list(share.events(report("x", others=[Resumable(bytes=1)])))
    assert (share.resumable, share.under_way) == (7, False)
    first, second = share.rest("its worker died")
    assert (str(first.error), second.entry.path) == ("second", "b")
    assert isinstance(second.error, UnreachableError)


reports = st.lists(
    st.builds(
        report,
        st.sampled_from("xyz"),
        finished=st.lists(st.integers(0, 1)),
        others=st.lists(st.integers(0, 1).map(failed)),
        over=st.booleans(),
    )
)


@given(reports)
def test_each_file_ends_once_and_well_if_any_worker_finished_it(some):
    share, events = Share(ENTRIES), []
    for each in some:
        events += share.events(each)
    events += share.rest(None)
    ends = of_type(events, Finished, Failed, Skipped)
    assert sorted(event.entry.path for event in ends) == ["a", "b"]
    finished = {number for each in some for number, *_ in each.finished}
    assert {event.entry for event in of_type(ends, Finished)} == {ENTRIES[n] for n in finished}
    assert len(of_type(events, Decided)) == (2 if some else 0)


@pytest.mark.parametrize("closing", [False, True])
def test_a_worker_that_is_closed_reports_no_failures(closing, tmp_path, monkeypatch):
    plan = local_plan(tmp_path, {"a.json": b"1", "b.json": b"2"})
    (tmp_path / "source" / "a.json").unlink()
    sent = []
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(address="tcp://x"))
    worker = SimpleNamespace(log_event=lambda _topic, data: sent.append(read_report(data)))

    class Stopping:
        stopped = closing

        def __call__(self):
            return False

    task = Task(
        share=1,
        lines=compressed(plan.lines()),
        destination=str(tmp_path / "d"),
        base=str(tmp_path),
        options=Options(Existing.KEEP, VerifyMode.FULL),
        access=Access(),
        topic="x",
    )
    cluster_worker._fetch(task, worker, Stopping())
    others = [event for each in sent if each.others for event in pickle.loads(each.others)]
    assert sent[-1].over
    reported = [event.entry.path for event in of_type(others, Failed, Skipped)]
    assert reported == ([] if closing else ["a.json"])


def test_a_lost_scheduler_is_named_with_what_to_do(tmp_path):
    plan = local_plan(tmp_path, {"a.json": b"1"})
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        client = distributed.Client(cluster, set_as_default=False)
        fetching = materialise(plan, tmp_path / "d", client=client)
        client.close()
        with pytest.raises(UnreachableError, match=r"scheduler was lost.*start it again"):
            list(fetching)
