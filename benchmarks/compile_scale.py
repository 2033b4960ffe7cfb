"""Time compiling, to see whether its cost grows linearly with the study.

Makes a listing of a large study in memory, 2,600 subjects with 67,600 keys at scale 1, and compiles
a manifest over it that selects every subject, filters files and follows companions. Each size is
measured in a process of its own, so that its peak memory is its own::

    python benchmarks/compile_scale.py
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import bidsplan
from bidsplan.errors import SourceMissingError
from bidsplan.storage import Children, Object, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.storage.objects import Identity

SUBJECTS = 2600
SIDECAR = b'{"TaskName": "rest", "IntendedFor": []}'
ROOT = {
    "dataset_description.json": b'{"Name": "large", "BIDSVersion": "1.10.0"}',
    "participants.tsv": b"participant_id\n",
    "task-rest_bold.json": SIDECAR,
    "dwi.bval": b"0\n",
    "dwi.bvec": b"0\n0\n0\n",
}
SCANS = (
    ("anat", "T1w", (".nii.gz", ".json")),
    ("anat", "T2w", (".nii.gz", ".json")),
    ("dwi", "dwi", (".nii.gz", ".json")),
    ("func", "task-rest_run-1_bold", (".nii.gz", ".json")),
    ("func", "task-rest_run-1_events", (".tsv",)),
    ("func", "task-rest_run-2_bold", (".nii.gz", ".json")),
    ("func", "task-rest_run-2_events", (".tsv",)),
)


class Large(Store):
    """A listing store of any size, whose sidecars all read alike."""

    url = "s3://bucket/large"

    def __init__(self, subjects: int) -> None:
        self._labels = [f"S{number:06}" for number in range(subjects)]

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        if prefix:
            return Children((), ())
        files = tuple(sorted(Object(key, len(data)) for key, data in ROOT.items()))
        return Children(files, tuple(f"sub-{label}/" for label in self._labels))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        subject = prefix.rstrip("/")
        for session in ("a", "b"):
            stem = f"{subject}_ses-{session}"
            yield Object(f"{subject}/ses-{session}/{stem}_scans.tsv", 100)
            for datatype, name, extensions in SCANS:
                for extension in extensions:
                    key = f"{subject}/ses-{session}/{datatype}/{stem}_{name}{extension}"
                    yield Object(key, len(SIDECAR) if extension == ".json" else 1000, "0" * 32)

    def stream(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Data:
        """See `Store.stream`."""
        if key not in ROOT and not key.endswith(".json"):
            raise SourceMissingError(key)
        return Data(ROOT.get(key, SIDECAR))


class Data:
    """Bytes as a stream."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size: int | None = len(data)
        self.etag: str | None = None
        self.identity: Identity | None = None

    def __iter__(self) -> Iterator[bytes]:
        yield self._data

    def close(self) -> None:
        """Do nothing."""


def measure(scale: int) -> None:
    """Compile once, and print what it took."""
    manifest = bidsplan.Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "large", "url": Large.url},
            "files": [{"suffixes": ["bold"]}, {"datatypes": ["dwi", "anat"]}],
        }
    )
    store = Large(SUBJECTS * scale)
    keys = sum(1 for _ in store.list("sub-S000000/")) * SUBJECTS * scale
    start = time.perf_counter()
    plan = bidsplan.compile_manifest(manifest, opener=lambda *_, **__: store).plan
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    files = plan.header.files
    print(f"{scale}x  {keys:>8,} keys  {files:>8,} files  {seconds:5.1f} s  {peak:4.0f} MB")


def main() -> int:
    """Measure each scale in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int)
    arguments = parser.parse_args()
    if arguments.scale:
        measure(arguments.scale)
        return 0
    for scale in (1, 2, 4):
        subprocess.run([sys.executable, __file__, "--scale", str(scale)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
