"""Time plans of a million files: written, read, and fetched where everything is there already.

Makes a million small files in memory (tmpfs), with the receipts that a finished fetch leaves::

    python benchmarks/million.py
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from stopping import exit_on_signals, tied

from bidsplan.destination.local import LocalDestination
from bidsplan.destination.receipts import Receipt, ReceiptWriter
from bidsplan.destination.sources import Sources
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import read_plan, write_plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage.access import Access

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECTS = 10_000
RUNS = 100
DATA = b"x"
ETAG = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


def entries() -> Iterator[Entry]:
    """Name a million files."""
    for subject in range(SUBJECTS):
        for run in range(RUNS):
            name = f"sub-{subject:05}"
            path = f"{name}/func/{name}_task-rest_run-{run:03}_events.tsv"
            yield Entry(path=path, key=path, size=len(DATA), etag=ETAG, reason="selected")


def make_plan() -> Plan:
    """Make a plan of a million entries."""
    return Plan.build(
        entries(),
        manifest_sha256="0" * 64,
        study="million",
        roots=[Root(url="s3://bucket/million", anonymous=True)],
        subjects=[f"{subject:05}" for subject in range(SUBJECTS)],
    )


def time_plan(folder: Path) -> None:
    """Write and read the plan."""
    plan = make_plan()
    for suffix in (".jsonl", ".jsonl.zst"):
        path = folder / f"million.plan{suffix}"
        start = time.perf_counter()
        write_plan(plan, path)
        written = time.perf_counter()
        assert len(read_plan(path).entries) == len(plan.entries)  # noqa: S101 - told at once
        read = time.perf_counter()
        size = path.stat().st_size / 1e6
        print(f"{suffix:11} {size:4.0f} MB  written in {written - start:4.2f} s,", end=" ")
        print(f"read in {read - written:4.2f} s", flush=True)


def finish(plan: Path, destination: Path) -> None:
    """Make what a finished fetch of the plan leaves."""
    planned = read_plan(plan)
    made = ""
    folder = LocalDestination(str(destination), create=True)
    with closing(folder):
        writer = ReceiptWriter(folder.write_receipts)
        sources = Sources(planned.header.roots, Access())
        for entry in planned.entries:
            path = f"{destination}/{entry.path}"
            above = path.rpartition("/")[0]
            if above != made:
                Path(above).mkdir(parents=True)
                made = above
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, DATA)
            found = os.fstat(descriptor)
            os.close(descriptor)
            receipt = Receipt(
                path=entry.path,
                size=found.st_size,
                mtime_ns=found.st_mtime_ns,
                source=sources.fingerprint(entry),
                content="0" * 32,
                proof=CheckMethod.ETAG_MD5,
            )
            if writer.add(receipt):
                writer.flush()
        writer.flush()


def time_noop(folder: Path) -> None:
    """Fetch where everything is there."""
    command: list[str | Path] = [Path(sys.executable).parent / "bidsplan", "fetch"]
    command += [folder / "million.plan.jsonl", folder / "destination"]
    start = time.perf_counter()
    process = subprocess.Popen(tied(command))
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    print(f"no-op fetch: {seconds:4.2f} s, {used.ru_maxrss / 1024:3.0f} MiB, exit code", end=" ")
    print(process.returncode, flush=True)


def main() -> int:
    """Run each step in a process of its own, so that its memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    parser.add_argument("--step", nargs=2, metavar=("NAME", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.step:
        folder = Path(arguments.step[1])
        if arguments.step[0] == "plan":
            time_plan(folder)
        else:
            finish(folder / "million.plan.jsonl", folder / "destination")
        return 0
    exit_on_signals()
    with tempfile.TemporaryDirectory(dir=arguments.memory) as folder:
        for step in ("plan", "finish"):
            subprocess.run([sys.executable, __file__, "--step", step, folder], check=True)
        for _ in range(3):
            time_noop(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
