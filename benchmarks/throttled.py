"""See which part of the allowed requests clients make, on a server that refuses more of them.

nginx answers 503 (SlowDown) above a rate of requests for objects, as S3 does. Each client fetches
all of w1, and the server's log says how many objects it sent in each second from the fifth on: the
least and the mean of these, as parts of what is allowed, and how many requests it refused::

    python benchmarks/throttled.py --rate 1000
    python benchmarks/throttled.py --rate 300 --round-trip 100 --clients bidsplan s5cmd
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from clients import CLIENTS, Job, environment, install_peers
from stopping import exit_on_signals, tied

from servers import Link, distant, nginx

HERE = Path(__file__).parent
START = 5
"""Seconds in which a client may find out what is allowed."""

LONGEST = 300.0
"""Seconds after which a client is stopped."""


def fetch(client: str, job: Job) -> tuple[float, int]:
    """Run a client, and return its seconds and exit code."""
    shutil.rmtree(job.destination, ignore_errors=True)
    for plan in job.folder.glob("*.plan.jsonl"):
        plan.unlink()
    began = time.monotonic()
    with (job.folder / "output").open("wb") as output:
        process = subprocess.Popen(
            tied(CLIENTS[client](job)), env=environment(job), stdout=output, stderr=output
        )
        try:
            code = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    return time.monotonic() - began, code


def answers(lines: list[str]) -> tuple[list[int], int]:
    """Count objects sent in each whole second since the first request, and all refusals."""
    found = [line.split(" ", 2) for line in lines]
    objects = [(float(at), status) for at, status, path in found if path.startswith("/bucket/w1/")]
    sent = [at for at, status in objects if status in {"200", "206"}]
    first, last = min(at for at, _ in objects), max(sent)
    seconds = Counter(int(at - first) for at in sent)
    refused = sum(status == "503" for _, status in objects)
    return [seconds[second] for second in range(int(last - first))], refused


def main() -> int:
    """Make data, start the server, and run the clients in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--round-trip", type=int, default=0, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="print each second's part")
    parser.add_argument(
        "--clients", nargs="+", choices=CLIENTS, default=["bidsplan", "s5cmd", "rclone tuned"]
    )
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="the peers' environment")
    arguments = parser.parse_args()
    exit_on_signals()
    install_peers(arguments.peers.resolve())
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.memory)))
        root.chmod(0o755)
        subprocess.run([sys.executable, HERE / "workloads.py", root, "w1"], check=True)
        endpoint = stack.enter_context(nginx(root, root, rate=arguments.rate))
        if arguments.round_trip:
            link = Link(arguments.round_trip)
            endpoint = stack.enter_context(distant(endpoint, link, root))
        log = root / "answers.log"
        for client in arguments.clients * arguments.rounds:
            before = len(log.read_text().splitlines())
            seconds, code = fetch(client, Job("w1", endpoint, True, root / "d", root))
            each, refused = answers(log.read_text().splitlines()[before:])
            parts = [number / arguments.rate for number in each]
            steady = parts[START:] or [0.0]
            print(
                f"{client:14} {seconds:6.1f} s, exit code {code}, {sum(each)} objects sent, "
                f"{refused} refused; of what is allowed: "
                f"least {min(steady):.2f}, mean {sum(steady) / len(steady):.2f}",
                flush=True,
            )
            if arguments.each:
                print("  ", *(f"{part:.2f}" for part in parts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
