"""Parts of a plan in one destination: at once, in any order, and in the end as by one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.cli.main import run
from bidsplan.destination.local import LocalDestination
from bidsplan.errors import LockedError, UsageError
from bidsplan.events import Action, Warned
from bidsplan.plan import Plan
from bidsplan.plan.file import read_plan, write_plan
from bidsplan.plan.parts import share, subjects_part
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.removal import prune
from plans import failures, fetch, finished, leftovers, local_plan, plan_over, tree, write_files

SUBJECTS = [f"{number:02}" for number in range(1, 9)]
FILES = {
    "dataset_description.json": b"{}",
    "task-rest_bold.json": b"[]" * 1000,
    **{f"sub-{label}/anat/sub-{label}_T1w.nii": label.encode() * 50_000 for label in SUBJECTS},
    **{f"sub-{label}/anat/sub-{label}_T1w.json": label.encode() for label in SUBJECTS},
}


@pytest.fixture
def plan(tmp_path):
    write_files(tmp_path / "source", FILES)
    made = plan_over(str(tmp_path / "source"), FILES, tags=False)
    header = {"manifest_sha256": "0" * 64, "study": "x", "roots": made.header.roots}
    plan = Plan.build(made.entries, subjects=SUBJECTS, **header)
    write_plan(plan, tmp_path / "x.plan.jsonl")
    return plan


def command(*arguments):
    return [sys.executable, "-m", "bidsplan", *arguments]


@pytest.mark.parametrize("option", ["--subject", "--shard"])
def test_parts_that_are_fetched_at_once_make_what_one_run_makes(plan, tmp_path, option):
    values = SUBJECTS if option == "--subject" else [f"{number}/4" for number in range(1, 5)]
    folder = tmp_path / "data"
    fetched = [
        subprocess.Popen(
            command("fetch", "--json", option, value, str(tmp_path / "x.plan.jsonl"), str(folder)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for value in values
    ]
    said = [(process.communicate(), process.returncode) for process in fetched]
    assert [code for _, code in said] == [0] * len(values), said
    assert tree(folder) == FILES
    assert not leftovers(folder)
    rows = [json.loads(line) for (output, _), _ in said for line in output.splitlines()]
    told = sorted(row["path"] for row in rows if "path" in row)
    if option == "--shard":
        assert told == sorted(FILES)
    assert set(told) == set(FILES)
    # The receipts of all are found by one run of the whole.
    assert {action for action, _ in finished(fetch(plan, folder)).values()} == {Action.KEEP}


def test_a_part_and_a_whole_run_keep_each_other_out(plan, tmp_path):
    part = subjects_part(plan, ["01"])
    whole, some = (LocalDestination(str(tmp_path / "d"), create=True) for _ in range(2))
    assert list(whole.lock(wait=False)) == []
    with pytest.raises(LockedError):
        fetch(part, tmp_path / "d")
    whole.close()
    assert list(some.lock(wait=False, shared=True)) == []
    assert not failures(fetch(part, tmp_path / "d"))
    with pytest.raises(LockedError):
        fetch(plan, tmp_path / "d")
    some.close()
    assert not failures(fetch(plan, tmp_path / "d"))


def test_a_part_neither_prunes_nor_warns_of_the_others_files(plan, tmp_path):
    fetch(plan, tmp_path / "d")
    part = share(plan, 1, 2)
    with pytest.raises(UsageError, match=r"part of another one \(share 1 of 2\)"):
        next(prune(part, tmp_path / "d"))
    events = list(materialise(part, tmp_path / "d", find_unplanned=True))
    assert not [event for event in events if isinstance(event, Warned)]
    assert tree(tmp_path / "d") == FILES


def test_split_parts_are_fetched_and_verified_by_themselves(plan, tmp_path, capsys):
    assert run(["split", str(tmp_path / "x.plan.jsonl"), "-o", str(tmp_path / "parts")]) == 0
    assert "8 plans" in capsys.readouterr().out
    for label in SUBJECTS[:2]:
        part = str(tmp_path / "parts" / f"sub-{label}.plan.jsonl")
        assert run(["fetch", part, str(tmp_path / "d")]) == 0
    assert run(["verify", part, str(tmp_path / "d")]) == 0
    whole = str(tmp_path / "x.plan.jsonl")
    assert run(["verify", "--subject", "01", "--subject", "02", whole, str(tmp_path / "d")]) == 0
    assert run(["verify", "--shard", "2/2", whole, str(tmp_path / "d")]) == 1
    assert set(tree(tmp_path / "d")) == {
        path for path in FILES if not path.startswith("sub-") or path[4:6] in SUBJECTS[:2]
    }


@pytest.mark.parametrize("value", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_wrong_share_is_wrong_usage(plan, tmp_path, value, capsys):
    arguments = ["fetch", f"--shard={value}", str(tmp_path / "x.plan.jsonl"), str(tmp_path / "d")]
    assert run(arguments) == 2
    assert "is not a part; write the first of eight as 1/8" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_wrong_subject_is_wrong_usage_and_names_the_nearest(plan, tmp_path, capsys):
    arguments = ["fetch", "--subject=1", str(tmp_path / "x.plan.jsonl"), str(tmp_path / "d")]
    assert run(arguments) == 2
    assert "there is no subject '1' in the plan; did you mean '01'" in capsys.readouterr().err
    assert not Path(tmp_path / "d").exists()


def test_parts_of_a_part_say_both(plan):
    part = share(subjects_part(plan, ["01", "02"]), 2, 2)
    assert part.header.part == "subjects 01 02, share 2 of 2"


def test_a_written_part_is_a_part_when_it_is_read(plan, tmp_path):
    write_plan(share(plan, 1, 2), tmp_path / "part.plan.jsonl.gz")
    assert read_plan(tmp_path / "part.plan.jsonl.gz").header.part == "share 1 of 2"


def test_a_part_reads_the_receipts_of_others_only_where_its_files_are_there(
    plan, tmp_path, monkeypatch
):
    read = []
    real = LocalDestination.read_receipts
    monkeypatch.setattr(
        LocalDestination, "read_receipts", lambda place: (read.append(place), real(place))[1]
    )
    for number in range(1, 5):
        assert not failures(materialise(share(plan, number, 4), tmp_path / "d"))
    assert not read
    events = finished(materialise(share(plan, 2, 4), tmp_path / "d"))
    assert len(read) == 1
    assert {action for action, _ in events.values()} == {Action.KEEP}


def test_the_names_of_a_part_are_compared_with_those_of_the_whole_plan(
    tmp_path, monkeypatch, capsys
):
    real = os.stat

    def folding(path, *arguments, **options):
        """Look names up as a file system does that ignores case."""
        return real(".probe-a" if path == ".probe-A" else path, *arguments, **options)

    files = {f"sub-{label}/x.txt": label.encode() for label in "Aabc"}
    write_plan(local_plan(tmp_path, files), tmp_path / "y.plan.jsonl")
    monkeypatch.setattr(os, "stat", folding)
    codes, said = [], ""
    for part in range(1, 5):
        command = ["fetch", "--shard", f"{part}/4", str(tmp_path / "y.plan.jsonl")]
        codes.append(run([*command, str(tmp_path / "d")]))
        said += capsys.readouterr().err
    # Each shard is one file, and only that of the second name is refused.
    assert codes == [0, 1, 0, 0]
    assert "error: sub-a/x.txt: this file system takes it for 'sub-A/x.txt'" in said
    assert tree(tmp_path / "d").keys() == files.keys() - {"sub-a/x.txt"}
