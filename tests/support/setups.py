"""Where the commands of a page run: what is there before its first block.

A page names one or more of these, as in ``<!-- page: demo git -->``. Each fills the folder that
the page's commands start in, and returns the variables that it sets. ``docs/site/snippets.py``
reads the pages.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

from servers import Bucket

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def empty(folder, endpoint):
    """Leave the folder empty."""
    return {}


def demo(folder, endpoint):
    """Copy the repository's manifests, with the demo study."""
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    return {}


def study(folder, endpoint):
    """Serve studies in public buckets, and write the manifest of one of them and its plan."""
    fill_openneuro(endpoint)
    Bucket(endpoint, "my-bucket")
    url = "s3://openneuro.org/ds000114"
    text = f"manifest_version: 1\nstudy: {{id: ds000114, url: {url}}}\nsubjects: ['01', '02']\n"
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    # s5cmd has a variable of its own.
    variables = {"AWS_ENDPOINT_URL_S3": endpoint, "S3_ENDPOINT_URL": endpoint, **KEYS}
    bidsplan("compile --quiet study.yaml", folder, variables)
    plan = (folder / "study.plan.jsonl").read_bytes()
    (folder / "old.plan.jsonl").write_bytes(plan)
    (folder / "new.plan.jsonl.gz").write_bytes(gzip.compress(plan))
    return variables


def pinned(folder, endpoint):
    """Add the digests of its files to the plan of the study."""
    variables = {"AWS_ENDPOINT_URL_S3": endpoint}
    bidsplan("fetch --quiet study.plan.jsonl ../fetched", folder, variables)
    bidsplan("pin --quiet study.plan.jsonl ../fetched", folder, variables)
    return {}


def git(folder, endpoint):
    """Make a repository of the folder, with one commit on the branch main of all that is there."""
    for command in ("init --quiet --initial-branch main .", "add --all", "commit --quiet -m Start"):
        subprocess.run(["git", *command.split()], cwd=folder, env=os.environ, check=True)
    return {}


SETUPS = {setup.__name__: setup for setup in (empty, demo, study, pinned, git)}


def bidsplan(arguments, folder, variables):
    command = [sys.executable, "-m", "bidsplan", *arguments.split()]
    environment = {**os.environ, **variables}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def image(shape=(4, 4, 4)):
    """Make an image of NIfTI, gzipped."""
    data = np.zeros(shape, dtype=np.int16)
    return gzip.compress(nibabel.Nifti1Image(data, np.eye(4)).to_bytes(), mtime=0)


def description(name, **fields):
    return json.dumps({"Name": name, "BIDSVersion": "1.10.0", **fields}).encode()


def fill_openneuro(endpoint):
    """Put a study like ds000114 of OpenNeuro, and a pipeline's results, into a server."""
    Bucket(endpoint, "openneuro.org").fill(
        {f"ds000114/{path}": data for path, data in openneuro_study().items()}
    )


def openneuro_study():
    """Give six subjects of two sessions with a structural and a functional image, and results."""
    labels = [f"{number:02}" for number in range(1, 7)]
    ages = [f"sub-{label}\t{20 + int(label)}\n" for label in labels]
    files = {
        "dataset_description.json": description("Test-retest", DatasetType="raw"),
        "participants.tsv": "".join(["participant_id\tage\n", *ages]).encode(),
        "task-fingerfootlips_bold.json": b'{"RepetitionTime": 2.5, "TaskName": "fingerfootlips"}',
        "derivatives/fmriprep/dataset_description.json": description(
            "fMRIPrep", DatasetType="derivative", GeneratedBy=[{"Name": "fMRIPrep"}]
        ),
    }
    for label in labels:
        for session in ("test", "retest"):
            name = f"sub-{label}/ses-{session}/{{0}}/sub-{label}_ses-{session}"
            files[f"{name.format('anat')}_T1w.nii.gz"] = image()
            files[f"{name.format('func')}_task-fingerfootlips_bold.nii.gz"] = image((4, 4, 4, 6))
        anat = f"derivatives/fmriprep/sub-{label}/anat/sub-{label}_desc-preproc"
        files[f"{anat}_T1w.nii.gz"] = image()
    return files
