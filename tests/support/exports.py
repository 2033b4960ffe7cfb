"""A study whose names are as odd as a plan allows, and the tools that a plan is exported to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import md5, sha256
from pathlib import Path

import pytest

from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import write_plan

BIN = Path(sys.executable).parent
PATHS = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

FILES = {
    "dataset_description.json": b"{}",
    "sub-01/anat/sub-01_T1w.nii.gz": os.urandom(50_000),
    "sub-01/empty": b"",
    'sub-01/it\'s "a" $(touch pwned) `touch pwned` ü 100 +#?[a]*.txt': b"quotes",
    "sub-01/ lead\u3042.txt": b"space",
    "-dash.txt": b"dash",
    "=cmd()": b"formula",
    "#hash": b"hash",
    "a,b;c&d|e<f>!{x}~.tsv": b"shell",
    "--version-id": b"option",
}
PERCENT = {"per%20cent%0A.txt": b"percent"}
TRAILING = {"sub-01/trail ": b"trailing space"}
GENERATED = {"derivatives/gen/dataset_description.json": '{"Name": "100% \\\\ \'ü\' $(x)"}\n'}


def entry(key, data, **fields):
    fields = {"path": key, "etag": md5(data).hexdigest()} | fields
    return Entry(key=key, size=len(data), reason="selected", **fields)


def generated():
    return [
        Entry(path=path, size=len(text.encode()), reason="dataset", content=text)
        for path, text in GENERATED.items()
    ]


def odd_plan(bucket, files, *, more=(), sha256_of="raw", anonymous=True):
    """Fill a bucket with two datasets, and give their plan, with digests of one or of all."""
    # The last is of a layout that puts the subject first.
    derived = {"sub-01/x.json": b"[1]", "deep/sub-01/y.json": b"[2]", "sub-02/pipe/z.json": b"[3]"}
    bucket.fill({f"raw/{key}": data for key, data in files.items()})
    bucket.fill({f"der/{key}": data for key, data in derived.items()})
    entries = [entry(key, data, sha256=sha256(data).hexdigest()) for key, data in files.items()]
    for key, data in derived.items():
        digest = {"sha256": sha256(data).hexdigest()} if sha256_of == "all" else {}
        name = "sub-02/z.json" if "pipe" in key else key
        entries.append(entry(key, data, path=f"derivatives/pipe/{name}", root=1, **digest))
    roots = [Root(url=f"s3://{bucket.name}/{name}", anonymous=anonymous) for name in ("raw", "der")]
    return plan_of([*entries, *more], roots)


def plan_of(entries, roots):
    return Plan.build(
        entries, manifest_sha256="0" * 64, study='odd\n"$(x)"', roots=roots, subjects=[]
    )


def needed(*names):
    """Skip a test where one of the programs is missing."""
    for name in names:
        if shutil.which(name, path=PATHS) is None:
            pytest.skip(f"{name} is not installed")


def run_shell(command, folder, dest, **environment):
    """Run a command line that names DEST; gives its exit code and output."""
    usual = {"PATH": PATHS, "HOME": str(folder), "LANG": "C.UTF-8", "DEST": str(dest)}
    done = subprocess.run(
        ["sh", "-c", command.replace("DEST", '"$DEST"')],
        cwd=folder,
        env={**usual, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stdout + done.stderr


def written(plan, folder):
    path = folder / "p.plan.jsonl"
    write_plan(plan, path)
    return path
