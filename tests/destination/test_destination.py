"""The destination: nothing leads out of it, and a path holds what was checked or what it held."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time

import pytest

from bidsplan.destination.local import LocalDestination
from bidsplan.errors import DestinationError, ExistingFileError, UnsafePathError
from plans import fetch, leftovers, local_plan


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "d"
    path.mkdir()
    return path


@pytest.fixture
def destination(folder):
    opened = LocalDestination(str(folder), create=False)
    yield opened
    opened.close()


def put(destination, path, data=b"new"):
    with destination.partial() as partial:
        os.write(partial.descriptor, data)
        return destination.rename_into_place(partial, path, replace=True)


def test_a_file_lands_whole_and_leaves_nothing_behind(folder, destination):
    state = put(destination, "a/b/c.txt")
    found = (folder / "a" / "b" / "c.txt").stat()
    assert (state.size, state.identity) == (found.st_size, found.st_mtime_ns)
    assert destination.state("a/b/c.txt") == state
    assert leftovers(folder) == []


def test_what_does_not_land_is_removed(folder, destination):
    def fail():
        with destination.partial() as partial:
            os.write(partial.descriptor, b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert leftovers(folder) == []


def test_the_root_itself_may_be_a_link(tmp_path, folder):
    (tmp_path / "link").symlink_to(folder)
    opened = LocalDestination(str(tmp_path / "link"), create=True)
    put(opened, "a.txt")
    opened.close()
    assert (folder / "a.txt").read_bytes() == b"new"


@pytest.mark.parametrize("place", ["a", "a/b"])
def test_no_link_is_followed_on_the_way(tmp_path, folder, destination, place):
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).symlink_to(outside)
    for act in (put, LocalDestination.state):
        with pytest.raises(UnsafePathError) as caught:
            act(destination, "a/b/c.txt")
        assert str(caught.value) == (
            f"{folder}/a/b/c.txt: a link or a file is where a directory should be; nothing "
            "was written through it"
        )
    with pytest.raises(UnsafePathError), destination.reading("a/b/c.txt"):
        pass
    assert [path.name for path in outside.rglob("*")] == ["b"]


def test_a_link_under_the_files_own_name_is_replaced_and_not_written_through(
    tmp_path, folder, destination
):
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (folder / "a.txt").symlink_to(target)
    put(destination, "a.txt")
    assert target.read_bytes() == b"mine"
    assert not (folder / "a.txt").is_symlink()


def test_a_directory_is_never_replaced(folder, destination):
    (folder / "a.txt").mkdir()
    with pytest.raises(ExistingFileError):
        put(destination, "a.txt")
    assert (folder / "a.txt").is_dir()
    assert leftovers(folder) == []


@pytest.mark.parametrize("existing", [None, b"old"])
def test_a_name_that_the_file_system_refuses_leaves_all_as_it_was(folder, destination, existing):
    if existing is not None:
        (folder / "a.txt").write_bytes(existing)
    with pytest.raises(DestinationError, match="File name too long"):
        put(destination, "x" * 300)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [".bidsplan", *(["a.txt"] if existing else [])]
    )


def partials(folder):
    return folder / ".bidsplan" / "partial"


def test_partials_of_a_live_run_are_left_alone(folder, destination):
    with destination.partial() as partial:
        other = LocalDestination(str(folder), create=False)
        put(other, "b.txt")
        other.close()
        assert len(leftovers(folder)) == 1
        destination.rename_into_place(partial, "a.txt", replace=True)
    assert (folder / "a.txt").exists()


def left_behind(folder, name, *, age=0.0):
    path = partials(folder) / name / "x"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    then = time.time() - age
    for changed in (path, path.parent):
        os.utime(changed, (then, then))
    return path


def test_partials_of_this_machines_dead_runs_are_removed(folder, destination):
    put(destination, "a.txt")
    [run] = partials(folder).iterdir()
    path = left_behind(folder, f"{run.name.split('-')[0]}-0123456789abcdef")
    other = LocalDestination(str(folder), create=False)
    put(other, "b.txt")
    other.close()
    assert not path.parent.exists()


def test_another_machines_partials_are_removed_after_a_day(folder, destination):
    young = left_behind(folder, "00000000-young", age=3600)
    busy = left_behind(folder, "00000000-busy", age=2 * 24 * 3600)
    os.utime(busy)
    old = left_behind(folder, "00000000-old", age=2 * 24 * 3600)
    put(destination, "a.txt")
    assert young.exists()
    assert busy.exists()
    assert not old.parent.exists()


def test_without_locks_dead_runs_are_known_by_their_age(folder, destination, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    put(destination, "a.txt")
    [run] = partials(folder).iterdir()
    machine = run.name.split("-")[0]
    monkeypatch.setattr(fcntl, "flock", refuse)
    young = left_behind(folder, f"{machine}-young", age=3600)
    old = left_behind(folder, f"{machine}-old", age=2 * 24 * 3600)
    other = LocalDestination(str(folder), create=False)
    put(other, "b.txt")
    other.close()
    assert young.exists()
    assert not old.parent.exists()


def test_runs_that_start_together_do_not_sweep_each_other_away(folder):
    errors = []

    def work(barrier, number):
        barrier.wait()
        try:
            opened = LocalDestination(str(folder), create=False)
            put(opened, f"{number}.txt")
            opened.close()
        except DestinationError as error:
            errors.append(error)

    for _ in range(25):
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=work, args=(barrier, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert list(partials(folder).iterdir()) == []


def test_a_run_that_is_swept_before_it_is_locked_begins_again(folder, destination, monkeypatch):
    lock, swept = fcntl.flock, []

    def sweep_first(descriptor, how):
        if how == fcntl.LOCK_SH and not swept:
            swept.extend(partials(folder).iterdir())
            swept[0].rmdir()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    put(destination, "a.txt")
    assert len(swept) == 1
    assert (folder / "a.txt").read_bytes() == b"new"


def test_nothing_lands_after_closing(folder):
    opened = LocalDestination(str(folder), create=False)
    with opened.partial() as partial:
        os.write(partial.descriptor, b"late")
        opened.close(busy=True)
        with pytest.raises(DestinationError):
            opened.rename_into_place(partial, "a.txt", replace=True)
    assert not (folder / "a.txt").exists()
    opened.close()


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    plan = local_plan(tmp_path)
    with pytest.raises(DestinationError, match=r"^/proc/nowhere: can't be opened: "):
        fetch(plan, "/proc/nowhere")
    with pytest.raises(DestinationError, match=r"^/proc/self/fdinfo/\.bidsplan: can't be written"):
        fetch(plan, "/proc/self/fdinfo")


def test_a_run_that_was_swept_and_made_anew_is_not_swept_by_who_looked_before(
    folder, destination, monkeypatch
):
    """The directory that another run locks may be one that has lost its name to a new one."""
    put(destination, "a.txt")
    [mine] = partials(folder).iterdir()
    machine = mine.name.split("-")[0]
    left = left_behind(folder, f"{machine}-0123456789abcdef")
    lock, held = fcntl.flock, []

    def replace_first(descriptor, how):
        if (
            how & fcntl.LOCK_EX
            and not held
            and os.path.samestat(os.fstat(descriptor), left.parent.stat())
        ):
            # A third run sweeps it, and its own run makes it anew and locks it.
            left.unlink()
            left.parent.rmdir()
            left.parent.mkdir()
            held.append(os.open(left.parent, os.O_RDONLY))
            lock(held[0], fcntl.LOCK_SH)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    other = LocalDestination(str(folder), create=False)
    put(other, "b.txt")
    other.close()
    assert left.parent.is_dir()
    os.close(held[0])
