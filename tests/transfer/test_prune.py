"""Pruning: what was brought and is no longer planned goes, and nobody else's files do."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidsplan.cli.main import run
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.receipt_files import compact
from bidsplan.errors import DestinationError, UsageError
from bidsplan.events import Kept, KeptReason, Pruned, PruneFailed, Warned
from bidsplan.plan import Plan, Root
from bidsplan.plan.file import write_plan
from bidsplan.transfer.removal import prune
from bidsplan.transfer.verification import verify
from plans import failures, fetch, local_plan, plan_of, plan_over, tree, write_files

FILES = {
    "README": b"hello",
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-1/anat/sub-1_T1w.nii": b"image",
    "sub-2/anat/sub-2_T1w.json": b"{}",
    "sub-2/dwi/sub-2_dwi.nii": b"diffusion",
    "sub-2/rec.zarr/.zattrs": b"{}",
}


def without(plan, start):
    """Give a plan of what does not start so, as a changed manifest would."""
    entries = [entry for entry in plan.entries if not entry.path.startswith(start)]
    return plan_of(entries, plan.header.roots[0].url)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "d"


@pytest.fixture
def plan(tmp_path, folder):
    """Fetch a study, and give the plan of less than that."""
    whole = local_plan(tmp_path, FILES)
    fetch(whole, folder)
    return without(whole, "sub-2/")


def removed(events):
    return [event.path for event in events if isinstance(event, Pruned)]


def spared(events):
    return {event.path: event.why for event in events if isinstance(event, Kept)}


def everything_below(folder):
    return sorted(
        path.relative_to(folder).as_posix() + "/" * path.is_dir()
        for path in folder.rglob("*")
        if ".bidsplan" not in path.parts
    )


def test_what_was_changed_without_its_time_and_found_wrong_stays(tmp_path, folder):
    whole, path = local_plan(tmp_path, FILES), "sub-2/dwi/sub-2_dwi.nii"
    fetch(whole, folder)
    before = (folder / path).stat()
    (folder / path).write_bytes(FILES[path][::-1])
    os.utime(folder / path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(failures(verify(whole, folder))) == [path]
    rest = without(whole, "sub-2/dwi/")
    events = fetch(rest, folder, find_unplanned=True)
    assert not [event for event in events if isinstance(event, Warned)]
    events = list(prune(rest, folder))
    assert (removed(events), spared(events)) == ([], {path: KeptReason.CHANGED})
    assert (folder / path).exists()


def test_what_is_no_longer_planned_goes_and_the_folders_it_leaves_empty(plan, folder):
    events = list(prune(plan, folder))
    assert events == [
        Pruned(path=path, bytes=len(data)) for path, data in FILES.items() if "sub-2/" in path
    ]
    assert everything_below(folder) == [
        "README",
        "sub-1/",
        "sub-1/anat/",
        "sub-1/anat/sub-1_T1w.json",
        "sub-1/anat/sub-1_T1w.nii",
    ]
    assert failures(verify(plan, folder)) == {}
    assert list(prune(plan, folder)) == []


def test_a_file_is_of_the_plan_whatever_it_holds(plan, folder):
    (folder / "README").write_bytes(b"mine")
    assert "README" not in removed(prune(plan, folder, everything=True))
    assert (folder / "README").read_bytes() == b"mine"


def test_what_others_brought_or_changed_is_told_and_stays(plan, folder):
    write_files(folder, {"sub-2/notes.txt": b"mine", "mine/a.txt": b"mine"})
    (folder / "sub-2/dwi/sub-2_dwi.nii").write_bytes(b"diffusioN, mended")
    events = list(prune(plan, folder))
    assert spared(events) == {
        "mine/a.txt": KeptReason.FOREIGN,
        "sub-2/notes.txt": KeptReason.FOREIGN,
        "sub-2/dwi/sub-2_dwi.nii": KeptReason.CHANGED,
    }
    assert removed(events) == ["sub-2/anat/sub-2_T1w.json", "sub-2/rec.zarr/.zattrs"]
    assert sorted(path for path in tree(folder) if "sub-1" not in path) == [
        "README",
        "mine/a.txt",
        "sub-2/dwi/sub-2_dwi.nii",
        "sub-2/notes.txt",
    ]


def test_a_file_of_the_same_size_that_was_written_later_is_no_longer_ours(plan, folder):
    victim = folder / "sub-2/dwi/sub-2_dwi.nii"
    victim.write_bytes(b"DIFFUSION")
    os.utime(victim, ns=(1, 1))
    assert spared(prune(plan, folder)) == {"sub-2/dwi/sub-2_dwi.nii": KeptReason.CHANGED}


def test_without_receipts_nothing_is_ours(plan, folder):
    shutil.rmtree(folder / ".bidsplan")
    before = tree(folder)
    events = list(prune(plan, folder))
    assert set(spared(events).values()) == {KeptReason.FOREIGN}
    assert removed(events) == []
    assert tree(folder) == before


def test_all_takes_the_rest_but_nothing_hidden(plan, folder):
    hidden = {
        ".git/config": b"",
        ".datalad/x": b"",
        ".bidsignore": b"",
        "sub-2/.mine": b"",
        "code/.git/HEAD": b"",
        "code/.hidden/deep/x.txt": b"",
    }
    write_files(folder, {**hidden, "sub-2/notes.txt": b"mine", "mine/deep/a.txt": b"mine"})
    (folder / "sub-2/dwi/sub-2_dwi.nii").write_bytes(b"mended")
    (folder / "empty").mkdir()
    notes = sorted(tree(folder / ".bidsplan"))
    events = list(prune(plan, folder, everything=True))
    assert spared(events) == {}
    assert tree(folder).keys() == {p for p in FILES if "sub-2/" not in p} | hidden.keys()
    assert sorted(tree(folder / ".bidsplan")) == notes
    # Only what pruning emptied goes.
    assert not (folder / "mine").exists()
    assert (folder / "empty").is_dir()


def test_a_receipt_does_not_reach_into_git_or_our_own_folder(plan, folder, monkeypatch):
    own = next((folder / ".bidsplan" / "receipts").iterdir())
    data = own.read_text()
    write_files(folder, {".git/config": b"git"})
    line = json.loads(data.splitlines()[0])
    lines = []
    for path in (".git/config", f".bidsplan/receipts/{own.name}", "../outside", "/etc/passwd"):
        found = (folder / path).stat() if (folder / path).exists() else own.stat()
        lines.append({**line, "path": path, "size": found.st_size, "mtime_ns": found.st_mtime_ns})
    (folder.parent / "outside").write_text("x")
    other = own.with_name("other.jsonl")
    other.write_text("".join(json.dumps(item) + "\n" for item in lines))
    list(prune(plan, folder))
    list(prune(plan, folder, everything=True))
    assert (folder / ".git" / "config").exists()
    assert own.read_text() == data
    assert other.exists()
    assert (folder.parent / "outside").exists()


@pytest.mark.parametrize("everything", [False, True])
def test_no_link_is_followed(plan, folder, tmp_path, everything):
    outside = tmp_path / "outside"
    write_files(outside, {"anat/sub-2_T1w.json": b"{}", "keep.txt": b"mine"})
    # As if the folder had been moved elsewhere, times and all.
    shutil.copytree(folder / "sub-2", outside, dirs_exist_ok=True)
    shutil.rmtree(folder / "sub-2")
    (folder / "sub-2").symlink_to(outside)
    (folder / "sub-3").mkdir()
    (folder / "sub-3" / "file").symlink_to(outside / "keep.txt")
    before = tree(outside)
    events = list(prune(plan, folder, everything=everything))
    assert tree(outside) == before
    links = ["sub-2", "sub-3/file"]
    assert removed(events) == (links if everything else [])
    assert spared(events) == ({} if everything else dict.fromkeys(links, KeptReason.FOREIGN))
    assert os.path.lexists(folder / "sub-2") is not everything


def test_a_link_that_takes_a_folders_place_meanwhile_is_not_followed(plan, folder, tmp_path):
    def swap(_found):
        (folder / "sub-2").rename(tmp_path / "moved")
        (folder / "sub-2").symlink_to(tmp_path / "moved")
        return True

    events = list(prune(plan, folder, agree=swap))
    assert {type(event) for event in events} == {PruneFailed}
    assert len(tree(tmp_path / "moved")) == 3
    error = events[0].error
    assert isinstance(error, DestinationError)
    assert "sub-2/anat/sub-2_T1w.json: can't be removed: " in str(error)


def test_a_file_that_changes_meanwhile_stays(plan, folder):
    def change(_found):
        (folder / "sub-2/dwi/sub-2_dwi.nii").write_bytes(b"mended")
        return True

    events = list(prune(plan, folder, agree=change))
    assert spared(events) == {"sub-2/dwi/sub-2_dwi.nii": KeptReason.CHANGED}
    assert (folder / "sub-2/dwi/sub-2_dwi.nii").exists()


def test_what_is_no_file_stays(plan, folder):
    os.mkfifo(folder / "pipe")
    assert spared(prune(plan, folder, everything=True)) == {"pipe": KeptReason.FOREIGN}
    assert (folder / "pipe").is_fifo()


def test_another_destination_inside_is_left_alone(plan, folder, tmp_path):
    inner = folder / "sub-2" / "inner"
    fetch(local_plan(tmp_path, FILES), inner)
    before = tree(inner)
    list(prune(plan, folder, everything=True))
    assert tree(inner) == before


def test_where_the_files_come_from_is_left_alone(tmp_path):
    files = {"sub-1/x.txt": b"x"}
    write_files(tmp_path / "source", files)
    relative = [Root(url="source"), Root(url="s3://b"), Root(url="no\x00name")]
    entries = local_plan(tmp_path, files).entries
    plan = Plan.build(entries, manifest_sha256="0" * 64, study="x", roots=relative, subjects=[])
    write_files(tmp_path, {"sub-1/x.txt": b"x", "stray.txt": b""})
    assert removed(prune(plan, tmp_path, base=tmp_path, everything=True)) == ["stray.txt"]
    assert tree(tmp_path / "source") == files
    with pytest.raises(UsageError, match="the plan's own files come from there"):
        list(prune(plan, tmp_path / "source", base=tmp_path))


def test_what_was_only_compared_and_kept_is_someone_elses(tmp_path):
    whole, mine = local_plan(tmp_path, FILES), tmp_path / "mine"
    write_files(mine, FILES)
    fetch(whole, mine)
    events = list(prune(without(whole, "sub-2/"), mine))
    assert removed(events) == []
    assert set(spared(events).values()) == {KeptReason.FOREIGN}
    assert tree(mine) == FILES


def test_the_source_itself_survives_a_fetch_onto_it(tmp_path):
    source = tmp_path / "source"
    fetch(local_plan(tmp_path, FILES), source)
    # By a plan of other sources, and by one that was moved away from them.
    assert removed(prune(plan_of([], str(tmp_path / "other")), source)) == []
    assert tree(source) == FILES


@pytest.mark.parametrize("merged", [False, True])
def test_what_was_brought_and_later_kept_is_still_ours(plan, folder, tmp_path, merged):
    write_files(tmp_path / "copy", FILES)
    fetch(plan_over(str(tmp_path / "copy"), FILES, tags=False), folder)
    # Only its source has another state, so it is compared again.
    for path in FILES:
        os.utime(tmp_path / "source" / path, ns=(1, 1))
    fetch(plan_over(str(tmp_path / "source"), FILES, tags=False), folder)
    if merged:
        receipts = folder / ".bidsplan" / "receipts"
        for number in range(40):
            (receipts / f"{number:016x}.jsonl").write_text("")
        for path in receipts.iterdir():
            os.utime(path, ns=(1, 1))
        destination = LocalDestination(str(folder), create=False)
        compact(destination)
        destination.close()
        assert len(list(receipts.iterdir())) == 1
    assert removed(prune(plan, folder)) == [path for path in FILES if "sub-2/" in path]


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("inside", ["source/sub-1", "source/derivatives/x", "link", "source/link"])
def test_a_folder_inside_of_a_source_is_refused(tmp_path, inside, everything):
    plan = local_plan(tmp_path, {"sub-1/x.txt": b"x"})
    write_files(tmp_path, {"source/derivatives/x/y.txt": b"y", "elsewhere/z.txt": b"z"})
    (tmp_path / "link").symlink_to("source/sub-1")
    (tmp_path / "source" / "link").symlink_to("../elsewhere")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="or from a folder that it lies in; nothing was removed"):
        list(prune(plan, tmp_path / inside, everything=everything))
    assert tree(tmp_path) == before
    assert not (tmp_path / inside / ".bidsplan").exists()


def test_a_folder_beside_a_source_is_pruned_however_it_is_named(tmp_path):
    plan = local_plan(tmp_path, {"sub-1/x.txt": b"x"})
    write_files(tmp_path / "d", {"y.txt": b"y"})
    named = tmp_path / "source" / "sub-1" / ".." / ".." / "d"
    assert removed(prune(plan, named, everything=True)) == ["y.txt"]
    assert list((tmp_path / "d").iterdir()) == []


def between(monkeypatch, name, *steps):
    """Do something just before the file of that name is unlinked or renamed, and after it."""
    left = list(steps)

    def hooked(call):
        def run(first, *args, **options):
            if first != name or not left:
                return call(first, *args, **options)
            steps, left[:] = list(left), []
            steps[0]()
            call(first, *args, **options)
            for step in steps[1:]:
                step()
            return None

        return run

    monkeypatch.setattr(os, "unlink", hooked(os.unlink))
    monkeypatch.setattr(os, "rename", hooked(os.rename))


def putter(path, data):
    def put():
        other = path.parent.parent / "new"
        other.write_bytes(data)
        other.replace(path)

    return put


VICTIM = "sub-2/dwi/sub-2_dwi.nii"


def test_a_file_that_is_put_there_at_the_last_moment_stays(plan, folder, monkeypatch):
    between(monkeypatch, "sub-2_dwi.nii", putter(folder / VICTIM, b"somebody's"))
    assert spared(prune(plan, folder)) == {VICTIM: KeptReason.CHANGED}
    assert (folder / VICTIM).read_bytes() == b"somebody's"
    assert not (folder / ".bidsplan" / "removing").exists()


def test_of_two_files_that_are_put_there_at_the_last_moment_none_is_lost(plan, folder, monkeypatch):
    puts = [putter(folder / VICTIM, data) for data in (b"first", b"second")]
    between(monkeypatch, "sub-2_dwi.nii", *puts)
    [error] = [event.error for event in prune(plan, folder) if isinstance(event, PruneFailed)]
    assert (folder / VICTIM).read_bytes() == b"second"
    [aside] = (folder / ".bidsplan" / "removing").iterdir()
    assert aside.read_bytes() == b"first"
    assert f"what they wrote first is in .bidsplan/removing/{aside.name}" in str(error)
    # Neither a later run nor a later pruning takes it away.
    fetch(plan, folder)
    list(prune(plan, folder, everything=True))
    assert aside.read_bytes() == b"first"


def test_what_is_on_another_file_system_is_removed_too(plan, folder, monkeypatch):
    rename = os.rename

    def crossing(name, new, *, src_dir_fd, dst_dir_fd):
        if not os.path.samestat(os.fstat(src_dir_fd), os.fstat(dst_dir_fd)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(name, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", crossing)
    assert removed(prune(plan, folder)) == [path for path in FILES if "sub-2/" in path]
    assert not (folder / "sub-2").exists()


def test_nothing_happens_before_it_is_agreed_to(plan, folder):
    before, asked = tree(folder), []
    assert removed(prune(plan, folder, agree=asked.append)) == []
    assert [event.path for event in asked[0]] == [path for path in FILES if "sub-2/" in path]
    assert removed(prune(plan, folder, dry_run=True)) == [p for p in FILES if "sub-2/" in p]
    assert tree(folder) == before
    list(prune(plan, folder))
    asked.clear()
    list(prune(plan, folder, agree=asked.append))
    assert asked == []


def test_closing_stops_after_the_file_that_was_told(plan, folder):
    events = prune(plan, folder)
    assert next(events).path == "sub-2/anat/sub-2_T1w.json"
    events.close()
    assert not (folder / "sub-2" / "anat").exists()
    assert (folder / "sub-2" / "dwi").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_what_may_not_be_removed_is_told_and_the_rest_goes(plan, folder):
    (folder / "sub-2" / "anat").chmod(0o500)
    events = list(prune(plan, folder))
    (folder / "sub-2" / "anat").chmod(0o700)
    assert [type(event) for event in events] == [PruneFailed, Pruned, Pruned]


def test_a_folder_that_is_not_there_is_told(plan, tmp_path):
    with pytest.raises(DestinationError, match="there is no such directory"):
        list(prune(plan, tmp_path / "no"))


def test_names_that_differ_in_case_only_may_be_one_file(plan, folder):
    write_files(folder, {"readme": b"hello", "SUB-1/anat/sub-1_T1w.json": b"{}"})
    assert "readme" not in removed(prune(plan, folder, everything=True))


NAMES = st.sampled_from(["a", "b", "sub-1", ".x", ".git", "c.txt"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(brought=st.sets(PATHS, max_size=8), mine=st.sets(PATHS, max_size=8), data=st.data())
def test_only_what_was_brought_and_is_not_planned_goes(tmp_path_factory, brought, mine, data):
    tmp_path = tmp_path_factory.mktemp("p")
    brought = {p for p in brought if not any(q.startswith(f"{p}/") for q in brought | mine)}
    brought = {p for p in brought if not any(p.startswith(f"{q}/") for q in mine)} - mine
    mine = {p for p in mine if not any(q.startswith(f"{p}/") for q in mine)}
    whole = local_plan(tmp_path, {path: path.encode() for path in brought})
    fetch(whole, tmp_path / "d")
    write_files(tmp_path / "d", dict.fromkeys(mine, b"mine"))
    planned = data.draw(st.sets(st.sampled_from(sorted(brought)))) if brought else set()
    entries = [entry for entry in whole.entries if entry.path in planned]
    gone = removed(prune(plan_of(entries, "s3://b"), tmp_path / "d"))
    safe = {path for path in brought if ".git" in path.split("/")}
    assert set(gone) == brought - planned - safe
    assert tree(tmp_path / "d").keys() == planned | mine | safe


@pytest.fixture
def command(plan, folder, tmp_path):
    write_plan(plan, tmp_path / "p.plan.jsonl")
    return ["prune", str(tmp_path / "p.plan.jsonl"), str(folder)]


def test_the_command_does_not_remove_what_nobody_was_asked_about(command, folder, capsys):
    before = tree(folder)
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "standard input is not a terminal; give --yes" in err
    assert tree(folder) == before


def test_the_command_removes_and_sums_up(command, folder, capsys):
    write_files(folder, {"mine.txt": b"mine"})
    (folder / "sub-2/dwi/sub-2_dwi.nii").write_bytes(b"mended")
    assert run([*command, "-n"]) == 0
    assert capsys.readouterr().out == (
        "sub-2/anat/sub-2_T1w.json  2 Bytes\n"
        "sub-2/rec.zarr/.zattrs  2 Bytes\n"
        "2 to remove, 4 Bytes; 1 kept, not fetched by bidsplan; "
        "1 kept, changed since bidsplan fetched it\n"
    )
    assert run([*command, "--yes"]) == 0
    assert capsys.readouterr().out.startswith("2 removed, 4 Bytes; 1 kept")
    assert run([*command, "--yes", "--all"]) == 0
    assert capsys.readouterr().out == "2 removed, 10 Bytes\n"
    assert run([*command, "--yes", "--all"]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_the_command_writes_json(command, folder, capsys):
    name = os.fsdecode(b"m\xff.txt")
    (folder / name).write_bytes(b"")
    assert run([*command, "--yes", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"path": "m\\udcff.txt", "action": "keep", "why": "foreign"}
    assert lines[1] == {"path": "sub-2/anat/sub-2_T1w.json", "action": "remove", "size": 2}
    counts = {"removed": 3, "foreign": 1, "changed": 0, "failed": 0, "bytes": 13}
    assert {key: lines[-1][key] for key in counts} == counts


def test_the_plan_and_its_manifest_may_stand_in_the_destination(plan, folder):
    write_plan(plan, folder / "study.plan.jsonl")
    write_files(folder, {"study.yaml": b"", "other.yaml": b""})
    assert run(["prune", str(folder / "study.plan.jsonl"), str(folder), "--yes", "--all"]) == 0
    assert (folder / "study.plan.jsonl").exists()
    assert (folder / "study.yaml").exists()
    assert not (folder / "other.yaml").exists()


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 130)])
def test_the_command_asks_on_a_terminal(command, folder, answer, code):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bidsplan", *command],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    said = b""
    end = time.monotonic() + 30
    while b"?" not in said and time.monotonic() < end:
        said += process.stderr.read1(1000)
    os.write(ours, answer)
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == code
    assert b"sub-2/dwi/sub-2_dwi.nii  9 Bytes\n" in said
    assert b"Remove 3 files, 13 Bytes, from " in said
    assert (folder / "sub-2").exists() is (code != 0)
    assert out == {0: b"3 removed, 13 Bytes\n", 1: b"nothing was removed\n", 130: b""}[code]


def test_files_of_an_earlier_plan_are_a_reason_to_prune(tmp_path, capsys):
    files = {f"sub-{number}/a.txt": b"x" * number for number in range(1, 7)}
    folder, fewer = tmp_path / "d", dict(list(files.items())[:2])
    fetch(local_plan(tmp_path, files), folder)
    (folder / "sub-4" / "a.txt").unlink()
    (folder / "sub-5" / "a.txt").write_text("of the user")

    def warnings(plan):
        events = fetch(plan, folder, find_unplanned=True)
        return [str(event.problem) for event in events if isinstance(event, Warned)]

    said = "'bidsplan prune PLAN DEST' removes what the plan no longer lists"
    fewer_plan = local_plan(tmp_path, fewer)
    assert warnings(fewer_plan) == [f"2 files of an earlier plan are still there; {said}"]
    # Also where the new plan has as many files as the old one.
    other = {**fewer, "sub-6/a.txt": files["sub-6/a.txt"], "sub-7/a.txt": b"", "sub-8/b": b"1"}
    other_plan = local_plan(tmp_path, other)
    assert warnings(other_plan) == [f"1 file of an earlier plan is still there; {said}"]
    list(prune(other_plan, folder))
    assert warnings(other_plan) == []
    assert warnings(local_plan(tmp_path, {**files, **other})) == []
