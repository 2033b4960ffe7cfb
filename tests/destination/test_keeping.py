"""Large files go on from where a run that was stopped or killed had them, and never as others."""

from __future__ import annotations

import fcntl
import functools
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from bidsplan.cli.main import run
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.resume import resume_key
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from plans import leftovers, md5, plan_of, tree
from servers import Rule

KEY = "sub-1/dwi/sub-1_dwi.nii.gz"
BODY = random.Random(0).randbytes(12 << 20)
OTHERS = {"README": b"read me", "sub-1/dwi/sub-1_dwi.json": b"{}"}
_DEADLINE = 20.0


@pytest.fixture(params=["obstore", "fsspec"])
def transport(request):
    return request.param


def until(holds):
    """Wait for something; a deadline, and no sleep for luck."""
    end = time.monotonic() + _DEADLINE
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


class Site:
    """A bucket behind a proxy, a plan of it, and a destination."""

    def __init__(self, bucket, proxy, folder, transport):
        self.bucket, self.proxy, self.folder = bucket, proxy, folder / "d"
        self.plan = folder / "p.plan.jsonl"
        self.files = {**OTHERS, KEY: BODY}
        self.command = ["fetch", str(self.plan), str(self.folder), "--json"]
        self.command += ["--transport", transport, "--endpoint-url", proxy.url]
        bucket.fill(self.files)
        self.write_plan(self.files)

    def write_plan(self, files):
        entries = [
            Entry(path=key, key=key, size=len(data), etag=md5(data), reason="selected")
            for key, data in files.items()
        ]
        write_plan(plan_of(entries, f"s3://{self.bucket.name}"), self.plan)

    def interrupt(self, number):
        """Stop a run with half of the large file there; give its partial and the exit code."""
        self.proxy.rules.append(Rule("stall", KEY, times=1))
        process = subprocess.Popen(
            [sys.executable, "-m", "bidsplan", *self.command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: [path for path in leftovers(self.folder) if path.stat().st_size >= 5 << 20])
        until(lambda: tree(self.folder) == OTHERS)
        process.send_signal(number)
        _, said = process.communicate(timeout=_DEADLINE)
        [partial] = leftovers(self.folder)
        assert BODY.startswith(partial.read_bytes())
        return partial, process.returncode, said

    def break_off(self, capsys):
        """Let a run give up, with most of the large file there; give its partial."""
        self.proxy.rules.append(Rule("cut", KEY))
        assert run(self.command) == 1
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert summary["failures"] == {"unreachable": 1}
        self.proxy.rules.clear()
        [partial] = leftovers(self.folder)
        assert partial.parent.name == "kept"
        assert len(BODY) / 2 <= partial.stat().st_size < len(BODY)
        assert BODY.startswith(partial.read_bytes())
        return partial

    def fetch(self, capsys):
        """Fetch in this process; give the summary, and the conditions of requests for the file."""
        asked = len(self.proxy.requests)
        code = run(self.command)
        told = capsys.readouterr()
        summary = json.loads(told.out.splitlines()[-1])
        assert (code, summary["failures"]) == (0, {})
        assert tree(self.folder) == self.files
        assert leftovers(self.folder) == []
        pairs = zip(self.proxy.requests[asked:], self.proxy.conditions[asked:], strict=True)
        return summary, [condition for (_, path), condition in pairs if KEY in path]


@pytest.fixture
def site(bucket, proxy, tmp_path, transport):
    return Site(bucket, proxy, tmp_path, transport)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_process_asks_for_the_rest(site, number, capsys):
    partial, code, said = site.interrupt(number)
    there = partial.stat().st_size
    if number == signal.SIGTERM:
        # In time, although the connection is silent.
        assert (code, partial.parent.name) == (143, "kept")
        assert "stopped; finished files are kept; run the same command to continue" in said
    summary, asked = site.fetch(capsys)
    assert asked == [(f"bytes={there}-", f'"{md5(BODY)}"')] or (
        # Some clients say where a range ends.
        asked == [(f"bytes={there}-{len(BODY) - 1}", f'"{md5(BODY)}"')]
    )
    assert (summary["bytes"], summary["resumed"]) == (len(BODY) - there, there)
    assert site.proxy.sent < 1.1 * sum(map(len, site.files.values()))


def test_a_run_that_gave_up_is_gone_on_from(site, capsys):
    there = site.break_off(capsys).stat().st_size
    summary, asked = site.fetch(capsys)
    assert (summary["bytes"], summary["resumed"], len(asked)) == (len(BODY) - there, there, 1)


@pytest.fixture
def elsewhere(site, monkeypatch):
    """Kill a run, and go on as another machine, whose locks say nothing of it; give its partial."""
    partial, _, _ = site.interrupt(signal.SIGKILL)
    monkeypatch.setattr("bidsplan.destination.resume.boot_id", lambda: "00000000")
    return partial


def test_another_machine_goes_on_too(site, elsewhere, capsys):
    there, then = elsewhere.stat().st_size, time.time() - 3600
    os.utime(elsewhere, (then, then))
    summary, asked = site.fetch(capsys)
    assert (summary["resumed"], len(asked)) == (there, 1)


@pytest.mark.parametrize("transport", ["obstore"])
def test_what_another_machine_may_still_write_is_copied_and_left(site, elsewhere, capsys):
    before = elsewhere.stat()
    assert run(site.command) == 0
    assert tree(site.folder) == site.files
    assert (elsewhere.stat().st_ino, elsewhere.stat().st_size) == (before.st_ino, before.st_size)
    assert leftovers(site.folder) == [elsewhere]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["resumed"] == before.st_size


def replaced(site, body):
    site.bucket.put(KEY, body)
    site.files[KEY] = body
    site.write_plan(site.files)


def test_another_object_begins_anew_and_the_old_ones_partial_goes(site, capsys):
    site.break_off(capsys)
    replaced(site, random.Random(1).randbytes(len(BODY)))
    summary, asked = site.fetch(capsys)
    assert summary["resumed"] == 0
    assert {first for first, _ in asked} <= {"bytes=0-", f"bytes=0-{len(BODY) - 1}", None}


def test_a_source_that_changed_fails_and_its_partial_goes(site, capsys):
    site.break_off(capsys)
    site.bucket.put(KEY, random.Random(1).randbytes(len(BODY)))
    assert run(site.command) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failures"] == {"source-changed": 1}
    assert leftovers(site.folder) == []
    assert tree(site.folder) == OTHERS


def damage(partial, tmp_path):
    with partial.open("r+b") as file:
        file.seek(1000)
        file.write(b"other bytes")


def lengthen(partial, tmp_path):
    partial.write_bytes(bytes(len(BODY) + 1))


def link(partial, tmp_path, how):
    (tmp_path / "outside").write_bytes(BODY[:1000])
    partial.unlink()
    getattr(partial, how)(tmp_path / "outside")


def make_fifo(partial, tmp_path):
    partial.unlink()
    os.mkfifo(partial)


def make_directory(partial, tmp_path):
    partial.unlink()
    partial.mkdir()


def make_executable(partial, tmp_path):
    partial.chmod(0o4777)


HOSTILE = {
    "damaged": damage,
    "too long": lengthen,
    "a symlink": functools.partial(link, how="symlink_to"),
    "a hard link": functools.partial(link, how="hardlink_to"),
    "a FIFO": make_fifo,
    "a directory": make_directory,
    "executable": make_executable,
}


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("transport", ["obstore"])
def test_a_hostile_partial_costs_a_new_beginning(site, tmp_path, spoil, capsys):
    partial = site.break_off(capsys)
    spoil(partial, tmp_path)
    assert run(site.command) == 0
    assert tree(site.folder) == site.files
    if (tmp_path / "outside").exists():
        assert (tmp_path / "outside").read_bytes() == BODY[:1000]
    target = site.folder / KEY
    assert not target.is_symlink()
    assert (target.stat().st_nlink, target.stat().st_mode & 0o7111) == (1, 0)


@pytest.mark.parametrize("transport", ["obstore"])
def test_two_runs_that_see_no_lock_do_not_share_a_partial(site, capsys):
    site.break_off(capsys)
    lock = site.folder / ".bidsplan" / "lock"
    lock.unlink()
    lock.mkdir()
    command = [sys.executable, "-m", "bidsplan", *site.command]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=_DEADLINE) for process in runs] == [0, 0]
    assert tree(site.folder) == site.files
    assert leftovers(site.folder) == []


