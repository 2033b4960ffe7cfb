"""``s3bids`` 0.1.7, which pyAFQ's users have now, and studies to compare it on."""

from __future__ import annotations

import json
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import corpora
from bidsplan.s3bids import HBNSite, S3BIDSStudy

MIMIC = "ds000102-mimic"
HBN = "data/Projects/HBN/MRI"
SITE = f"{HBN}/Site-RU"
DESCRIPTION = "dataset_description.json"


def shipped_tests() -> Path:
    """Find the tests in the installed wheel."""
    return Path(find_spec("s3bids").origin).parent / "tests" / "test_s3bids.py"


def unpack_mimic(folder: Path) -> Path:
    """Unpack the tree that pyAFQ tests its classes on; skip the test where it is missing."""
    if not corpora.FOLDER.is_dir():
        pytest.skip("no corpora here; BIDSPLAN_CORPORA names their folder")
    with tarfile.open(corpora.FOLDER / f"{MIMIC}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / MIMIC


def tree(folder) -> dict[str, bytes]:
    """Read a downloaded tree, without bidsplan's own files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and ".bidsplan" not in path.relative_to(folder).parts
    }


def content(path: str) -> bytes:
    """Return a small file's content, which no other file has."""
    if not path.endswith("dataset_description.json"):
        return path.encode()
    text = {"Name": path, "BIDSVersion": "1.10.0"}
    if path.startswith("derivatives/"):
        text |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": path.split("/")[1]}]}
    return json.dumps(text).encode()


def below(prefix: str, paths) -> dict[str, bytes]:
    """Make small files with these names."""
    return {f"{prefix}/{path}": content(path) for path in paths}


def study() -> dict[str, bytes]:
    """Make a study of five subjects with two pipelines, one of them with reports at its root."""
    paths = ["dataset_description.json", "README", "CHANGES", ".bidsignore", "task-rest_bold.json"]
    paths += ["participants.tsv", "code/run.py", "derivatives/afq/dataset_description.json"]
    paths += ["derivatives/fmriprep/dataset_description.json", "derivatives/fmriprep/logs/x.json"]
    for subject in [f"sub-{number:02}" for number in range(1, 6)]:
        paths += [f"{subject}/{subject}_scans.tsv", f"{subject}/.hidden/{subject}.json"]
        paths += [f"{subject}/ses-1/anat/{subject}_ses-1_T1w{end}" for end in (".nii.gz", ".json")]
        paths += [f"derivatives/afq/{subject}/ses-1/{subject}_dwi_space-RASMM_profiles.csv"]
        paths += [f"derivatives/afq/{subject}/ses-1/{subject}_tracking.json"]
        paths += [f"derivatives/fmriprep/{subject}{end}" for end in (".html", "_T1w.html")]
        paths += [f"derivatives/fmriprep/{subject}/anat/{subject}_desc-preproc_T1w.json"]
    return below("study", paths)


def hbn(*, described: bool = False) -> dict[str, bytes]:
    """Make a site of the Healthy Brain Network; its derivatives are grouped by subject."""
    paths = ["participants.tsv", "T1w.json", *(["dataset_description.json"] * described)]
    for subject in [f"sub-NDAR{letter}" for letter in "ABCDE"]:
        paths += [f"{subject}/anat/{subject}_acq-HCP_T1w{end}" for end in (".nii.gz", ".json")]
        paths += [f"{subject}/dwi/{subject}_dwi{end}" for end in (".nii.gz", ".bval", ".bvec")]
        paths += [f"derivatives/{subject}/qsiprep/dwi/{subject}_desc-preproc_dwi.nii.gz"]
        paths += [f"derivatives/{subject}/T1w_HCP/freesurfer/stats/aseg.stats"]
    return below(SITE, paths)


def made(bucket, **arguments):
    """Make our study, of two subjects by default."""
    return S3BIDSStudy("x", bucket.name, "study", **{"subjects": ["sub-02", "sub-04"]} | arguments)


def site(bucket, **arguments):
    """Make our site, of one subject by default."""
    return HBNSite("Site-RU", bucket=bucket.name, **{"subjects": ["sub-NDARB"]} | arguments)


def downloaded(found, folder, **arguments):
    """Download a study, and read the downloaded tree."""
    found.download(str(folder), **{"pbar": False} | arguments)
    return tree(folder)
