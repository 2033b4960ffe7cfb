"""One run at a time in a destination, and none that a lock left behind could keep out."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from bidsplan.cli.main import run
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.lock import RunLock
from bidsplan.errors import LockedError
from bidsplan.events import Failed, Pruned, Waiting, Warned
from bidsplan.plan.file import write_plan
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.removal import prune
from bidsplan.transfer.verification import verify
from plans import FILES, failures, fetch, local_plan, plan_of, tree

HOLD = (
    "import sys\n"
    "from bidsplan.destination.local import LocalDestination\n"
    "from bidsplan.destination.lock import RunLock\n"
    "lock = RunLock(LocalDestination(sys.argv[1], create=True))\n"
    "print(list(lock.acquire(wait=False)), lock.exclusive, flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "d"


@pytest.fixture
def plan(tmp_path):
    plan = local_plan(tmp_path)
    write_plan(plan, tmp_path / "p.plan.jsonl")
    return plan


@pytest.fixture
def other(folder):
    """Give a run that is at work in the destination."""
    destination = LocalDestination(str(folder), create=True)
    lock = RunLock(destination)
    assert list(lock.acquire(wait=False)) == []
    yield lock
    lock.release()
    destination.close()


@pytest.fixture
def holder(folder):
    """Give a process that is at work in the destination."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "[] True\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("command", ["fetch", "prune"])
def test_a_second_run_fails_at_once_and_says_who_is_there(
    tmp_path, folder, plan, holder, command, capsys
):
    arguments = [command, str(tmp_path / "p.plan.jsonl"), str(folder), "--json"]
    assert run(arguments + ["--yes"] * (command == "prune")) == 1
    told = capsys.readouterr()
    host = os.uname().nodename
    assert f"/d: another run is active there (process {holder.pid} on {host}, since 2" in told.err
    assert "stop it, or wait for it with --wait" in told.err
    assert json.loads(told.out)["error"] == "locked"
    assert tree(folder) == {}


def test_what_writes_nothing_needs_no_lock(folder, plan, other):
    assert not failures(fetch(plan, folder, dry_run=True))
    assert all(isinstance(event, Failed) for event in verify(plan, folder))
    assert list(prune(plan, folder, dry_run=True)) == []


def test_the_lock_is_released_where_closing_is_interrupted(folder, plan, monkeypatch):
    """As where a notebook's user interrupts twice."""

    def interrupted(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bidsplan.transfer.scheduler.Scheduler.close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(plan, folder)
    assert not failures(fetch(plan, folder))


def test_a_run_that_is_waited_for_is_gone_on_from(folder, plan, other):
    events = materialise(plan, folder, wait=True)
    waiting = next(events)
    assert isinstance(waiting, Waiting)
    assert f"(process {os.getpid()} on " in waiting.holder
    other.release()
    assert not [event for event in events if isinstance(event, Waiting | Warned | Failed)]
    assert tree(folder) == FILES


def test_waiting_can_be_given_up(folder, other):
    asked = iter([False, True])
    lock = RunLock(LocalDestination(str(folder), create=False))
    [waiting] = lock.acquire(wait=True, stopping=lambda: next(asked))
    assert isinstance(waiting, Waiting)
    assert not lock.exclusive


def test_pruning_waits_too(tmp_path, folder, plan):
    fetch(plan, folder)
    lock = RunLock(LocalDestination(str(folder), create=False))
    assert list(lock.acquire(wait=False)) == []
    events = prune(plan_of([], str(tmp_path / "source")), folder, wait=True)
    assert isinstance(next(events), Waiting)
    lock.release()
    assert {event.path for event in events if isinstance(event, Pruned)} == set(FILES)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_waiting_ends_by_a_signal(tmp_path, folder, plan, other, number, code):
    command = [sys.executable, "-m", "bidsplan", "fetch", "--wait"]
    command += [str(tmp_path / "p.plan.jsonl"), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("waiting: another run is active in ")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert said.strip() == "stopped; finished files are kept; run the same command to continue"


def test_the_lock_of_a_killed_process_keeps_nobody_out(folder, plan, holder):
    holder.kill()
    holder.wait()
    note = (folder / ".bidsplan" / "lock").read_bytes()
    assert str(holder.pid).encode() in note
    assert not [e for e in fetch(plan, folder) if isinstance(e, Warned | Failed)]
    assert (folder / ".bidsplan" / "lock").read_bytes() == b""
    assert tree(folder) == FILES


def test_a_lock_that_was_removed_with_its_folder_is_made_anew(folder, plan, other):
    events = materialise(plan, folder, wait=True)
    assert isinstance(next(events), Waiting)
    shutil.rmtree(folder / ".bidsplan")
    next(events)
    with pytest.raises(LockedError):
        fetch(plan, folder)
    events.close()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_where_there_are_no_locks_it_is_a_warning(folder, plan, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    events = fetch(plan, folder)
    [warned] = [event for event in events if isinstance(event, Warned)]
    assert str(warned.problem) == (
        f"the destination cannot be locked ({os.strerror(number)}); another run at the "
        "same time is not detected; both runs write correct files; some may be fetched twice"
    )
    assert tree(folder) == FILES


@pytest.mark.parametrize("how", ["symlink_to", "hardlink_to"])
def test_no_lock_is_written_through_a_link(tmp_path, folder, plan, how):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (folder / ".bidsplan").mkdir(parents=True)
    getattr(folder / ".bidsplan" / "lock", how)(outside)
    events = fetch(plan, folder)
    assert len([event for event in events if isinstance(event, Warned)]) == 1
    assert outside.read_bytes() == b"mine"
    assert tree(folder) == FILES


@pytest.mark.parametrize(
    "note",
    [
        b"\xff\xfe",
        b"[" * 5000,
        b'{"pid":1}',
        b'{"pid":1,"host":"\\u001b[31m","since":"\\n::error::x"}',
    ],
)
def test_what_a_lock_says_is_not_trusted(tmp_path, folder, plan, other, note, capsys):
    (folder / ".bidsplan" / "lock").write_bytes(note)
    assert run(["fetch", str(tmp_path / "p.plan.jsonl"), str(folder)]) == 1
    said = capsys.readouterr().err
    assert "another run is active there" in said
    assert "\x1b[31m" not in said.removeprefix("\x1b[31m\x1b[1merror\x1b[0m")
    assert "\n::" not in said


def test_pruning_where_no_run_ever_was_leaves_no_lock(tmp_path, folder, plan):
    folder.mkdir()
    assert list(prune(plan, folder)) == []
    assert list(folder.iterdir()) == []
