"""A study, a manifest, a plan and a bucket, and the command that errors are brought about with."""

from __future__ import annotations

import resource
import subprocess
from contextlib import contextmanager

from bidsplan.plan.file import write_plan
from plans import FILES, plan_over, write_files
from servers import Rule

KEY = "sub-1/anat/image.nii.gz"
STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "participants.tsv": b"participant_id\tsex\nsub-01\tF\nsub-02\tM\n",
    "sub-01/anat/sub-01_T1w.nii": b"one",
    "sub-02/anat/sub-02_T1w.nii": b"two",
}
LISTING = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>b</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>"
    "<EncodingType>url</EncodingType><IsTruncated>{}</IsTruncated>{}</ListBucketResult>"
)


class Lab:
    """A folder with a study, a manifest and a plan, a bucket behind a proxy, and the command."""

    def __init__(self, folder, monkeypatch, ask, bucket, proxy) -> None:
        self.folder, self.monkeypatch, self._ask = folder, monkeypatch, ask
        self.bucket, self.proxy = bucket, proxy
        write_files(folder / "study", STUDY)
        self.manifest()

    def run(self, *arguments) -> str:
        return self._ask(*arguments)[2]

    def manifest(self, more="", study="{id: x, url: study}", name="study.yaml") -> None:
        text = f"manifest_version: 1\nstudy: {study}\n{more}\n"
        (self.folder / name).write_text(text, encoding="utf-8")

    def compile(self, more="", study="{id: x, url: study}", *options) -> str:
        self.manifest(more, study)
        return self.run("compile", "study.yaml", *options)

    def validate(self, more, *options) -> str:
        self.manifest(more)
        return self.run("validate", "study.yaml", *options)

    def edit_plan(self, change) -> str:
        """Change a compiled plan's bytes, and show it."""
        self.compile()
        path = self.folder / "study.plan.jsonl"
        path.write_bytes(change(path.read_bytes()))
        return self.run("show", "study.plan.jsonl")

    def signed(self) -> None:
        self.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        self.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    def storage_plan(self, files=FILES, **fields) -> None:
        """Write a plan of files in the bucket, which is reached through the proxy."""
        self.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", self.proxy.url)
        self.bucket.fill({f"x/{key}": data for key, data in files.items()})
        write_plan(
            plan_over(f"s3://{self.bucket.name}/x", files, **fields), self.folder / "s.plan.jsonl"
        )

    def fetch(self, *options) -> str:
        return self.run("fetch", "s.plan.jsonl", "d", *options)

    def refused(self, status, code="", *options, **more) -> str:
        """Fetch while the storage answers requests for an image by a status."""
        self.storage_plan()
        self.proxy.rules.append(Rule("status", KEY, status=status, code=code, **more))
        return self.fetch(*options)

    def inspect(self, *options) -> str:
        return self.run("inspect", f"s3://{self.bucket.name}/x", *options)


PROVOKED = {}


def provokes(code):
    """Register a function that yields what is said while it brings an error about."""

    def register(function):
        assert code not in PROVOKED
        PROVOKED[code] = function
        return function

    return register


def stored(lab, files=None) -> None:
    """Move the study into the bucket, which is reached through the proxy, and compile it there."""
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.proxy.url)
    lab.bucket.fill({f"study/{key}": data for key, data in (files or STUDY).items()})
    assert "BP" not in lab.compile(study=f"{{id: x, url: 's3://{lab.bucket.name}/study'}}")


def committed(lab) -> None:
    """Make a repository of the folder, with one commit of all that is there."""
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in ("init --quiet .", "add --all", "commit --quiet -m Start"):
        subprocess.run(["git", *settings, *command.split()], cwd=lab.folder, check=True)


@contextmanager
def limited(kind, number):
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
