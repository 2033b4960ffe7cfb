"""What a content cache costs when it is filled, and what it brings: three ways in turn, on nginx.

Each round fetches a study of small files and some large images to new directories: without a cache,
with an empty one, and with the one that the run before filled. All files are on one file system.
The server's log shows what was asked for::

    python benchmarks/content_cache.py
    python benchmarks/content_cache.py --small 20000 --large 16 --rounds 9 --folder /scratch
    python benchmarks/content_cache.py --link "30 ms, 1 Gbit/s"
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import workloads
from clients import Job, environment
from stopping import exit_on_signals
from transfers import LINKS

from servers import distant, nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB = 1 << 10, 1 << 20
WAYS = ("without", "empty", "full")


class Cost(NamedTuple):
    """What a run took: seconds by the clock, and of processors."""

    seconds: float
    processor: float


def files(small: int, large: int) -> Iterator[tuple[str, int]]:
    """Name the study's files."""
    for index in range(small):
        name = f"sub-{index // 100:03}"
        yield f"{name}/func/{name}_task-rest_run-{index % 100:02}_events.tsv", 2 * KIB
    for index in range(large):
        name = f"sub-{index:03}"
        yield f"{name}/func/{name}_task-rest_run-00_bold.nii.gz", 64 * MIB


def run(plan: Path, destination: Path, cache: Path | None, env: dict[str, str]) -> Cost:
    """Fetch once in a process of its own."""
    command = [sys.executable, "-m", "bidsplan", "fetch", "--quiet", str(plan), str(destination)]
    command += ["--cache", str(cache)] if cache else ["--no-cache"]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or done.stderr:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, used)


def main() -> int:
    """Make data, start the server, and print a row for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", type=int, default=5000, help="files of 2 KiB")
    parser.add_argument("--large", type=int, default=8, help="images of 64 MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--link", choices=sorted(LINKS), help="how far the server is")
    parser.add_argument("--folder", type=Path, help="where the files are written")
    options = parser.parse_args()
    exit_on_signals()
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    asked: dict[str, int] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        # nginx's workers have a user of their own.
        folder.chmod(0o755)
        workloads.WORKLOADS["cached"] = lambda: files(options.small, options.large)
        workloads.make(folder, ["cached"])
        endpoint = stack.enter_context(nginx(folder, folder, log=True))
        if options.link:
            endpoint = stack.enter_context(distant(endpoint, LINKS[options.link], folder))
        env = {**os.environ, **environment(Job("cached", endpoint, True, folder, folder))}
        manifest = workloads.write_manifest(folder, "cached", signed=True)
        compile_ = [sys.executable, "-m", "bidsplan", "compile", str(manifest)]
        subprocess.run(compile_, env=env, check=True, stdout=subprocess.DEVNULL)
        plan = manifest.with_suffix(".plan.jsonl")
        for number in range(options.rounds):
            place = folder / f"round-{number}"
            for way in WAYS:
                cache = None if way == "without" else place / "cache"
                before = answers(folder)
                costs[way].append(run(plan, place / way, cache, env))
                asked[way] = answers(folder) - before
            shutil.rmtree(place)
    for way in WAYS:
        pairs = list(zip(costs[way], costs["without"], strict=True))
        ratio = statistics.median(mine.seconds / plain.seconds for mine, plain in pairs)
        took = statistics.median(cost.seconds for cost in costs[way])
        processor = statistics.median(cost.processor for cost in costs[way])
        print(
            f"{way:8} {took:6.2f} s {ratio:5.2f} x, processors {processor:5.2f} s, "
            f"{asked[way]:,} objects asked for"
        )
    return 0


def answers(folder: Path) -> int:
    """Count the objects that the server has sent so far."""
    return len((folder / "sent.log").read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    sys.exit(main())
