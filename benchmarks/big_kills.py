"""Kill the fetch of one large object again and again, and count the bytes that are sent twice.

    python benchmarks/big_kills.py --kills 60

Each fetch of an image of 512 MiB goes over a link of 1 Gbit/s and 30 ms, and is killed after a
random time until it ends. Whatever has the final name must be the image.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import workloads
from clients import CLIENTS, Job, environment
from stopping import exit_on_signals, tied

from servers import Link, distant, nginx

LINK = Link(30, 40_000_000, 125_000_000)
SIZE = 512 << 20
KEY = "sub-01/func/sub-01_task-rest_bold.nii.gz"


def sent(folder: Path) -> int:
    """Return the bytes of bodies that the server has sent."""
    lines = (folder / "sent.log").read_text().splitlines()
    return sum(int(size) for path, size in map(str.split, lines) if path.endswith(KEY))


def is_wrong(path: Path, expected: bytes) -> bool:
    """Report whether a file is there and is not the image."""
    return path.exists() and path.read_bytes() != expected


def main() -> int:
    """Kill, look, go on; exit with 1 where bytes are wrong or too many are sent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    arguments = parser.parse_args()
    exit_on_signals()
    draw = random.Random(arguments.seed)
    kills = partials = wrong = finished = 0
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.memory)))
        root.chmod(0o755)
        workloads.WORKLOADS["kills"] = lambda: iter([(KEY, SIZE)])
        workloads.make(root, ["kills"])
        near = stack.enter_context(nginx(root, root, log=True))
        job = Job("kills", stack.enter_context(distant(near, LINK, root)), True, root / "d", root)
        expected = (root / "bucket" / "kills" / KEY).read_bytes()
        command = CLIENTS["bidsplan"](job)
        while kills < arguments.kills:
            process = subprocess.Popen(
                tied(command), env=environment(job), stdout=subprocess.DEVNULL
            )
            try:
                process.wait(draw.uniform(0.3, 3))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                partials += any((job.destination / ".bidsplan" / "partial").rglob("*-*"))
            else:
                finished += process.returncode == 0
            wrong += is_wrong(job.destination / "sub-01/func" / Path(KEY).name, expected)
            if process.returncode == 0:
                shutil.rmtree(job.destination)
        code = subprocess.run(command, env=environment(job), check=False).returncode
        wrong += is_wrong(job.destination / "sub-01/func" / Path(KEY).name, expected)
        time.sleep(1)
        twice = (sent(root) - (finished + (code == 0)) * SIZE) / (1 << 20)
    print(
        f"{kills} kills, {partials} left a partial, {finished} fetches ended before, {wrong} wrong"
    )
    print(f"{twice:.0f} MiB were sent twice, {twice / kills:.1f} for each kill")
    return int(wrong > 0 or partials == 0 or code != 0)


if __name__ == "__main__":
    sys.exit(main())
