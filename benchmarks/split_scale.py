"""Time splitting a plan of a million files, by subject and evenly.

The plan has 2,600 subjects with 384 files each. The command is run as users run it, and what it
took is what the operating system says of it::

    python benchmarks/split_scale.py
    python benchmarks/split_scale.py --subjects 260 2600
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from compile_scale import timed

from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import StoredPlan, write_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSIONS = 4
RUNS = 32
PARTS = (("bold", ".nii.gz"), ("bold", ".json"), ("events", ".tsv"))
SIZES = {".nii.gz": 40_000_000, ".json": 2_000, ".tsv": 5_000}
SHARDS = 64


def entries(subjects: int) -> Iterator[Entry]:
    """Name the files of a study: 384 a subject, and two of no subject."""
    for path in ("dataset_description.json", "task-rest_bold.json"):
        yield entry(path, 500)
    for subject in range(subjects):
        for session in range(SESSIONS):
            prefix = f"sub-{subject:04}/ses-{session}/func/sub-{subject:04}_ses-{session}_task-rest"
            for run in range(RUNS):
                for suffix, extension in PARTS:
                    yield entry(f"{prefix}_run-{run:02}_{suffix}{extension}", SIZES[extension])


def entry(path: str, size: int) -> Entry:
    """Plan a file, with a tag of its own."""
    etag = hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
    return Entry(path=path, key=path, size=size, etag=etag, reason="selected")


def make_plan(subjects: int, path: Path) -> None:
    """Write the plan."""
    plan = Plan.build(
        entries(subjects),
        manifest_sha256="0" * 64,
        study="large",
        roots=[Root(url="s3://bucket/large", anonymous=True)],
        subjects=[f"{subject:04}" for subject in range(subjects)],
    )
    write_plan(plan, path)


def measure(subjects: int) -> None:
    """Split a plan in both ways, and print what each took."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        path = folder / "large.plan.jsonl"
        # By a process of its own: the memory that a parent had is counted of its children.
        make = [sys.executable, __file__, "--make", str(path), "--subjects", str(subjects)]
        subprocess.run(make, check=True)
        files, size = StoredPlan(path).header.files, path.stat().st_size
        for way in ([], ["--shards", str(SHARDS)]):
            parts = folder / "-".join(["parts", *way])
            command = [sys.executable, "-m", "bidsplan", "split", "-q", str(path), "-o", str(parts)]
            seconds, used = timed([*command, *way], dict(os.environ))
            number = len([*parts.glob("**/*.plan.jsonl")])
            print(
                f"{files:>9,} files  plan {size / 1e6:4.0f} MB  {number:>5,} parts  "
                f"{seconds:5.1f} s  {used.ru_utime + used.ru_stime:5.1f} s computed  "
                f"{used.ru_maxrss / 1024:4.0f} MB",
                flush=True,
            )


def main() -> int:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[2_600])
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for subjects in arguments.subjects:
        if arguments.make:
            make_plan(subjects, arguments.make)
        else:
            measure(subjects)
    return 0


if __name__ == "__main__":
    sys.exit(main())
