"""Errors of the command line, the manifest, the study and the plan, as users bring them about."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from bidsplan.help_codes import HelpCode
from lab import provokes
from plans import write_files


@provokes(HelpCode.USAGE)
def usage(lab):
    lab.compile()
    yield lab.run("fetch", "study.yaml")
    yield lab.run("fetch", "study.yaml", "d", "--subject", "01", "02")
    yield lab.run("init", "s3://127.0.0.1:1/x", "-o", "study.yaml")
    yield lab.run("fetch", "--locked", "--frozen", "study.yaml", "d")
    yield lab.run("show", "--tree", "--csv", "study.plan.jsonl")
    yield lab.run("fetch", "--session", "1", "study.plan.jsonl", "d")
    yield lab.run("prune", "study.plan.jsonl", "d")


@provokes(HelpCode.WRONG_DOCUMENT)
def wrong_document(lab):
    yield lab.run("compile", "s3://openneuro.org/ds000114")
    yield lab.run("show", "s3://lab-bucket/study.plan.jsonl")
    yield lab.run("fetch", "data", "study.yaml")
    lab.manifest()
    yield lab.run("validate", ".")
    yield lab.run("init", "study.yaml")
    yield lab.run("show", "study.txt")
    yield lab.run("compile", "study.plan.jsonl")


@provokes(HelpCode.LIBRARY)
def library(lab):
    lab.compile()
    lab.monkeypatch.setitem(sys.modules, "distributed", None)
    yield lab.run("fetch", "--dask", "tcp://127.0.0.1:1", "study.plan.jsonl", "d")


@provokes(HelpCode.UNSUPPORTED)
def unsupported(lab):
    lab.compile()
    yield lab.run("fetch", "study.plan.jsonl", "https://127.0.0.1/x")
    yield lab.run("export", "study.plan.jsonl", "--to", "s5cmd")


@provokes(HelpCode.OPEN_FILES)
def open_files(lab):
    lab.compile()
    command = [sys.executable, "-m", "bidsplan", "fetch", "study.plan.jsonl", "d"]
    yield subprocess.run(
        ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    ).stderr


@provokes(HelpCode.PART)
def part(lab):
    lab.compile()
    yield lab.run("fetch", "--subject", "99", "study.plan.jsonl", "d")
    yield lab.run("fetch", "--subject", "01", "--session", "x", "study.plan.jsonl", "d")


@provokes(HelpCode.DASK)
def dask(lab):
    lab.compile()
    yield lab.run("fetch", "--dask", "nonsense://x", "study.plan.jsonl", "d")


@provokes(HelpCode.CONFIGURATION)
def configuration(lab):
    yield lab.inspect("--endpoint-url", "ftp://127.0.0.1:1")
    yield lab.inspect("--endpoint-url", "127.0.0.1:1")
    yield lab.inspect("--profile", "nobody")
    yield lab.inspect("--region", "no region")
    lab.monkeypatch.setenv("AWS_CA_BUNDLE", "/none.pem")
    yield lab.inspect("--endpoint-url", "https://127.0.0.1:1")
    lab.monkeypatch.delenv("AWS_CA_BUNDLE")
    lab.monkeypatch.setenv("HTTP_PROXY", "nonsense:")
    yield lab.inspect("--endpoint-url", "http://storage.invalid")


def breaking(monkeypatch, error):
    """Let a call to the operating system fail."""

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(Path, "exists", fails)


@provokes(HelpCode.MACHINE)
def machine(lab):
    breaking(lab.monkeypatch, OSError(errno.EIO, os.strerror(errno.EIO), "somewhere"))
    yield lab.run("fetch", "study.yaml", "d")


@provokes(HelpCode.BUG)
def bug(lab):
    breaking(lab.monkeypatch, RuntimeError("what nobody expects"))
    yield lab.run("fetch", "study.yaml", "d")


@provokes(HelpCode.MANIFEST_UNREADABLE)
def manifest_unreadable(lab):
    (lab.folder / "folder.yaml").mkdir()
    yield lab.run("validate", "none.yaml")
    lab.manifest()
    yield lab.run("validate", "stuby.yaml")
    yield lab.run("validate", "folder.yaml")


@provokes(HelpCode.YAML)
def yaml(lab):
    yield lab.validate("files: [dwi")
    yield lab.validate('files: "dwi')
    yield lab.validate("<<<<<<< HEAD\nfiles: dwi\n=======\n")
    yield lab.validate("files:\n\tsuffixes: [dwi]")
    yield lab.validate("files: dwi\nfiles: func")
    yield lab.validate("files: {include: [*_T1w.nii.gz]}")


@provokes(HelpCode.MANIFEST)
def manifest(lab):
    yield lab.validate("files: {sufixes: [T1w]}")
    lab.manifest(study="{id: x}")
    yield lab.run("validate", "study.yaml")


@provokes(HelpCode.SECRET)
def secret(lab):
    yield lab.validate("password: x")
    yield lab.validate("subjects: [AKIAIOSFODNN7EXAMPLE]")


@provokes(HelpCode.URL)
def url(lab):
    for place in (
        "sftp://h/x",
        "s3://me:pw@b/x",
        "s3:b/x",
        "https://openneuro.org/datasets/ds000114",
    ):
        lab.manifest(study=f"{{id: x, url: '{place}'}}")
        yield lab.run("validate", "study.yaml")
    yield lab.run("fetch", "study.yaml", "s3:/b/x")
    yield lab.run("verify", "study.yaml", "https:/b/x")


@provokes(HelpCode.UNTRUSTED)
def untrusted(lab):
    yield lab.run("compile", "--untrusted", "study.yaml")
    lab.manifest(study="{id: x, url: 'https://127.0.0.1/x'}")
    yield lab.run("compile", "--untrusted", "study.yaml")
    lab.storage_plan()
    yield lab.run("fetch", "--untrusted", "s.plan.jsonl", f"s3://{lab.bucket.name}/copy")


@provokes(HelpCode.STRICT)
def strict(lab):
    yield lab.validate("files: {suffixes: [T1W]}", "--strict")
    yield lab.compile("files: {suffixes: [T1w, T1W]}", "{id: x, url: study}", "--strict")


@provokes(HelpCode.STUDY_MISSING)
def study_missing(lab):
    yield lab.compile(study="{id: x, url: nowhere}")


@provokes(HelpCode.NO_SUBJECTS)
def no_subjects(lab):
    write_files(lab.folder / "above", {"study/sub-1/x": b""})
    yield lab.compile(study="{id: x, url: above}")
    yield lab.compile(study="{id: x, url: above/study/sub-1}")
    write_files(lab.folder / "other", {"a/b/c": b"x"})
    yield lab.run("init", "other")


@provokes(HelpCode.SITE_MISSING)
def site_missing(lab):
    yield lab.compile("site: Nope")


@provokes(HelpCode.SUBJECT_MISSING)
def subject_missing(lab):
    yield lab.compile("subjects: ['1']")
    yield lab.run("explain", "study.yaml", "nobody")
    yield lab.compile("subjects: {exclude: ['1']}")
    lab.manifest()
    yield lab.run("explain", "study.yaml", "1")
    yield lab.compile("subjects: {exclude: ['*']}")
    lab.manifest()
    yield lab.run("explain", "study.yaml", "nobody")


@provokes(HelpCode.SAMPLE)
def sample(lab):
    yield lab.compile("subjects: {sample: 9}\nrandom_seed: 1")
    yield lab.compile("subjects: {sample: {count: 9, per: sex}}\nrandom_seed: 1")


@provokes(HelpCode.TABLE)
def table(lab):
    yield lab.compile("subjects: {from: both, table: nope.tsv}")
    yield lab.compile("subjects: {where: {gender: F}}")
    yield lab.compile("subjects: {include: {file: nope.txt}}")


@provokes(HelpCode.SELECTION)
def selection(lab):
    yield lab.compile("files: {suffixes: [bold]}")
    yield lab.compile("files: {include: ['*.nii']}")
    yield lab.compile("sessions: ['01']")
    write_files(lab.folder / "study", {"sub-01/dwi/sub-01_dwi.json": b"{}"})
    yield lab.compile("subjects: {require: [{datatypes: [dwi]}]}")


@provokes(HelpCode.DERIVATIVE)
def derivative(lab):
    yield lab.compile("derivatives: [fmriprep]")
    write_files(lab.folder / "study/derivatives/fmriprep", {"sub-01/x.txt": b"x"})
    yield lab.compile("derivatives: [fmriprp]")
    yield lab.compile("derivatives: {other: {url: nowhere}}")


@provokes(HelpCode.LIMIT)
def limit(lab):
    yield lab.compile("limits: {max_files: 1}")


@provokes(HelpCode.KEY_ADDRESSED)
def key_addressed(lab):
    name = "MD5E-s3--d41d8cd98f00b204e9800998ecf8427e.nii.gz"
    write_files(lab.folder / "annex", {name: b"one", "sub-1/x": b""})
    yield lab.compile(study="{id: x, url: annex}")


@provokes(HelpCode.CONTENT_MISSING)
def content_missing(lab):
    for number in (1, 2):
        path = lab.folder / f"study/sub-0{number}/anat/sub-0{number}_T1w.nii"
        path.unlink()
        path.symlink_to("../../.git/annex/objects/none")
    yield lab.compile()


@provokes(HelpCode.UNVERSIONED)
def unversioned(lab):
    yield lab.compile(study="{id: x, url: study, versions: pinned}")


@provokes(HelpCode.CLASH)
def clash(lab):
    write_files(lab.folder / "study/derivatives/afq", {"sub-01/x.txt": b"x"})
    write_files(lab.folder / "other", {"sub-01/x.txt": b"y", "sub-02/x.txt": b"y"})
    yield lab.compile("derivatives: {afq: {url: other}}\ndirectories: [derivatives]")


@provokes(HelpCode.PLAN)
def plan(lab):
    yield lab.edit_plan(lambda data: data.replace(b'"size":3', b'"size":4', 2))
    yield lab.edit_plan(lambda data: data.replace(b"sub-01_T1w", b"sub-01_T2w"))
    yield lab.edit_plan(lambda data: b"".join(data.splitlines(keepends=True)[:-1]))
    yield lab.edit_plan(lambda _: b'{"a": 1}\n')
    yield lab.edit_plan(lambda data: b"<<<<<<< HEAD\n" + data)
    yield lab.edit_plan(lambda data: data.replace(b"\n", b"\r\n"))


@provokes(HelpCode.PLAN_VERSION)
def plan_version(lab):
    yield lab.edit_plan(lambda data: data.replace(b'"plan_version":1', b'"plan_version":9'))


@provokes(HelpCode.PLAN_STALE)
def plan_stale(lab):
    lab.compile()
    lab.manifest("subjects: ['01']")
    yield lab.run("verify", "study.yaml", "d")
    write_files(lab.folder, {"out.txt": b"02"})
    lab.manifest("subjects: {exclude: {file: out.txt}}")
    yield lab.run("verify", "study.yaml", "d")


@provokes(HelpCode.PLAN_MISSING)
def plan_missing(lab):
    yield lab.run("verify", "study.yaml", "d")


@provokes(HelpCode.PLAN_UNREADABLE)
def plan_unreadable(lab):
    (lab.folder / "folder.jsonl").mkdir()
    yield lab.run("show", "none.plan.jsonl")
    yield lab.run("show", "folder.jsonl")