@pytest.fixture
def destination(tmp_path):
    opened = LocalDestination(str(tmp_path / "d"), create=True)
    yield opened
    opened.close()


NAME = resume_key("x.bin", "s3://b", 3)


def leave(destination, data=b"half", name=NAME):
    with destination.resumable_partial(name) as partial:
        os.write(partial.descriptor, data)
        partial.unfinished = True


def test_what_holds_nothing_or_failed_is_not_kept(tmp_path, destination):
    leave(destination, b"")
    with destination.resumable_partial(NAME) as partial:
        os.write(partial.descriptor, b"half")
    assert leftovers(tmp_path / "d") == []


def test_of_two_runs_one_takes_up_a_partial(tmp_path, destination):
    leave(destination)
    other = LocalDestination(str(tmp_path / "d"), create=False)
    with destination.resumable_partial(NAME) as mine, other.resumable_partial(NAME) as copy:
        assert mine.prefix == mine.descriptor
        assert copy.prefix not in {-1, copy.descriptor}
        assert not os.path.samestat(os.fstat(mine.descriptor), os.fstat(copy.descriptor))
        mine.unfinished = True
    other.close()
    assert [path.read_bytes() for path in leftovers(tmp_path / "d")] == [b"half"]


def test_a_thread_that_is_stuck_can_not_reach_what_is_kept(tmp_path):
    opened = LocalDestination(str(tmp_path / "d"), create=True)
    with opened.resumable_partial(NAME) as partial:
        os.write(partial.descriptor, b"half")
        opened.close(busy=True)
        os.write(partial.descriptor, b"late")
    [left] = leftovers(tmp_path / "d")
    assert (left.parent.name, left.read_bytes()) == ("kept", b"half")
    opened.close()


