"""Small copies of public studies: their names and layout, and little content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from servers import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable

FOOTLIPS = "task-fingerfootlips"
GAMBLE = "task-balloonanalogrisktask"


def _content(path: str) -> bytes:
    """Return the content of a file, which no other file has."""
    return b"{}" if path.endswith(".json") else f"{path}\n".encode() * 20


def _files(paths: Iterable[str]) -> dict[str, bytes]:
    return {path: _content(path) for path in paths}


def _description(name: str, **fields: object) -> bytes:
    return json.dumps({"Name": name, "BIDSVersion": "1.8.0", **fields}).encode()


def test_retest() -> dict[str, bytes]:
    """Return four subjects of OpenNeuro's ds000114, scanned twice."""
    files = {
        "dataset_description.json": _description(
            "A test-retest fMRI dataset", DatasetDOI="doi:10.18112/openneuro.ds000114.v1.0.2"
        ),
        "CHANGES": b"1.0.2 2022-08-24\n  - Update Funding field\n",
        "participants.tsv": b"participant_id\tdominant_hand\n"
        b"sub-01\tleft\nsub-02\tright\nsub-03\tright\nsub-06\tleft\n",
        "dwi.bval": b"0 1000\n",
        "dwi.bvec": b"0 1\n0 0\n0 0\n",
        f"{FOOTLIPS}_bold.json": b'{"RepetitionTime": 2.5}',
        f"{FOOTLIPS}_events.tsv": b"onset\tduration\ttrial_type\n10\t15\tFinger\n",
    }
    for label in ("01", "02", "03", "06"):
        for session in ("test", "retest"):
            above, name = f"sub-{label}/ses-{session}", f"sub-{label}_ses-{session}"
            files |= _files(
                f"{above}/{end.format(name)}.nii.gz"
                for end in ("anat/{}_T1w", "dwi/{}_dwi", f"func/{{}}_{FOOTLIPS}_bold")
            )
    return files


def gamblers() -> dict[str, bytes]:
    """Return two subjects of OpenNeuro's ds000001."""
    files = {
        "dataset_description.json": _description("Balloon Analog Risk-taking Task"),
        "README": b"A task.\n",
        "participants.tsv": b"participant_id\tsex\tage\nsub-01\tF\t26\nsub-02\tM\t24\n",
        f"{GAMBLE}_bold.json": b'{"RepetitionTime": 2.0}',
    }
    for label in ("sub-01", "sub-02"):
        files |= _files([f"{label}/anat/{label}_T1w.nii.gz"])
        files |= _files(
            f"{label}/func/{label}_{GAMBLE}_run-0{run}_{end}"
            for run in (1, 2)
            for end in ("bold.nii.gz", "events.tsv")
        )
    return files


def sixteen_gamblers() -> dict[str, bytes]:
    """Return the anatomical images of ds000001, with its true table."""
    sexes = ["F", "M", "F", "F", "M,", "F", "M", "M", "M", "F", "F", "F", "F", "F", "F", "M"]
    ages = [26, 24, 27, 20, 22, 26, 24, 21, 26, 21, 24, 22, 21, 30, 24, 19]
    labels = [f"sub-{number:02}" for number in range(1, 17)]
    rows = zip(labels, sexes, ages, strict=True)
    table = "".join(f"{label}\t{sex}\t{age}\n" for label, sex, age in rows)
    images = _files(f"{label}/anat/{label}_T1w.nii.gz" for label in labels)
    return {**images, "participants.tsv": f"participant_id\tsex\tage\n{table}".encode()}


def preprocessed_gamblers() -> dict[str, bytes]:
    """Return the same two subjects as fMRIPrep leaves them."""
    files = {
        "dataset_description.json": _description(
            "fMRIPrep", DatasetType="derivative", GeneratedBy=[{"Name": "fMRIPrep"}]
        )
    }
    for label in ("sub-01", "sub-02"):
        files |= _files([f"{label}.html", f"{label}/figures/{label}_dseg.svg"])
        files |= _files([f"{label}/anat/{label}_desc-preproc_T1w.nii.gz"])
        for run in (1, 2):
            name = f"{label}/func/{label}_{GAMBLE}_run-{run}"
            files |= _files(f"{name}_desc-confounds_timeseries.{end}" for end in ("tsv", "json"))
            files |= _files(
                f"{name}_space-{space}_desc-{end}.{kind}"
                for space in ("MNI152NLin2009cAsym_res-2", "T1w")
                for end in ("preproc_bold", "brain_mask")
                for kind in ("nii.gz", "json")
            )
    return files


def brain_network(site: str, labels: Iterable[str]) -> dict[str, bytes]:
    """Return a site of the Healthy Brain Network; its derivatives are grouped by subject."""
    files = {
        "participants.tsv": b"participant_id\tSex\tAge\n",
        "task-rest_bold.json": b"{}",
    }
    for number, label in enumerate(labels):
        name = f"sub-{label}"
        row = f"{name}\t{number % 2}\t{6.5 + number}\n"
        files["participants.tsv"] += row.encode()
        files |= _files(f"{name}/dwi/{name}_acq-64dir_dwi{end}" for end in DIFFUSION)
        files |= _files(f"{name}/anat/{name}_acq-HCP_T1w{end}" for end in (".json", ".nii.gz"))
        qsiprep = f"derivatives/{name}/qsiprep"
        files |= _files(
            f"{qsiprep}/dwi/{name}_acq-64dir_space-T1w_desc-preproc_dwi{end}"
            for end in (".b", *DIFFUSION[1:])
        )
        files |= _files(
            [
                f"{qsiprep}/dwi/{name}_acq-64dir_space-T1w_desc-brain_mask.nii.gz",
                f"{qsiprep}/anat/{name}_desc-preproc_T1w.nii.gz",
                f"derivatives/{name}/afq/{name}_acq-64dir_dwi_space-RASMM_profiles.csv",
            ]
        )
    return {f"{site}/{path}": data for path, data in files.items()}


DIFFUSION = (".json", ".bval", ".bvec", ".nii.gz")


def upload(
    endpoint: str, bucket: str, prefix: str, files: dict[str, bytes], *, public: bool = True
) -> None:
    """Put a study into a bucket, below a prefix, in the place of what was there."""
    filled = Bucket(endpoint, bucket, public)
    filled.erase(f"{prefix}/")
    filled.fill({f"{prefix}/{path}": data for path, data in files.items()})
