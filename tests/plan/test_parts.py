"""Parts of a plan: what a subject needs, and shares of the files."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.errors import PlanError, UsageError
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import read_plan
from bidsplan.plan.parts import select_part, share, subjects_part
from bidsplan.plan.split import split_by_site, split_by_subject, split_evenly

HEADER = {"manifest_sha256": "0" * 64, "study": "x", "random_seed": 3, "sampling": "rank"}

ONE_SITE = {
    "dataset_description.json": "dataset",
    "participants.tsv": "dataset",
    "task-rest_bold.json": "inherited",
    "sub-1/ses-a/func/sub-1_ses-a_bold.nii.gz": "selected",
    "sub-1/ses-b/func/sub-1_ses-b_bold.nii.gz": "selected",
    "sub-1/sub-1_sessions.tsv": "table",
    "sub-10/ses-a/func/sub-10_ses-a_bold.nii.gz": "selected",
    "sub-emptyroom/ses-x/meg/sub-emptyroom_meg.fif": "reference",
    "derivatives/prep/dataset_description.json": "dataset",
    "derivatives/prep/sub-1.html": "dataset",
    "derivatives/prep/sub-10.html": "dataset",
    "derivatives/prep/sub-1/anat/sub-1_T1w.nii.gz": "selected",
    "derivatives/prep/sub-1/ses-b/anat/sub-1_ses-b_T1w.nii.gz": "selected",
    "derivatives/sub-10/prep/anat/sub-10_T1w.nii.gz": "selected",
}


def plan_of(paths, subjects, url="s3://bucket/study", size=1):
    entries = [
        Entry(path=path, key=path, size=size, reason=reason) for path, reason in paths.items()
    ]
    return Plan.build(entries, subjects=subjects, roots=[Root(url=url)], **HEADER)


def paths(plan):
    return {entry.path for entry in plan.entries}


def test_a_subjects_part_has_its_files_and_those_of_no_subject():
    part = subjects_part(plan_of(ONE_SITE, ["1", "10"]), ["sub-1"])
    assert paths(part) == {
        path for path in ONE_SITE if "sub-10" not in path and path != "derivatives/prep/sub-10.html"
    }
    assert part.header.subjects == ("1",)
    assert part.header.part == "subjects 1"
    assert part.header.random_seed == 3
    # It can be read as any plan can.
    assert Plan.parse(part.lines()) == part


def test_a_part_has_the_sidecars_that_apply_to_its_files():
    files = {
        "task-a_bold.json": "inherited",
        "task-b_bold.json": "inherited",
        "task-b_acq-x_bold.json": "inherited",
        "run-1_meg.json": "inherited",
        "echo-9_bold.json": "inherited",
        "sub-1/func/sub-1_task-a_run-1_bold.nii.gz": "selected",
        "sub-1/func/sub-1_task-b_run-1_bold.json": "selected",
        "sub-1/meg/sub-1_run-1_meg.ds/sub-1.meg4": "selected",
        "sub-2/func/sub-2_task-b_acq-x_bold.nii.gz": "selected",
        "derivatives/p/sub-1/func/sub-1_task-b_bold.nii.gz": "selected",
        "derivatives/p/task-b_bold.json": "inherited",
    }
    plan = plan_of(files, ["1", "2"])
    [one, two] = (
        {path for path in paths(subjects_part(plan, [subject])) if "sub-" not in path}
        for subject in ("1", "2")
    )
    # Whom it is for is not said by the name of "echo-9"; nothing of the plan may get lost.
    assert one == {
        "task-a_bold.json",
        "run-1_meg.json",
        "echo-9_bold.json",
        "derivatives/p/task-b_bold.json",
    }
    assert two == {"task-b_bold.json", "task-b_acq-x_bold.json", "echo-9_bold.json"}


def test_a_session_leaves_out_the_sidecars_of_others():
    files = {
        "sub-1/sub-1_task-a_bold.json": "inherited",
        "sub-1/sub-1_task-b_bold.json": "inherited",
        "sub-1/ses-x/func/sub-1_ses-x_task-a_bold.nii": "selected",
        "sub-1/ses-y/func/sub-1_ses-y_task-b_bold.nii": "selected",
    }
    part = subjects_part(plan_of(files, ["1"]), ["1"], ["x"])
    assert paths(part) == {path for path in files if "task-a" in path}


def test_recordings_of_an_empty_room_are_for_every_subject():
    files = {**ONE_SITE, "sub-emptyroom/ses-x/meg/sub-emptyroom_meg.fif": "selected"}
    plan = plan_of(files, ["1", "10", "emptyroom"])
    for subject in plan.header.subjects:
        assert [path for path in paths(subjects_part(plan, [subject])) if "emptyroom" in path]


def test_a_session_leaves_out_other_sessions_and_keeps_files_of_none():
    part = subjects_part(plan_of(ONE_SITE, ["1", "10"]), ["1"], ["ses-a"])
    whole = paths(subjects_part(plan_of(ONE_SITE, ["1", "10"]), ["1"]))
    assert whole - paths(part) == {path for path in ONE_SITE if "ses-b" in path}
    assert part.header.part == "subjects 1 ses-a"


def test_a_subject_of_a_site_gets_its_sites_files():
    files = {
        "A/README": "dataset",
        "A/sub-1/anat/sub-1_T1w.nii": "selected",
        "B/README": "dataset",
        "B/sub-1/anat/sub-1_T1w.nii": "selected",
        "B/sub-2/anat/sub-2_T1w.nii": "selected",
        "derivatives/prep/README": "dataset",
        "derivatives/prep/sub-2/anat/sub-2_T1w.nii": "selected",
    }
    plan = plan_of(files, ["A/1", "B/1", "B/2"])
    assert paths(subjects_part(plan, ["B/sub-2"])) == {
        "B/README",
        "B/sub-2/anat/sub-2_T1w.nii",
        "derivatives/prep/README",
        "derivatives/prep/sub-2/anat/sub-2_T1w.nii",
    }
    # A label alone is that of every site.
    assert subjects_part(plan, ["1"]).header.subjects == ("A/1", "B/1")


def test_files_of_a_site_without_subjects_are_in_every_part(tmp_path):
    files = {
        "A/sub-1/anat/sub-1_T1w.nii": "selected",
        "B/sub-1/anat/sub-1_T1w.nii": "selected",
        "C/README": "dataset",
        "C/phenotype/age.tsv": "dataset",
    }
    plan = plan_of(files, ["A/1", "B/1"])
    for split in (split_by_subject, split_by_site):
        found = list(split(plan, tmp_path / split.__name__, source=tmp_path / "x.plan.jsonl"))
        parts = [paths(read_plan(tmp_path / split.__name__ / file.plan)) for file in found]
        assert [len(part) for part in parts] == [3, 3]
        assert set().union(*parts) == set(files)
    assert paths(subjects_part(plan, ["A/1"])) == set(files) - {"B/sub-1/anat/sub-1_T1w.nii"}


@pytest.mark.parametrize(
    ("subjects", "sessions", "said"),
    [
        (["2"], [], "no subject '2' in the plan"),
        (["1"], ["c"], "no session 'c'"),
        ([], ["a"], "--session needs --subject"),
    ],
)
def test_what_is_not_there_is_an_error(subjects, sessions, said):
    with pytest.raises(UsageError, match=said):
        select_part(plan_of(ONE_SITE, ["1", "10"]), subjects, sessions)


def test_a_share_that_does_not_exist_is_an_error():
    with pytest.raises(UsageError, match="no part 3 of 2"):
        share(plan_of(ONE_SITE, ["1"]), 3, 2)


SIZES = st.lists(st.integers(0, 1 << 30), max_size=60)


@given(SIZES, st.integers(1, 70))
def test_each_file_is_in_one_share_and_shares_are_alike(sizes, of):
    entries = [
        Entry(path=f"f{index:03}", key="k", size=size, reason="selected")
        for index, size in enumerate(sizes)
    ]
    plan = Plan.build(entries, subjects=[], roots=[Root(url="s3://b/x")], **HEADER)
    parts = [share(plan, number, of) for number in range(1, of + 1)]
    assert [entry for part in parts for entry in part.entries] == list(plan.entries)
    cost = [part.header.bytes + (part.header.files << 18) for part in parts]
    whole, largest = sum(cost), max(sizes, default=0) + (1 << 18)
    assert all(abs(each - whole / of) <= largest for each in cost)


def names(files):
    return [(file.name, file.plan, file.files) for file in files]


def test_split_writes_what_the_part_of_each_subject_is(tmp_path):
    plan = plan_of(ONE_SITE, ["1", "10"])
    found = list(split_by_subject(plan, tmp_path / "parts", source=tmp_path / "x.plan.jsonl.zst"))
    assert names(found) == [
        ("1", "sub-1.plan.jsonl.zst", 11),
        ("10", "sub-10.plan.jsonl.zst", 8),
    ]
    for file in found:
        written = read_plan(tmp_path / "parts" / file.plan)
        assert written == subjects_part(plan, [file.name])
        assert (file.files, file.bytes) == (written.header.files, written.header.bytes)
        assert file.key == written.header.entries_sha256
    index = (tmp_path / "parts" / "index.tsv").read_text().splitlines()
    assert index == [
        "name\tplan\tfiles\tbytes\tkey",
        f"1\tsub-1.plan.jsonl.zst\t11\t11\t{found[0].key}",
        f"10\tsub-10.plan.jsonl.zst\t8\t8\t{found[1].key}",
    ]
    rows = json.loads((tmp_path / "parts" / "index.json").read_text())
    assert rows == [file._asdict() for file in found]


LABELS = st.sampled_from(["1", "2", "10"])
SITES = st.sampled_from(["A/", "B/", "C/", ""])
BELOW = st.sampled_from(
    [
        "sub-{}/anat/sub-{}_T1w.nii",
        "derivatives/prep/sub-{}/x.json",
        "derivatives/sub-{}/prep/y.json",
        "derivatives/prep/sub-{}.html",
        "derivatives/deep/prep/README",
        "sub-{}/func/sub-{}_task-a_bold.nii",
        "task-a_bold.json",
        "derivatives/prep/sub-{}/func/sub-{}_ses-x_task-a_bold.nii",
        "derivatives/prep/task-a_bold.json",
        "sub-emptyroom/meg/sub-emptyroom_task-noise_meg.fif",
        "phenotype/{}.tsv",
        "README",
    ]
)


@given(
    st.sets(st.tuples(SITES, BELOW, LABELS), max_size=20),
    st.sets(st.tuples(SITES, LABELS), min_size=1, max_size=4),
)
def test_each_file_is_in_a_part_of_some_subject(places, selected):
    named = {site + below.format(label, label) for site, below, label in places}
    files = {path: "inherited" if "task-a_bold.j" in path else "selected" for path in named}
    # A header has the subjects of sites, or of none.
    sites = {site for site, _ in selected}
    units = sorted(f"{site}{label}" for site, label in selected if site or sites == {""})
    plan = plan_of(files, units)
    parts = {unit: subjects_part(plan, [unit]) for unit in units}
    assert set().union(*map(paths, parts.values())) == set(files)
    with tempfile.TemporaryDirectory() as folder:
        split = split_by_subject(plan, folder, source="x.plan.jsonl")
        assert {file.name: read_plan(Path(folder) / file.plan) for file in split} == parts


def test_a_part_that_did_not_change_keeps_its_time(tmp_path):
    split = {"directory": tmp_path / "parts", "source": tmp_path / "x.plan.jsonl.gz"}
    found = [file.plan for file in split_by_subject(plan_of(ONE_SITE, ["1", "10"]), **split)]
    for path in (tmp_path / "parts").iterdir():
        os.utime(path, (1, 1))
    more = {**ONE_SITE, "sub-10/anat/sub-10_T2w.nii.gz": "selected"}
    list(split_by_subject(plan_of(more, ["1", "10"]), **split))
    new = {path.name: path.stat().st_mtime > 1 for path in (tmp_path / "parts").iterdir()}
    assert new == {found[0]: False, found[1]: True, "index.tsv": True, "index.json": True}


def test_split_evenly_writes_the_shares(tmp_path):
    plan = plan_of(ONE_SITE, ["1", "10"])
    found = list(split_evenly(plan, tmp_path / "parts", 3, source=tmp_path / "x.plan.jsonl"))
    written = [read_plan(tmp_path / "parts" / file.plan) for file in found]
    assert written == [share(plan, number, 3) for number in (1, 2, 3)]
    assert [file.plan for file in found] == [f"part-{n}.plan.jsonl" for n in (1, 2, 3)]


def test_split_by_site_and_parts_in_other_directories_have_the_same_sources(tmp_path):
    files = {
        "A/README": "dataset",
        "A/sub-1/a": "selected",
        "B/sub-1/a": "selected",
        "x": "dataset",
    }
    plan = plan_of(files, ["A/1", "B/1"], url="../study")
    source, parts = tmp_path / "plans" / "x.plan.jsonl", tmp_path / "plans" / "deep" / "parts"
    [first, second] = split_by_site(plan, parts, source=source)
    assert (first.plan, second.plan) == ("A.plan.jsonl", "B.plan.jsonl")
    assert paths(read_plan(parts / first.plan)) == {"A/README", "A/sub-1/a", "x"}
    assert paths(read_plan(parts / second.plan)) == {"B/sub-1/a", "x"}
    assert read_plan(parts / first.plan).header.roots[0].url == "../../../study"
    [first, _] = split_by_subject(plan, parts, source=source)
    assert first.plan == "A/sub-1.plan.jsonl"
    assert read_plan(parts / first.plan).header.roots[0].url == "../../../../study"


def test_split_refuses_names_that_lead_elsewhere_and_plans_without_subjects(tmp_path):
    source = tmp_path / "x.plan.jsonl"
    with pytest.raises(PlanError, match="can't be a file's name"):
        list(split_by_subject(plan_of({}, ["../../x/1"]), tmp_path / "p", source=source))
    with pytest.raises(UsageError, match="no subjects"):
        list(split_by_subject(plan_of({}, []), tmp_path / "p", source=source))
    with pytest.raises(UsageError, match="no sites"):
        list(split_by_site(plan_of({}, ["1"]), tmp_path / "p", source=source))
    assert not (tmp_path / "p").exists()


def test_split_does_not_replace_the_plan_itself(tmp_path):
    source = tmp_path / "part-1.plan.jsonl"
    with pytest.raises(UsageError, match="would replace the plan"):
        list(split_evenly(plan_of(ONE_SITE, ["1"]), tmp_path, 2, source=source))
    assert not list(tmp_path.iterdir())
