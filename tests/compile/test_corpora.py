"""Selections on the listings of real studies."""

from __future__ import annotations

import functools
from collections import Counter

import pytest

from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import SelectionError
from bidsplan.manifest import Manifest
from corpora import FOLDER, needs_corpora
from stores import Listings, corpus

pytestmark = needs_corpora

read = functools.cache(functools.partial(corpus, FOLDER))


def plan_of(name, *, study=None, **manifest):
    url = f"s3://bucket/{name}"
    place = {"id": name, "url": url, **(study or {})}
    model = Manifest.model_validate({"manifest_version": 1, "study": place, **manifest})
    return compile_manifest(model, opener=Listings({url: read(name)}))


def reasons(compiled):
    return {entry.path: entry.reason for entry in compiled.plan.entries}


def test_gradient_tables_at_the_root_come_with_one_session():
    found = reasons(plan_of("ds000114", sessions=["retest"], files={"datatypes": ["dwi"]}))
    assert found["dwi.bval"] == found["dwi.bvec"] == "inherited"
    images = {path for path in found if path.endswith("_dwi.nii.gz")}
    assert len(images) == 10
    assert all("/ses-retest/dwi/" in path for path in images)


def test_a_bold_run_brings_its_field_maps():
    found = reasons(plan_of("ds000117", subjects={"include": ["01"]}, files={"suffixes": ["bold"]}))
    fieldmaps = {path for path, reason in found.items() if reason == "fieldmap"}
    assert any(path.endswith("_phasediff.nii") for path in fieldmaps)
    assert all(path.startswith("sub-01/") for path in fieldmaps)
    assert any(path.endswith("_magnitude1.nii") for path in found)


def test_a_meg_run_brings_its_empty_room():
    found = reasons(plan_of("ds000117", subjects={"include": ["01"]}, files={"suffixes": ["meg"]}))
    rooms = [path for path, reason in found.items() if reason == "reference"]
    assert rooms
    assert all(path.startswith("sub-emptyroom/") for path in rooms)


@pytest.mark.parametrize("sessionless", ["exclude", "include"])
def test_files_without_a_session_obey_the_session_filter(sessionless):
    sessions = {"include": ["19210819"], "sessionless": sessionless}
    found = reasons(plan_of("ds000248", sessions=sessions))
    selected = {path for path, reason in found.items() if reason == "selected"}
    subjects = {path.partition("/")[0] for path in selected}
    assert subjects == {"sub-emptyroom"} | ({"sub-01"} if sessionless == "include" else set())


def test_a_pipeline_never_brings_one_whose_name_ends_alike():
    found = reasons(plan_of("ds001226", files="none", derivatives={"mriqc": {"scope": "whole"}}))
    tops = Counter("/".join(path.split("/")[:2]) for path in found if "/" in path)
    assert set(tops) == {"derivatives/mriqc"}


def test_subject_first_derivatives_land_by_pipeline():
    compiled = plan_of(
        "ds004504",
        study={"layout": "subject-first"},
        subjects={"include": ["001"]},
        files="none",
        derivatives={"eeg": {"suffixes": ["eeg"]}},
    )
    entries = [e for e in compiled.plan.entries if e.reason == "selected"]
    assert [(e.key, e.path) for e in entries] == [
        (
            "derivatives/sub-001/eeg/sub-001_task-eyesclosed_eeg.set",
            "derivatives/eeg/sub-001/eeg/sub-001_task-eyesclosed_eeg.set",
        )
    ]


def test_the_empty_room_is_in_the_tree_and_not_in_the_table():
    tree = plan_of("ds003645", files={"suffixes": ["meg"]}).plan.header.subjects
    both = plan_of("ds003645", subjects={"from": "both"}, files={"suffixes": ["meg"]})
    assert set(tree) - set(both.plan.header.subjects) == {"emptyroom"}


def test_directory_recordings_are_whole():
    listing, _ = read("ds000246")
    found = reasons(plan_of("ds000246", files={"suffixes": ["meg"], "extensions": [".ds"]}))
    inside = {key for key in listing if key.startswith("sub-") and ".ds/" in key}
    assert inside
    assert inside <= set(found)


def test_participants_are_chosen_by_a_column():
    compiled = plan_of(
        "ds000030", subjects={"where": {"diagnosis": "SCHZ"}}, files={"suffixes": ["T1w"]}
    )
    assert len(compiled.plan.header.subjects) == 50


def test_a_subject_of_a_derivative_brings_its_reports():
    found = reasons(plan_of("ds000001-fmriprep", subjects={"include": ["01"]}))
    assert "sub-01.html" in found
    assert not any(path.startswith("sub-02") for path in found)


def test_a_column_that_is_not_there_is_told_with_its_neighbour():
    with pytest.raises(SelectionError, match="did you mean 'diagnosis'"):
        plan_of("ds000030", subjects={"where": {"diagnoses": "SCHZ"}})
