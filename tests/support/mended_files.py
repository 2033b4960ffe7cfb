"""Errors about bytes and destinations, and how their entries mend them."""

from __future__ import annotations

import dataclasses
import os
import shutil

import pytest

import bidsplan
import exports
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.lock import RunLock
from bidsplan.help_codes import HelpCode
from lab import stored
from mended_places import IMAGE, OF_FSSPEC, profiled
from mending import mends
from plans import write_files
from servers import Rule
from setups import image

FIRST = "sub-01/anat/sub-01_T1w.nii"


@mends(HelpCode.CORRUPT)
def corrupt(lab, entry):
    stored(lab)
    lab.run("fetch", "study.yaml", "before")
    lab.run("pin", "study.yaml", "before")
    lab.proxy.rules.append(Rule("flip", IMAGE, lacks=OF_FSSPEC))
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.UNPROVED)
def unproved(lab, entry):
    stored(lab)
    lab.proxy.rules.append(Rule("flip", IMAGE))
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved("bidsplan fetch --verify size study.yaml data")


@mends(HelpCode.DIFFERS)
def differs(lab, entry):
    lab.run("fetch", "study.yaml", "data")
    (lab.folder / "data" / FIRST).write_bytes(b"two")
    rotten = lab.folder / "data" / FIRST.replace("01", "02")
    before = rotten.stat()
    rotten.write_bytes(rotten.read_bytes()[::-1])
    os.utime(rotten, ns=(before.st_atime_ns, before.st_mtime_ns))
    entry.fails("bidsplan verify study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.SIZE_ONLY)
def size_only(lab, entry):
    lab.run("fetch", "study.yaml", "data")
    shutil.rmtree(lab.folder / "data/.bidsplan")
    entry.fails("bidsplan pin study.plan.jsonl data")
    entry.follow()
    entry.solved()


@mends(HelpCode.IMAGE_DAMAGED)
def image_damaged(lab, entry):
    (lab.folder / "study/sub-02/anat/sub-02_T1w.nii").unlink()
    write_files(lab.folder / "study/sub-02/anat", {"sub-02_T1w.nii.gz": image()})
    lab.run("fetch", "study.yaml", "data")
    entry.fails("bidsplan verify --deep study.yaml data")
    lab.manifest(entry.fragment())
    entry.follow()
    entry.solved()


@mends(HelpCode.EXISTING)
def existing(lab, entry):
    write_files(lab.folder / "data", {FIRST: b"mine"})
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow(1)
    entry.solved()


@mends(HelpCode.OUTDATED)
def outdated(lab, entry):
    lab.run("fetch", "study.yaml", "data")
    write_files(lab.folder / "study", {FIRST: b"newer"})
    lab.run("compile", "study.yaml")
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.MISSING)
def missing(lab, entry):
    lab.compile()
    lab.run("fetch", "--subject", "01", "study.plan.jsonl", "data")
    entry.fails("bidsplan verify study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.UNSAFE_PATH)
def unsafe_path(lab, entry):
    other = lab.folder.with_name("other-disk")
    entry.meant["/other-disk"] = str(other)
    (other / "sub-01").mkdir(parents=True)
    (lab.folder / "data").mkdir()
    link = lab.folder / "data/sub-01"
    link.symlink_to(other / "sub-01")
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    link.unlink()
    entry.solved()


@mends(HelpCode.LOCKED)
def locked(lab, entry):
    place = LocalDestination(str(lab.folder / "data"), create=True)
    lock = RunLock(place)
    assert list(lock.acquire(wait=False)) == []
    entry.fails("bidsplan fetch study.yaml data")
    lock.release()
    place.close()
    entry.follow()
    entry.solved()


@mends(HelpCode.DISK_FULL)
def disk_full(lab, entry):
    real = os.statvfs("/")
    full = dataclasses.make_dataclass("Full", [("f_bavail", int), ("f_frsize", int)])
    lab.compile()
    with lab.monkeypatch.context() as disk:
        disk.setattr(os, "statvfs", lambda _: full(0, real.f_frsize))
        entry.fails("bidsplan fetch study.yaml data")
        entry.follow()
        entry.solved("bidsplan verify study.yaml data")
    entry.solved()


@mends(HelpCode.DESTINATION)
def destination(lab, entry):
    entry.fails("bidsplan fetch study.yaml /proc/none/data")
    entry.follow()
    entry.solved("bidsplan verify study.yaml ~/data")


@mends(HelpCode.DATALAD_CLONE)
def datalad_clone(lab, entry):
    exports.needed("git", "git-annex")
    stored(lab)
    (lab.folder / "clone/.git/annex").mkdir(parents=True)
    entry.fails("bidsplan fetch study.yaml clone")
    entry.follow()
    entry.solved("bidsplan verify study.yaml data")


@mends(HelpCode.SAME_NAME)
def same_name(lab, entry):
    real = os.stat

    def folding(path, *arguments, **options):
        """Look names up as a file system does that ignores case."""
        return real(".probe-a" if path == ".probe-A" else path, *arguments, **options)

    names = ("sub-01_acq-X_T1w.nii", "sub-01_acq-x_T1w.nii")
    write_files(lab.folder / "study/sub-01/anat", dict.fromkeys(names, b"x"))
    stored(lab)
    lab.manifest()
    lab.signed()
    lab.monkeypatch.setattr(os, "stat", folding)
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    lab.manifest(f"files: {{exclude: ['**/{names[0]}']}}")
    entry.solved()


@mends(HelpCode.WRITE_DENIED)
def write_denied(lab, entry):
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.proxy.url)
    profiled(lab, entry)
    denied = {"status": 403, "code": "AccessDenied", "method": "PUT", "key": "test"}
    lab.proxy.rules.append(Rule("status", lab.bucket.name, **denied))
    entry.fails("bidsplan fetch study.yaml s3://lab-bucket/study")
    entry.follow()
    entry.solved("bidsplan fetch --dest-profile lab study.yaml s3://lab-bucket/study")


@mends(HelpCode.FETCH_FAILED)
def fetch_failed(lab, entry):
    lab.compile()
    write_files(lab.folder / "data", {FIRST: b"mine"})
    (lab.folder / "study/sub-02/anat/sub-02_T1w.nii").unlink()
    with pytest.raises(bidsplan.FetchFailed) as caught:
        bidsplan.fetch("study.yaml", "data")
    entry.seen(f"{caught.value} [{caught.value.help_code}]\n")
    entry.follow()
    entry.solved("bidsplan compile study.yaml")  # BP501
    entry.solved("bidsplan fetch --existing replace study.yaml data")  # BP701
    bidsplan.fetch("study.yaml", "data")


@mends(HelpCode.CACHE)
def cache(lab, entry):
    lab.compile()
    test = "def test_data(bidsplan_dataset):\n    bidsplan_dataset('study.yaml')\n"
    (lab.folder / "test_data.py").write_text(test, encoding="utf-8")
    # No other plugins of the machine, which take time.
    entry.settings |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    entry.settings |= {"PYTEST_PLUGINS": "bidsplan.pytest_plugin"}
    entry.fails("pytest --bidsplan=offline")
    entry.follow()
    entry.solved()
