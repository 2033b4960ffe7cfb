from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.bids.names import owner_label, parse_name, recording_of, same_value, subject_label

NAMES = [
    # path, datatype, session, suffix, extension, entities, shaped
    ("sub-1/anat/sub-1_T1w.nii.gz", "anat", None, "T1w", ".nii.gz", {"sub": "1"}, True),
    (
        "sub-1/ses-a/func/sub-1_ses-a_task-x_run-01_bold.json",
        "func",
        "a",
        "bold",
        ".json",
        {"sub": "1", "ses": "a", "task": "x", "run": "01"},
        True,
    ),
    ("dwi.bval", None, None, "dwi", ".bval", {}, True),
    ("participants.tsv", None, None, "participants", ".tsv", {}, True),
    ("dataset_description.json", None, None, "description", ".json", {}, False),
    (
        "sub-1/dwi/sub-01_dwi_space-RASMM_profiles.csv",
        "dwi",
        None,
        "profiles",
        ".csv",
        {"sub": "01", "space": "RASMM"},
        False,
    ),
    ("sub-1/figures/sub-1_ses-b_T1w.svg", "figures", "b", "T1w", ".svg", None, True),
    ("sub-1/sub-1_scans.tsv", None, None, "scans", ".tsv", {"sub": "1"}, True),
    ("sub-1/anat/sub-1_acq-6p+s2_T2w.json", "anat", None, "T2w", ".json", None, True),
    ("sub-1_ses-a.long.sub-1/mri/T1.mgz", "mri", "a", "T1", ".mgz", {}, True),
    ("sub-1/anat/sub-1_run-1_run-2_T2w.json", "anat", None, "T2w", ".json", None, False),
]


@pytest.mark.parametrize(
    ("path", "datatype", "session", "suffix", "extension", "entities", "shaped"), NAMES
)
def test_names_are_parsed(path, datatype, session, suffix, extension, entities, shaped):
    name = parse_name(path)
    assert (name.datatype, name.session, name.suffix) == (datatype, session, suffix)
    assert (name.extension, name.shaped) == (extension, shaped)
    if entities is not None:
        assert name.entities == entities


@pytest.mark.parametrize(
    ("path", "recording"),
    [
        ("sub-1/meg/sub-1_meg.ds/x.meg4", "sub-1/meg/sub-1_meg.ds"),
        ("sub-1/ieeg/sub-1_ieeg.mefd/a/b/c", "sub-1/ieeg/sub-1_ieeg.mefd"),
        ("sub-1/micr/sub-1_SPIM.ome.zarr/0/.zarray", "sub-1/micr/sub-1_SPIM.ome.zarr"),
        ("sub-1/meg/sub-1_task-x_meg/c,rfDC", "sub-1/meg/sub-1_task-x_meg"),
        ("sub-1/meg/sub-1_meg.fif", None),
        ("sub-1/meg/sub-1_meg.ds", None),
    ],
)
def test_recordings_are_their_directory(path, recording):
    assert recording_of(path) == recording


@given(st.text())
def test_parsing_never_fails_and_keeps_the_path(path):
    name = parse_name(path)
    assert name.path == path
    base = path.rpartition("/")[2]
    assert base.endswith(name.suffix + name.extension)


def test_only_indices_compare_as_numbers():
    assert same_value("run", "1", "001")
    assert not same_value("run", "1", "10")
    assert not same_value("task", "1", "01")
    assert not same_value("run", "1", "\u0661")


def test_only_subject_directories_have_labels():
    assert subject_label("sub-NDARAA306NT2") == "NDARAA306NT2"
    assert subject_label("sub-") is None
    assert subject_label("subject-1") is None
    assert subject_label("sub-01_T1w.html") is None


@pytest.mark.parametrize(
    ("directory", "label"),
    [
        ("sub-01", "01"),
        ("sub-01_ses-a", "01"),
        ("sub-01_ses-a.long.sub-01", "01"),
        ("sub-01.long.template", "01"),
        ("sub-1.5", "1.5"),
        ("sub-010", "010"),
        ("sub-", None),
        ("sub-_a", None),
        ("fsaverage", None),
    ],
)
def test_a_derivatives_directories_belong_to_subjects(directory, label):
    assert owner_label(directory) == label
