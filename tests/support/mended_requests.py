"""Errors of the command line, the manifest and the plan, and how their entries mend them."""

from __future__ import annotations

import errno
import os
import shutil
import sys

import distributed

from bidsplan.help_codes import HelpCode
from lab import committed, stored
from mending import mends
from plans import write_files
from setups import fill_openneuro
from wrong_input import breaking


def openneuro(lab) -> None:
    """Serve a study of OpenNeuro, in the place of OpenNeuro."""
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.bucket.endpoint)
    fill_openneuro(lab.bucket.endpoint)


@mends(HelpCode.USAGE)
def usage(lab, entry):
    entry.fails("bidsplan fetch study.yaml")
    entry.follow()
    entry.solved("bidsplan fetch study.yaml data")


@mends(HelpCode.WRONG_DOCUMENT)
def wrong_document(lab, entry):
    openneuro(lab)
    entry.fails("bidsplan compile s3://openneuro.org/ds000114")
    entry.fails("bidsplan fetch data study.yaml")
    entry.follow()
    entry.solved("bidsplan verify ds000114.yaml data")


@mends(HelpCode.LIBRARY)
def library(lab, entry):
    lab.compile()
    with lab.monkeypatch.context() as missing:
        missing.setitem(sys.modules, "distributed", None)
        entry.fails("bidsplan fetch --dask tcp://127.0.0.1:1 study.plan.jsonl data")
    entry.follow()
    entry.solved("bidsplan fetch study.plan.jsonl data")


@mends(HelpCode.UNSUPPORTED)
def unsupported(lab, entry):
    lab.compile()
    entry.fails("bidsplan export study.plan.jsonl --to s5cmd")
    entry.follow()
    entry.solved("bidsplan export study.plan.jsonl --to csv")


@mends(HelpCode.OPEN_FILES)
def open_files(lab, entry):
    profile = lab.folder.with_name("profile")
    profile.write_text("ulimit -Sn 20\n", encoding="utf-8")
    entry.settings["BASH_ENV"] = str(profile)
    entry.fails("ulimit -n; bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved("bidsplan verify study.yaml data")


@mends(HelpCode.PART)
def part(lab, entry):
    lab.compile("subjects: ['02']")
    entry.fails("bidsplan fetch --subject 01 study.plan.jsonl data")
    entry.follow()
    lab.compile("subjects: ['01', '02']")
    entry.solved()


@mends(HelpCode.DASK)
def dask(lab, entry):
    lab.compile()
    entry.fails("bidsplan fetch --dask http://scheduler:8786 study.plan.jsonl data")
    options = {"processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=1, **options) as cluster:
        shared = lab.folder.with_name("shared")
        entry.meant |= {"tcp://scheduler:8786": cluster.scheduler_address, "/shared": str(shared)}
        shared.mkdir()
        entry.follow()
        entry.solved("bidsplan verify study.plan.jsonl /shared/data")


@mends(HelpCode.CONFIGURATION)
def configuration(lab, entry):
    stored(lab)
    url = lab.proxy.url
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url.removeprefix("http://"))
    entry.fails("bidsplan inspect s3://lab-bucket/study")
    entry.follow()
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    entry.solved()


@mends(HelpCode.MACHINE)
def machine(lab, entry):
    with lab.monkeypatch.context() as broken:
        breaking(broken, OSError(errno.EIO, os.strerror(errno.EIO), "somewhere"))
        entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.BUG)
def bug(lab, entry):
    with lab.monkeypatch.context() as broken:
        breaking(broken, RuntimeError("what nobody expects"))
        entry.fails("bidsplan fetch study.yaml data")
        entry.repeat("in fails\n    raise error")
    entry.solved()


@mends(HelpCode.MANIFEST_UNREADABLE)
def manifest_unreadable(lab, entry):
    entry.fails("bidsplan validate stduy.yaml")
    entry.follow()
    entry.solved("bidsplan validate study.yaml")


@mends(HelpCode.YAML)
def yaml(lab, entry):
    write_files(lab.folder / "study", {"sub-01/anat/sub-01_T1w.nii.gz": b"x"})
    fragment = entry.fragment()
    lab.manifest(fragment.replace('"', ""))
    entry.fails("bidsplan validate study.yaml")
    lab.manifest(fragment)
    entry.follow()
    entry.solved("bidsplan validate study.yaml", "bidsplan compile study.yaml")