def test_partials_that_nobody_comes_back_for_go_after_a_week(tmp_path, destination):
    leave(destination, name=NAME)
    leave(destination, name=resume_key("y.bin", "s3://b", 3))
    [first, second] = leftovers(tmp_path / "d")
    then = time.time() - 8 * 24 * 3600
    os.utime(first, (then, then))
    other = LocalDestination(str(tmp_path / "d"), create=False)
    other.partials()
    other.close()
    assert leftovers(tmp_path / "d") == [second]


def test_what_may_still_be_written_to_is_never_moved(tmp_path, destination, monkeypatch):
    monkeypatch.setattr("bidsplan.destination.partial_files.boot_id", lambda: "00000000")
    with LocalDestination(str(tmp_path / "d"), create=False).resumable_partial(NAME) as elsewhere:
        os.write(elsewhere.descriptor, b"half")
        [left] = leftovers(tmp_path / "d")

        def swept(days, monkeypatch=monkeypatch):
            then = time.time() - days * 24 * 3600
            for path in (left, left.parent):
                os.utime(path, (then, then))
            with monkeypatch.context() as patch:
                # Where locks hold on one machine only, another's can be got.
                patch.setattr(fcntl, "flock", lambda *_: None)
                LocalDestination(str(tmp_path / "d"), create=False).partials()
            return leftovers(tmp_path / "d")

        assert swept(2) == [left]
        with destination.resumable_partial(NAME) as copy:
            assert os.pread(copy.prefix, 9, 0) == b"half"
            assert copy.prefix != copy.descriptor
        assert swept(8) == []


def test_a_linked_folder_of_partials_is_not_written_through(tmp_path, destination):
    destination.partials()
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "d" / ".bidsplan" / "partial" / "kept").symlink_to(outside)
    leave(destination)
    assert list(outside.iterdir()) == []
    assert leftovers(tmp_path / "d") == []
