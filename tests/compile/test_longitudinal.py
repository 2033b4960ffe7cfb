"""What explaining says of longitudinal directories."""

from __future__ import annotations

from bidsplan.compile.compiler import explain_manifest
from bidsplan.manifest import Manifest
from stores import Listings

URL = "s3://bucket/study"


def test_a_file_in_a_directory_of_an_unselected_subject_is_explained_by_the_subject():
    paths = [f"sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in "12"]
    paths += [f"derivatives/freesurfer/sub-{label}_ses-a/mri/T1.mgz" for label in "12"]
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "subjects": {"include": ["1"]},
            "derivatives": ["freesurfer"],
        }
    )
    found = explain_manifest(
        manifest, opener=Listings({URL: (dict.fromkeys(paths, (1, None)), {})})
    )
    taken, left = found.path(paths[2]), found.path(paths[3])
    assert taken.taken
    assert not left.taken
    assert left.why.startswith("its subject is not selected: ")


def test_a_pipeline_that_is_left_out_is_not_explained_as_taken():
    paths = [f"sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in "12"]
    paths += ["derivatives/a/dataset_description.json", "derivatives/a/sub-2/x.txt"]
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "subjects": {"include": ["1"]},
            "derivatives": "all",
        }
    )
    found = explain_manifest(
        manifest, opener=Listings({URL: (dict.fromkeys(paths, (2, None)), {})})
    )
    assert not found.problems
    assert not found.path(paths[2]).taken