@mends(HelpCode.MANIFEST)
def manifest(lab, entry):
    lab.manifest("files: {sufixes: [T1w]}")
    entry.fails("bidsplan validate study.yaml")
    lab.manifest("files: {suffixes: [T1w]}")
    entry.follow()
    entry.solved()
    assert "suffixes" in (lab.folder / "manifest.schema.json").read_text(encoding="utf-8")


@mends(HelpCode.SECRET)
def secret(lab, entry):
    stored(lab)
    keys = "aws_access_key_id = lab\naws_secret_access_key = secret\n"
    config = entry.home / "aws-config"
    config.write_text(f"[profile lab]\n{keys}", encoding="utf-8")
    lab.monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    place = f"{{id: x, url: 's3://{lab.bucket.name}/study', anonymous: false}}"
    lab.manifest("aws_secret_access_key: secret", place)
    entry.fails("bidsplan validate study.yaml")
    lab.manifest(study=place)
    entry.follow()
    entry.solved("bidsplan validate study.yaml", "bidsplan compile study.yaml")
    assert lab.proxy.keys == {"lab"}
    label = "AKIAIOSFODNN7EXAMPLE"
    write_files(lab.folder / f"study/sub-{label}/anat", {f"sub-{label}_T1w.nii": b"x"})
    lab.manifest(f"subjects: {{include: [{label}]}}")
    entry.fails("bidsplan compile study.yaml")
    lab.manifest(entry.fragment())
    entry.solved("bidsplan validate study.yaml", "bidsplan compile study.yaml")
    assert label in (lab.folder / "study.plan.jsonl").read_text(encoding="utf-8")


@mends(HelpCode.URL)
def url(lab, entry):
    openneuro(lab)
    entry.fails("bidsplan inspect https://openneuro.org/datasets/ds000114")
    lab.manifest(study="{id: x, url: 'sftp://lab.example/study'}")
    entry.fails("bidsplan validate study.yaml")
    entry.follow()
    entry.solved("bidsplan inspect s3://openneuro.org/ds000114")
    for wrong in ("s3://b/x?versionId=1", "s3://b/x#a", "zip::s3://b/x.zip", "s3://me:pw@b/x"):
        lab.manifest(study=f"{{id: x, url: '{wrong}'}}")
        entry.fails("bidsplan validate study.yaml")
    lab.manifest(study="{id: x, url: 's3://lab-bucket/x', versions: pinned}")
    entry.solved()


@mends(HelpCode.UNTRUSTED)
def untrusted(lab, entry):
    lab.monkeypatch.setenv("BIDSPLAN_UNTRUSTED", "1")
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    entry.solved("bidsplan show study.plan.jsonl")


@mends(HelpCode.STRICT)
def strict(lab, entry):
    lab.manifest("files: {suffixes: [T1w, T1W]}")
    entry.fails("bidsplan compile --strict study.yaml")
    entry.follow()
    lab.manifest("files: {suffixes: [T1w]}")
    entry.solved()


@mends(HelpCode.PLAN)
def plan(lab, entry):
    lab.compile()
    committed(lab)
    path = lab.folder / "study.plan.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    entry.fails("bidsplan fetch study.plan.jsonl data")
    entry.follow()
    entry.solved()


@mends(HelpCode.PLAN_VERSION)
def plan_version(lab, entry):
    lab.compile()
    path = lab.folder / "study.plan.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"plan_version":1', b'"plan_version":9'))
    entry.fails("bidsplan show study.plan.jsonl")
    entry.follow()
    lab.compile()  # as a colleague does whose version is this one
    entry.solved()


@mends(HelpCode.PLAN_STALE)
def plan_stale(lab, entry):
    lab.compile()
    lab.manifest("subjects: ['01']")
    entry.fails("bidsplan fetch --locked study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.PLAN_MISSING)
def plan_missing(lab, entry):
    entry.fails("bidsplan fetch --locked study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.PLAN_UNREADABLE)
def plan_unreadable(lab, entry):
    lab.compile()
    (lab.folder / "plans").mkdir()
    shutil.move(lab.folder / "study.plan.jsonl", lab.folder / "plans" / "other.plan.jsonl")
    entry.fails("bidsplan show study.plan.jsonl")
    entry.follow()
    entry.solved()
