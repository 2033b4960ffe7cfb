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
import ssl
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import trustme

import exports
import studies
from plans import write_files
from servers import HOST, Bucket, Proxy

ROOT = Path(__file__).resolve().parents[2]
AMAZON = "https://s3.amazonaws.com"
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


def openneuro(folder, endpoint):
    """Serve two studies of OpenNeuro, and what fMRIPrep made of one of them."""
    Bucket(endpoint, "openneuro.org").versioned()
    studies.upload(endpoint, "openneuro.org", "ds000114", studies.test_retest())
    studies.upload(endpoint, "openneuro.org", "ds000001", studies.gamblers())
    files = studies.preprocessed_gamblers()
    studies.upload(endpoint, "openneuro-derivatives", "fmriprep/ds000001-fmriprep", files)
    return {"AWS_ENDPOINT_URL_S3": endpoint, AMAZON: endpoint}


def gamblers(folder, endpoint):
    """Serve the sixteen subjects of OpenNeuro's ds000001."""
    studies.upload(endpoint, "openneuro.org", "ds000001", studies.sixteen_gamblers())
    return {"AWS_ENDPOINT_URL_S3": endpoint, AMAZON: endpoint}


def hbn(folder, endpoint):
    """Serve two sites of the Healthy Brain Network."""
    files = studies.brain_network("Site-RU", ("NDARAA306NT2", "NDARAB458VK9", "NDARAC349YUC"))
    files |= studies.brain_network("Site-CBIC", ("NDARAA948VFH", "NDARAD459XJK"))
    studies.upload(endpoint, "fcp-indi", "data/Projects/HBN/MRI", files)
    return {"AWS_ENDPOINT_URL_S3": endpoint, AMAZON: endpoint}


def lab(folder, endpoint):
    """Serve a study to those with keys, under a certificate of a private authority.

    The server's thread ends with the tests.
    """
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    bundle, keys = folder.with_name("ca.pem"), folder.with_name("get-keys")
    authority.cert_pem.write_to_path(bundle)
    secret = '{"Version": 1, "AccessKeyId": "lab", "SecretAccessKey": "secret"}'
    keys.write_text(f"#!/bin/sh\necho '{secret}'\n", encoding="utf-8")
    keys.chmod(0o755)
    for bucket, files in (("lab-data", studies.gamblers()), ("lab-copies", {})):
        studies.upload(endpoint, bucket, "cohort", files, public=False)
    url = Proxy(endpoint, tls=context).url
    return {
        "https://minio.lab.example:9000": url,
        "minio.lab.example": HOST,
        "/etc/ssl/lab-ca.pem": str(bundle),
        "/opt/lab/get-keys": str(keys),
        "AWS_CONFIG_FILE": str(folder.with_name("home") / ".aws" / "config"),
    }


def annex(folder, endpoint):
    """Let git-annex ask hosts of this machine."""
    exports.needed("git", "git-annex")
    name = "annex.security.allowed-ip-addresses"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": name, "GIT_CONFIG_VALUE_0": HOST}


def peers(folder, endpoint):
    """Set up s3bids and s5cmd, and write what `downloadcmd` may have downloaded."""
    exports.needed("s5cmd")
    pytest.importorskip("s3bids")
    write_files(folder / "nda" / "study", studies.gamblers())
    return {"S3_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", **KEYS}


def cluster(folder, endpoint):
    """Start a dask scheduler and a worker, which end with the tests."""
    distributed = pytest.importorskip("distributed")
    variables = {"AWS_ENDPOINT_URL_S3": endpoint, **KEYS}
    started = distributed.LocalCluster(
        1, threads_per_worker=1, env=variables, dashboard_address=":0"
    )
    return {"tcp://scheduler:8786": started.scheduler_address}


SETUPS = {
    setup.__name__: setup
    for setup in (
        empty,
        demo,
        study,
        pinned,
        git,
        openneuro,
        gamblers,
        hbn,
        lab,
        annex,
        peers,
        cluster,
    )
}


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
    studies.upload(endpoint, "openneuro.org", "ds000114", openneuro_study())


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
