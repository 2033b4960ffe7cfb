"""Where each file of a plan belongs."""

import pytest

from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.places import Place, Places, placed


def plan_of(paths, subjects):
    entries = [Entry(path=path, key=path, size=1, reason="selected") for path in paths]
    roots = [Root(url="s3://bucket/study")]
    fields = {"manifest_sha256": "0" * 64, "study": "x", "roots": roots}
    return Plan.build(entries, subjects=subjects, **fields)


# site, pipeline, subject, session, datatype, suffix, extension
ONE_SITE = {
    "sub-1/anat/sub-1_T1w.nii.gz": (None, None, "1", None, "anat", "T1w", ".nii.gz"),
    "sub-1/ses-a/func/sub-1_ses-a_task-rest_bold.json": (
        *(None, None, "1", "a", "func", "bold", ".json"),
    ),
    "sub-1/sub-1_ses-b_scans.tsv": (None, None, "1", "b", None, "scans", ".tsv"),
    "sub-1/meg/sub-1_task-x_meg.ds/hz.ds/x.meg4": (None, None, "1", None, "meg", "meg", ".ds"),
    "sub-1/micr/sub-1_sample-A_SPIM.ome.zarr/0/0/.zarray": (
        *(None, None, "1", None, "micr", "SPIM", ".ome.zarr"),
    ),
    "participants.tsv": (None, None, None, None, None, "participants", ".tsv"),
    "task-rest_bold.json": (None, None, None, None, None, "bold", ".json"),
    "README": (None, None, None, None, None, "README", ""),
    "derivatives/fmriprep/sub-1.html": (None, "fmriprep", "1", None, None, "sub-1", ".html"),
    "derivatives/fmriprep/sub-3.html": (None, "fmriprep", None, None, None, "sub-3", ".html"),
    "derivatives/fmriprep/sub-1/ses-a/func/sub-1_ses-a_bold.nii.gz": (
        *(None, "fmriprep", "1", "a", "func", "bold", ".nii.gz"),
    ),
    "derivatives/lab/afq/CHANGES": (None, "lab/afq", None, None, None, "CHANGES", ""),
    "derivatives/lab/afq/sub-1/dwi/sub-1_profiles.csv": (
        *(None, "lab/afq", "1", None, "dwi", "profiles", ".csv"),
    ),
    "derivatives/freesurfer/fsaverage/surf/lh.white": (
        *(None, "freesurfer", None, None, None, "lh", ".white"),
    ),
    "derivatives/freesurfer/sub-1_ses-a.long.sub-1/surf/lh.white": (
        *(None, "freesurfer", "1", "a", "surf", "lh", ".white"),
    ),
    "derivatives/sub-1/qsiprep/ses-a/dwi/sub-1_ses-a_dwi.bval": (
        *(None, "qsiprep", "1", "a", "dwi", "dwi", ".bval"),
    ),
    "derivatives/README": (None, None, None, None, None, "README", ""),
    "phenotype/ses-a_iq.tsv": (None, None, None, "a", None, "iq", ".tsv"),
}

SITES = {
    "Site-A/sub-1/anat/sub-1_T1w.nii.gz": ("Site-A", None, "1", None, "anat", "T1w", ".nii.gz"),
    "x/y/sub-3/anat/sub-3_T1w.nii.gz": ("x/y", None, "3", None, "anat", "T1w", ".nii.gz"),
    "Site-A/README": ("Site-A", None, None, None, None, "README", ""),
    "Empty/README": ("Empty", None, None, None, None, "README", ""),
    "Site-A/derivatives/afq/sub-1/dwi/sub-1_x.csv": (
        *("Site-A", "afq", "1", None, "dwi", "x", ".csv"),
    ),
    # A pipeline of one URL for all sites.
    "derivatives/all/sub-2/dwi/sub-2_x.csv": ("Site-B", "all", "2", None, "dwi", "x", ".csv"),
}


@pytest.mark.parametrize(
    ("expected", "subjects"), [(ONE_SITE, ["1"]), (SITES, ["Site-A/1", "Site-B/2", "x/y/3"])]
)
def test_place_says_what_the_path_says(expected, subjects):
    plan = plan_of(expected, subjects)
    assert {entry.path: tuple(place) for entry, place in placed(plan)} == expected


def test_unit_is_named_as_in_the_header():
    plan = plan_of(SITES, ["Site-A/1", "Site-B/2", "x/y/3"])
    units = {place.unit for _, place in placed(plan)}
    assert units == {"Site-A/1", "Site-B/2", "x/y/3", None}
    assert Place(None, None, "1", None, None, "", "").unit == "1"


def test_strange_paths_have_a_place():
    places = Places(plan_of([], []).header)
    for path in ("sub-", "sub-/x", "derivatives", "_", ".", "a" * 4096, "derivatives/sub-1", "."):
        assert places(path).pipeline is None
