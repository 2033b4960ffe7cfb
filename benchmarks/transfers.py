"""Compare bidsplan's transfers with its peers', on servers on the loopback.

Starts the servers, makes the data in memory (tmpfs), and runs the clients in turn, round after
round. Every run's files are counted; one that does not bring all of them ends the comparison. A
ratio is that of two clients' seconds in the same round, interpreter and listing included::

    python benchmarks/transfers.py
    python benchmarks/transfers.py --only w2 --rounds 9
    python benchmarks/transfers.py --only "big, 30 ms, 1 Gbit/s" --clients bidsplan s5cmd
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
from typing import NamedTuple

from clients import CLIENTS, Job, environment, install_peers
from stopping import exit_on_signals, tied
from workloads import Size, read_sizes

from servers import Link, distant, nginx, rclone

HERE = Path(__file__).parent
LINKS = {
    "30 ms": Link(30),
    "30 ms, 1 Gbit/s": Link(30, 40_000_000, 125_000_000),
    "30 ms, 10 Gbit/s": Link(30, 90_000_000, 1_250_000_000),
    "100 ms, 1 Gbit/s": Link(100, 40_000_000, 125_000_000),
}
"""Ways to a distant nginx: users of us-east-1 have 30 to 100 ms and 40 to 90 MB/s a connection."""


class Comparison(NamedTuple):
    """What is compared, and with whom.

    Parameters
    ----------
    workload : str
    server : str
    clients : tuple of str
        The last one's seconds are what the others' are divided by.
    signed : bool
    again : bool
        Whether everything is there already.
    """

    workload: str
    server: str
    clients: tuple[str, ...]
    signed: bool = True
    again: bool = False


PEERS = ("rclone tuned for large files", "rclone", "aws crt")
ALL = ("bidsplan", "rclone tuned", "rclone", "s5cmd")
COMPARISONS = {
    "w1": Comparison("w1", "nginx", ALL),
    "w1-unsigned": Comparison("w1", "nginx", ALL, signed=False),
    "w1-far": Comparison("w1", "30 ms", ("bidsplan", "rclone tuned", "s5cmd")),
    "w1-rclone": Comparison("w1", "rclone", ("bidsplan", "rclone tuned", "s5cmd")),
    "w2": Comparison("w2", "nginx", ("bidsplan", "bidsplan --verify size", "rclone", "s5cmd")),
    "w3": Comparison("w3", "nginx", ("bidsplan", "bidsplan --verify size", "rclone", "s5cmd")),
    "noop": Comparison(
        "w1",
        "nginx",
        ("bidsplan", "bidsplan, of the plan", "rclone tuned", "s5cmd sync"),
        again=True,
    ),
    "l1-far": Comparison("l1", "30 ms", ("bidsplan listing", "s5cmd ls")),
    "w1k": Comparison("w1k", "nginx", ("bidsplan", "aws", "s3bids", "s5cmd")),
    **{
        f"{workload}, {link}": Comparison(
            workload, link, ("bidsplan", "bidsplan --verify size", *PEERS, "s5cmd")
        )
        for link in LINKS
        if link != "30 ms"
        for workload in ("big", "big-multipart", "w2", "w3", "w1")
    },
}


class Run(NamedTuple):
    """What one run took.

    Parameters
    ----------
    seconds : float
    processor : float
        Seconds of processor time, of the system as well.
    mebibytes : float
        At the peak, in memory.
    """

    seconds: float
    processor: float
    mebibytes: float


def run(client: str, job: Job, wanted: Size | None, *, fresh: bool) -> Run:
    """Run a client once, and see whether all of it has come."""
    command = CLIENTS[client](job)
    if client.startswith("bidsplan") and fresh:
        # Compiled anew each time, as the others list anew.
        for plan in job.folder.glob("*.plan.jsonl"):
            plan.unlink()
    with (job.folder / "output").open("w+b") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            tied(command), env=environment(job), stdout=output, stderr=output
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()[-2000:].decode(errors="replace")
    if process.returncode or (wanted and count(job.destination) != wanted):
        sys.exit(f"{command} ended with {process.returncode} and {count(job.destination)}:\n{said}")
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def count(folder: Path) -> Size:
    """Count the files that came, without what bidsplan keeps beside them."""
    found = [
        Path(place, name).stat().st_size
        for place, _, names in os.walk(folder)
        for name in names
        if "/.bidsplan" not in place
    ]
    return Size(len(found), sum(found))


def compare(
    comparison: Comparison, endpoint: str, size: Size, rounds: int, folder: Path
) -> dict[str, list[Run]]:
    """Run all clients in turn, after one round that does not count."""
    runs: dict[str, list[Run]] = {client: [] for client in comparison.clients}
    for number in range(rounds + 1):
        for client in comparison.clients:
            # The plan's client finds what the manifest's has brought.
            owner = client.partition(",")[0].replace(" ", "-")
            destination = folder / f"{comparison.workload}-{owner}"
            job = Job(comparison.workload, endpoint, comparison.signed, destination, folder)
            listing = comparison.workload == "l1"
            if not comparison.again:
                shutil.rmtree(destination, ignore_errors=True)
            found = run(client, job, None if listing else size, fresh=not comparison.again)
            if number:
                runs[client].append(found)
    for path in folder.glob(f"{comparison.workload}-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return runs


def report(name: str, comparison: Comparison, runs: dict[str, list[Run]]) -> None:
    """Print a row for each client."""
    base = runs[comparison.clients[-1]]
    signed = "signed" if comparison.signed else "unsigned"
    print(f"\n{name}: {comparison.workload} on {comparison.server}, {signed}, {len(base)} rounds")
    for client, found in runs.items():
        ratios = [own.seconds / other.seconds for own, other in zip(found, base, strict=True)]
        print(
            f"  {client:24} {statistics.median(each.seconds for each in found):7.2f} s"
            f"  x {statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}]"
            f"  {statistics.median(each.processor for each in found):6.2f} s CPU"
            f"  {max(each.mebibytes for each in found):5.0f} MiB",
            flush=True,
        )


def main() -> int:
    """Make data, start servers, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=COMPARISONS, nargs="+", default=list(COMPARISONS))
    parser.add_argument(
        "--clients", choices=CLIENTS, nargs="+", help="only these; the last one is divided by"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="the peers' environment")
    arguments = parser.parse_args()
    exit_on_signals()
    install_peers(arguments.peers.resolve())
    # s5cmd and rclone take as many files as there are workers, and connections beside.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.memory)))
        folder = root / "runs"
        folder.mkdir()
        # nginx's workers are nobody.
        root.chmod(0o755)
        # In a process of its own, since a client's peak can't be told below that of its parent.
        wanted = sorted({COMPARISONS[name].workload for name in arguments.only})
        subprocess.run([sys.executable, HERE / "workloads.py", root, *wanted], check=True)
        sizes = read_sizes(root)
        near = stack.enter_context(nginx(root, folder))
        endpoints = {
            "nginx": near,
            "rclone": stack.enter_context(rclone(root, folder)),
            **{
                name: stack.enter_context(distant(near, link, folder))
                for name, link in LINKS.items()
            },
        }
        for name in arguments.only:
            comparison = COMPARISONS[name]
            if arguments.clients:
                comparison = comparison._replace(clients=tuple(arguments.clients))
            size = sizes[comparison.workload]
            endpoint = endpoints[comparison.server]
            report(name, comparison, compare(comparison, endpoint, size, arguments.rounds, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
