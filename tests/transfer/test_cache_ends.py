"""How runs end that add to a content cache: closed, stopped, killed, or by a defect."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event, Timer

import pytest

from bidsplan.destination import content_cache
from bidsplan.destination.content_files import ContentFiles
from bidsplan.destination.content_queue import ContentQueue
from bidsplan.destination.directory import write_all
from bidsplan.events import Decided, Finished, Warned
from bidsplan.plan import Plan
from bidsplan.plan import file as plan_file
from bidsplan.plan.integrity import check_whole
from bidsplan.storage import Access
from bidsplan.transfer import scheduler
from bidsplan.transfer.materialisation import materialise
from caches import contents, damaged
from plans import leftovers, plan_over
from servers import Bucket

FILES = {f"sub-01/f{number:02}.bin": bytes([number]) * 2000 for number in range(12)}
PROBES = 40


@pytest.fixture(scope="module")
def study(moto):
    bucket = Bucket(moto.url, f"ends{os.getpid()}")
    bucket.fill(FILES)
    return plan_over(f"s3://{bucket.name}", FILES)


@pytest.fixture
def access(moto):
    return Access(endpoint_url=moto.url, anonymous=True)


class SlowDisk:
    """A cache's disk that takes the first content only when it is let."""

    def __init__(self, monkeypatch):
        self.begun, self.let, self.written = Event(), Event(), Event()
        self._number = 0
        monkeypatch.setattr(content_cache, "write_all", self._write)

    def _write(self, descriptor, data):
        self._number += 1
        if self._number == 1:
            self.begun.set()
            self.let.wait(20)
        write_all(descriptor, data)
        self.written.set()


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_a_run_that_ends_while_it_adds_touches_no_other_directory(
    study, access, tmp_path, monkeypatch, how, patient
):
    disk = SlowDisk(monkeypatch)
    if patient:
        Timer(0.5, disk.let.set).start()
    else:
        monkeypatch.setattr(scheduler, "_PATIENCE", 0.1)
    stopping = disk.begun.is_set if how == "stopped" else lambda: False
    cache = tmp_path / "cache"
    run = materialise(study, tmp_path / "a", access=access, cache=cache, stopping=stopping)
    for event in run:
        if isinstance(event, Finished):
            disk.begun.wait(20)
            if how == "closed":
                run.close()
    assert disk.begun.is_set()
    assert disk.let.is_set() is patient
    # What is opened next gets the numbers of descriptors that were closed.
    other = tmp_path / "other"
    other.mkdir()
    names = [f"{number:x}" for number in range(PROBES)]
    for name in names:
        (other / name).write_bytes(b"precious")
    with ExitStack() as opened:
        for _ in range(PROBES):
            opened.callback(os.close, os.open(other, os.O_RDONLY | os.O_DIRECTORY))
        disk.let.set()
        assert disk.written.wait(20)
        for thread in threading.enumerate():
            if thread.name.startswith("bidsplan_"):
                thread.join(20)
    assert {path.name for path in other.iterdir()} == set(names)
    assert damaged(cache) == []
    assert leftovers(cache) == []


def test_names_of_partials_are_not_those_of_other_directories(tmp_path):
    files = ContentFiles(str(tmp_path), create=True)
    assert len({files.new_name() for _ in range(100)}) == 100
    assert len(files.new_name()) == 32
    files.close()


def test_what_nobody_expects_ends_the_queue_and_is_kept():
    entry = plan_over("s3://x", {"a": b"x"}).entries[0]
    added = []

    def add(*_):
        added.append(1)
        raise ZeroDivisionError("here")

    queue = ContentQueue(add)
    with ThreadPoolExecutor(1) as pool:
        assert queue.put(entry, check_whole(entry, b"x"), b"x", pool.submit)
        queue.wait(lambda: False)
        assert str(queue.trouble) == "here"
        # Nothing more is added.
        assert queue.put(entry, check_whole(entry, b"x"), b"x", pool.submit)
        queue.wait(lambda: False)
    assert added == [1]


def test_a_plan_that_changes_meanwhile_ends_adding_and_not_the_run(
    study, access, tmp_path, monkeypatch
):
    """Where the disk is nearly full, the plan is read again; here another one is there by then."""
    monkeypatch.setattr(plan_file, "MOST_IN_MEMORY", 2)
    monkeypatch.setattr(ContentFiles, "free_bytes", lambda _: 10)
    path = tmp_path / "p.plan.jsonl"
    plan_file.write_plan(study, path)
    events = []
    stored = plan_file.StoredPlan(path)
    for event in materialise(stored, tmp_path / "a", access=access, cache=tmp_path / "cache"):
        if not events and isinstance(event, Decided):
            plan_file.write_plan(Plan.rebuild(study.header, study.entries[:5]), path)
        events.append(event)
    assert len([event for event in events if isinstance(event, Finished)]) == len(FILES)
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert "content cache" in str(warned.problem)
    assert contents(tmp_path / "cache") == {}


def test_what_a_closed_run_added_is_counted(study, access, tmp_path):
    cache = tmp_path / "cache"
    run = materialise(study, tmp_path / "a", access=access, cache=cache)
    for event in run:
        if isinstance(event, Finished) and contents(cache):
            run.close()
    assert contents(cache)
    files = ContentFiles(str(cache), create=False)
    assert files.estimate() == 4096 * len(contents(cache))
    files.close()
