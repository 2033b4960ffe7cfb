"""The snippets in the documents on pyAFQ's names, run against an S3 server."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import studies
from bidsplan import s3bids
from pictures import data_of, image, packed
from servers import Bucket

DOCS = Path(__file__).resolve().parents[2] / "docs"
SUBJECTS = [f"sub-{number:02}" for number in range(1, 11)]


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("page", ["how-to/images.md", "reference/s3bids.md"])
def test_the_snippets_of_a_page_run(s3, moto, tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    shown = image()
    picture = packed(shown, "x.nii.gz")
    files = {"dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}'}
    files["task-fingerfootlips_bold.json"] = b'{"RepetitionTime": 2}'
    for name in SUBJECTS:
        files[f"{name}/ses-test/anat/{name}_ses-test_T1w.nii.gz"] = picture
        files[f"derivatives/fmriprep/{name}/anat/{name}_desc-preproc_T1w.nii.gz"] = picture
    Bucket(moto.url, "my-bucket")
    studies.upload(moto.url, "openneuro.org", "ds000114", files)
    snippets = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.M | re.S)
    known = {}
    for snippet in snippets:
        exec(snippet, known)
    if page == "how-to/images.md":
        copy = s3bids.s3fs_nifti_read("my-bucket/copy.nii.gz")
        assert np.array_equal(data_of(copy), data_of(shown))
        assert s3bids.s3fs_json_read("my-bucket/copy.json") == {"RepetitionTime": 2}
    else:
        drawn = known["study"].subjects
        assert len(drawn) == 5
        assert len(list((tmp_path / "ds000114").rglob("*.nii.gz"))) == 10
        assert all(len(subject.files["raw"]) == 1 for subject in drawn)
