"""See how exactly ``--limit-rate`` holds: bytes that came in ten seconds, as part of the limit.

Small files, images of 16 MiB, and one image of 1 GiB are fetched from a server on the loopback to a
directory and to another server, and sent from a directory to that server::

    python benchmarks/limit_rate.py
    python benchmarks/limit_rate.py --rates 5 --ways download
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import workloads
from stopping import exit_on_signals

import bidsplan
from bidsplan.events import Finished, Progressed
from servers import KEY, SECRET, nginx, rclone

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DATA = {"small": (8000, 64 * KIB), "images": (40, 16 * MIB), "image": (1, GIB)}
"""How many files of which size; each lasts for more than ten seconds at 50 MB/s."""


class Way(NamedTuple):
    """From where to where."""

    source: str
    destination: str


def files(workload: str) -> Iterator[tuple[str, int]]:
    """Name a workload's files."""
    number, size = DATA[workload]
    for index in range(number):
        name = f"sub-{index // 100:03}"
        yield f"{name}/func/{name}_task-rest_run-{index % 100:02}_bold.nii.gz", size


def part(workload: str, way: Way, rate: int, endpoints: tuple[str, str], folder: Path) -> float:
    """Fetch for ten seconds from the first byte on, and return which part of the rate came."""
    manifest = folder / f"{workload}.yaml"
    anonymous = "" if way.source.startswith("/") else ", anonymous: false"
    manifest.write_text(
        f"manifest_version: 1\nstudy: {{id: x, url: '{way.source}/{workload}'{anonymous}}}\n"
    )
    access = bidsplan.Access(
        endpoint_url=endpoints[0], dest_endpoint_url=endpoints[1], limit_rate=rate
    )
    plan = bidsplan.compile_manifest(bidsplan.load_manifest(manifest).manifest, access=access).plan
    came, first = 0, 0.0
    with closing(bidsplan.materialise(plan, way.destination, access=access, base=folder)) as events:
        for event in events:
            if not isinstance(event, Finished | Progressed) or not event.bytes:
                continue
            now = time.monotonic()
            first = first or now
            if now - first > SECONDS:
                return came / (now - first) / rate
            came += event.bytes
    sys.exit(f"{workload}: only {came:,} bytes came in {time.monotonic() - first:.1f} s ({event})")


def main() -> int:
    """Make data, start servers, and print a row for each way, workload and rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=int, nargs="+", default=[5, 50], help="megabytes a second")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    ways = ("download", "copy", "upload")
    parser.add_argument("--ways", nargs="+", choices=ways, default=list(ways))
    arguments = parser.parse_args()
    exit_on_signals()
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.memory)))
        root.chmod(0o755)
        workloads.WORKLOADS |= {name: partial(files, name) for name in DATA}
        workloads.make(root, arguments.data)
        target = root / "target"
        (target / "copies").mkdir(parents=True)
        near = stack.enter_context(nginx(root, root))
        endpoints = near, stack.enter_context(rclone(target, root))
        for name in arguments.ways:
            for workload in arguments.data:
                for rate in arguments.rates:
                    shutil.rmtree(root / "d", ignore_errors=True)
                    # The server still knows what another run brought there.
                    there = f"s3://copies/{name}-{workload}-{rate}"
                    way = {
                        "download": Way("s3://bucket", str(root / "d")),
                        "copy": Way("s3://bucket", there),
                        "upload": Way(str(root / "bucket"), there),
                    }[name]
                    found = part(workload, way, rate * 1_000_000, endpoints, root)
                    print(f"{name:9} {workload:7} {rate:3} MB/s: {found:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
