"""Errors about what a study holds, and how their entries mend them."""

from __future__ import annotations

import setups
import studies
from bidsplan.help_codes import HelpCode
from lab import stored
from mended_requests import openneuro
from mending import mends
from plans import write_files

HBN = "{id: HBN, url: s3://fcp-indi/data/Projects/HBN/MRI}"


def hbn(lab) -> None:
    """Serve two sites of the Healthy Brain Network, in its place."""
    setups.hbn(lab.folder, lab.bucket.endpoint)
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.bucket.endpoint)


@mends(HelpCode.STUDY_MISSING)
def study_missing(lab, entry):
    openneuro(lab)
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL", lab.bucket.endpoint)
    lab.manifest(study="{id: x, url: s3://openneuro.org/DS000114}")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest(study="{id: x, url: s3://openneuro.org/ds000114}")
    entry.solved()


@mends(HelpCode.NO_SUBJECTS)
def no_subjects(lab, entry):
    hbn(lab)
    fragment = entry.fragment()
    lab.manifest(study=HBN)
    entry.fails("bidsplan compile study.yaml")
    place, site = fragment.splitlines()
    lab.manifest(site, place.removeprefix("study: "))
    entry.solved("bidsplan inspect study.yaml", "bidsplan compile study.yaml")


@mends(HelpCode.SITE_MISSING)
def site_missing(lab, entry):
    hbn(lab)
    lab.manifest("site: Site-RO", HBN)
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest("site: Site-RU", HBN)
    entry.solved()


@mends(HelpCode.SUBJECT_MISSING)
def subject_missing(lab, entry):
    lab.manifest("subjects: {include: ['01', '1']}")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    for mended in ("{include: ['01', '1'], missing: skip}", "{include: ['01']}"):
        lab.manifest(f"subjects: {mended}")
        entry.solved("bidsplan compile study.yaml", "bidsplan explain study.yaml")


@mends(HelpCode.SAMPLE)
def sample(lab, entry):
    lab.manifest("subjects: {sample: 9}\nrandom_seed: 1")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest("subjects: {sample: 1}\nrandom_seed: 1")
    entry.solved()


@mends(HelpCode.TABLE)
def table(lab, entry):
    lab.manifest("subjects: {where: {gender: F}}")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest("subjects: {where: {sex: F}}")
    entry.solved()
    lab.manifest(entry.fragment())
    entry.fails("bidsplan compile study.yaml")
    write_files(lab.folder, {"cohort.csv": b"ID,group\n01,control\n02,patient\n"})
    entry.solved()


@mends(HelpCode.SELECTION)
def selection(lab, entry):
    write_files(lab.folder / "study", {"sub-01/anat/sub-01_T1w.nii.gz": b"x"})
    lab.manifest("files: {include: ['*.nii.gz']}")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest("files: {include: ['**/*.nii.gz']}")
    entry.solved()


@mends(HelpCode.DERIVATIVE)
def derivative(lab, entry):
    stored(lab)
    files = {"sub-01/anat/sub-01_desc-preproc_T1w.nii.gz": b"x", "dataset_description.json": b"{}"}
    bucket, prefix = "openneuro-derivatives", "fmriprep/ds000114-fmriprep"
    studies.upload(lab.bucket.endpoint, bucket, prefix, files)
    lab.manifest("derivatives: [fmriprep]", f"{{id: x, url: 's3://{lab.bucket.name}/study'}}")
    entry.fails("bidsplan compile study.yaml")
    lab.manifest(entry.fragment(), f"{{id: x, url: 's3://{lab.bucket.name}/study'}}")
    entry.solved("bidsplan compile study.yaml")
    entry.solved("bidsplan show study.plan.jsonl")


@mends(HelpCode.LIMIT)
def limit(lab, entry):
    lab.manifest("limits: {max_files: 1}")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest("limits: {max_files: 9}")
    entry.solved()


@mends(HelpCode.KEY_ADDRESSED)
def key_addressed(lab, entry):
    openneuro(lab)
    name = "MD5E-s3--d41d8cd98f00b204e9800998ecf8427e.nii.gz"
    write_files(lab.folder / "annex", {name: b"one", "sub-1/x": b""})
    lab.manifest(study="{id: x, url: annex}")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest(study="{id: x, url: s3://openneuro.org/ds000114}")
    entry.solved("bidsplan compile study.yaml", "bidsplan inspect study.yaml")


@mends(HelpCode.CONTENT_MISSING)
def content_missing(lab, entry):
    image = lab.folder / "study/sub-01/anat/sub-01_T1w.nii"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/none")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    lab.manifest("subjects: ['02']")
    entry.solved()


@mends(HelpCode.UNVERSIONED)
def unversioned(lab, entry):
    lab.manifest(study="{id: x, url: study, versions: pinned}")
    entry.fails("bidsplan compile study.yaml")
    lab.manifest()
    entry.follow()
    entry.solved()
    assert b'"sha256"' in (lab.folder / "study.plan.jsonl").read_bytes()


@mends(HelpCode.CLASH)
def clash(lab, entry):
    write_files(lab.folder / "study/derivatives/afq", {"sub-01/x.txt": b"x"})
    write_files(lab.folder / "other", {"sub-01/x.txt": b"y", "sub-02/x.txt": b"y"})
    lab.manifest("derivatives: {afq: {url: other}}\ndirectories: [derivatives]")
    entry.fails("bidsplan compile study.yaml")
    for mended in (
        "derivatives: {afq2: {url: other}}\ndirectories: [derivatives]",
        "derivatives: {afq: {url: other}}",
    ):
        lab.manifest(mended)
        entry.solved()
