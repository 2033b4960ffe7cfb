"""Fetch one plan in one process, in shards, in slices and by a dask cluster, and compare the four.

Each way begins with an empty destination, in turn, round after round; the first round does not
count. After each, every byte is compared with the source, `verify` reads all of it, and the rows of
``--json`` say how often each file was reported. The cluster is started once, as clusters are::

    python benchmarks/many_writers.py
    python benchmarks/many_writers.py --rounds 5 --ways one dask
    python benchmarks/many_writers.py --kill

With ``--kill``, a shard, a slice and a worker are killed (SIGKILL) in the middle, in turn: no file
may be wrong, and fetching again must make what one run makes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import workloads
import xxhash
from clients import Job, environment
from stopping import exit_on_signals, tied
from workloads import KIB, MIB, write_manifest

from bidsplan.plan.file import read_plan
from bidsplan.plan.parts import share, subjects_part
from servers import nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.plan import Planned

BIN = Path(sys.executable).parent
NAME = "many"
SHARDS = AT_A_TIME = 4
WORKERS = 2
PAUSE = 0.02
"""Seconds between two looks at what has come."""


def files(subjects: int, small: int, large: int, size: int) -> Iterator[tuple[str, int]]:
    """Name small files of 2 KiB, as many for each subject, and large ones, which take turns."""
    for number in range(small):
        name = f"sub-{number % subjects + 1:02}"
        run = number // subjects
        yield f"{name}/func/{name}_task-rest_run-{run:03}_events.tsv", 2 * KIB
    for number in range(large):
        name = f"sub-{number % subjects + 1:02}"
        yield f"{name}/func/{name}_task-rest_run-{number:03}_bold.nii.gz", size


class Cluster(NamedTuple):
    """A scheduler with workers, each a process.

    Parameters
    ----------
    address : str
    pids : callable
        Returns those of the workers.
    processor : callable
        Returns the seconds of processor time that all of them have taken.
    """

    address: str
    pids: Callable[[], list[int]]
    processor: Callable[[], float]


class Study(NamedTuple):
    """What is fetched.

    Parameters
    ----------
    plan : Path
    subjects : int
    digests : dict of str to str
        Of every file, by its path.
    environment : dict of str to str
    folder : Path
    dask : Cluster
    """

    plan: Path
    subjects: int
    digests: dict[str, str]
    environment: dict[str, str]
    folder: Path
    dask: Cluster

    @property
    def destination(self) -> Path:
        """Where every way fetches to."""
        return self.folder / "destination"

    def fetch(self, output: Path, *options: str) -> subprocess.Popen[bytes]:
        """Start a fetch, whose rows come into a file."""
        command: list[str | Path] = [
            BIN / "bidsplan",
            "fetch",
            "--json",
            *options,
            self.plan,
            self.destination,
        ]
        with output.open("wb") as rows:
            return subprocess.Popen(
                tied(command), env=self.environment, stdout=rows, stderr=subprocess.STDOUT
            )

    def output(self, number: int = 0) -> Path:
        """Name the file that takes one process's rows."""
        return self.folder / f"rows-{number}.jsonl"

    def parts(self, way: str) -> list[tuple[str, ...]]:
        """Give the options of each of a way's processes."""
        found: dict[str, list[tuple[str, ...]]] = {
            "one": [()],
            "shards": [("--shard", f"{number}/{SHARDS}") for number in range(1, SHARDS + 1)],
            "slices": [("--subject", f"{number:02}") for number in range(1, self.subjects + 1)],
            "dask": [("--dask", self.dask.address)],
        }
        return found[way]


WAYS = ("one", "shards", "slices", "dask")


def digests(root: Path) -> dict[str, str]:
    """Digest all files but bidsplan's own."""
    found = {}
    for place, folders, names in os.walk(root):
        if ".bidsplan" in folders:
            folders.remove(".bidsplan")
        for name in names:
            path = Path(place, name)
            with path.open("rb") as file:
                digest = xxhash.xxh3_128()
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            found[str(path.relative_to(root))] = digest.hexdigest()
    return found


class Took(NamedTuple):
    """What a fetch took.

    Parameters
    ----------
    seconds : float
    processor : float
        Seconds of processor time of all its processes, of the system as well.
    """

    seconds: float
    processor: float


def fetch(study: Study, way: str) -> Took:
    """Fetch in one way."""
    used, began = _used(study), time.perf_counter()
    run_parts(study, study.parts(way))
    return Took(time.perf_counter() - began, _used(study) - used)


def run_parts(study: Study, parts: list[tuple[str, ...]]) -> None:
    """Fetch parts, at most four processes at a time."""

    def run(part: tuple[int, tuple[str, ...]]) -> int:
        return study.fetch(study.output(part[0]), *part[1]).wait()

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        codes = list(pool.map(run, enumerate(parts)))
    for number, code in enumerate(codes):
        if code:
            said = study.output(number).read_text(errors="replace")
            sys.exit(f"{parts[number]} ended with {code}: {said[-2000:]}")


def _used(study: Study) -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + study.dask.processor()


def check(study: Study, way: str) -> None:
    """Compare all of a destination with the source and the reports; exits where they differ."""
    wrong = differences(study, whole=True)
    if wrong:
        sys.exit(f"{way}: {len(wrong)} files are missing or wrong, such as {wrong[0]}")
    command: list[str | Path] = [
        BIN / "bidsplan",
        "verify",
        "--json",
        study.plan,
        study.destination,
    ]
    if subprocess.run(
        tied(command), env=study.environment, stdout=subprocess.DEVNULL, check=False
    ).returncode:
        sys.exit(f"{way}: verify fails")
    fetched, told = reported(study, len(study.parts(way)))
    shared = {path for path in study.digests if "/" not in path}
    several = len(study.parts(way)) if way == "slices" else 1
    expected = {path: several if path in shared else 1 for path in study.digests}
    if told != expected or fetched != dict.fromkeys(study.digests, 1):
        odd = [path for path in study.digests if told[path] != 1 or fetched[path] != 1]
        sys.exit(f"{way}: {len(odd)} files are not reported once, such as {odd[:3]}")


def reported(study: Study, outputs: int) -> tuple[Counter[str], Counter[str]]:
    """Count how often each file was reported as fetched, and reported at all."""
    fetched: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for number in range(outputs):
        for line in study.output(number).read_bytes().splitlines():
            row = json.loads(line)
            if "path" in row:
                told[row["path"]] += 1
                fetched[row["path"]] += row.get("action") == "fetch"
    return fetched, told


def differences(study: Study, *, whole: bool) -> list[str]:
    """Name the files that are wrong, and where all should be there, those that are missing."""
    found = digests(study.destination)
    wrong = [path for path, digest in found.items() if study.digests.get(path) != digest]
    return wrong + (sorted(study.digests.keys() - found.keys()) if whole else [])


def compare(study: Study, ways: list[str], rounds: int) -> dict[str, list[Took]]:
    """Fetch in all ways in turn, and check each."""
    found: dict[str, list[Took]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            shutil.rmtree(study.destination, ignore_errors=True)
            took = fetch(study, way)
            check(study, way)
            if number:
                found[way].append(took)
    return found


def report(found: dict[str, list[Took]]) -> None:
    """Print a row for each way."""
    [first, *_] = found.values()
    for way, took in found.items():
        ratios = [own.seconds / other.seconds for own, other in zip(took, first, strict=True)]
        print(
            f"  {way:7} {statistics.median(each.seconds for each in took):6.2f} s"
            f"  x {statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}]"
            f"  {statistics.median(each.processor for each in took):6.2f} s CPU",
            flush=True,
        )


def kill_process(study: Study, way: str, part: Planned) -> str:
    """Kill the second of four fetches once some of its part is there; then fetch what is left.

    Returns what was found, to be printed.
    """
    parts = study.parts(way)
    running = [
        study.fetch(study.output(number), *some) for number, some in enumerate(parts[:AT_A_TIME])
    ]
    _wait_for_files(study, running[1], part)
    running[1].kill()
    running[1].wait()
    wrong = differences(study, whole=False)
    codes = [process.wait() for process in running]
    wrong += differences(study, whole=False)
    if codes != [0, -signal.SIGKILL, 0, 0]:
        sys.exit(f"unexpected exit codes: {codes}")
    came = len(digests(study.destination))
    run_parts(study, [parts[1], *parts[AT_A_TIME:]])
    return _after(study, came, wrong)


def kill_worker(study: Study) -> str:
    """Kill a worker once some files are there; the run itself must end well."""
    running = study.fetch(study.output(), "--dask", study.dask.address)
    _wait_for_files(study, running, read_plan(study.plan))
    os.kill(study.dask.pids()[0], signal.SIGKILL)
    wrong = differences(study, whole=False)
    if code := running.wait():
        sys.exit(f"unexpected exit code {code}: {study.output().read_text()[-2000:]}")
    came = len(digests(study.destination))
    _, told = reported(study, 1)
    if told != dict.fromkeys(study.digests, 1):
        sys.exit("a file was not reported once")
    if study.fetch(study.output(), "--dask", study.dask.address).wait():
        sys.exit("fetching again failed")
    return _after(study, came, wrong)


def _wait_for_files(study: Study, process: subprocess.Popen[bytes], part: Planned) -> None:
    """Wait until a tenth of a part's files are there."""
    own = {Path(entry.path).name for entry in part.entries}
    while len(own.intersection(_names(study.destination))) < max(1, len(own) // 10):
        if process.poll() is not None:
            sys.exit("it ended before it could be killed")
        time.sleep(PAUSE)


def _names(folder: Path) -> list[str]:
    return [
        name for place, _, names in os.walk(folder) for name in names if ".bidsplan" not in place
    ]


def _after(study: Study, came: int, wrong: list[str]) -> str:
    missing = differences(study, whole=True)
    if wrong or missing:
        sys.exit(f"{len(wrong)} files were wrong, {len(missing)} are in the end")
    return f"{came} of {len(study.digests)} files were there, none was wrong; all are afterwards"


def kill(study: Study) -> None:
    """Kill a shard, a slice and a worker in turn."""
    whole = read_plan(study.plan)
    kills: dict[str, Callable[[], str]] = {
        "shard": lambda: kill_process(study, "shards", share(whole, 2, SHARDS)),
        "slice": lambda: kill_process(study, "slices", subjects_part(whole, ["02"])),
        "worker": lambda: kill_worker(study),
    }
    for name, run in kills.items():
        shutil.rmtree(study.destination, ignore_errors=True)
        print(f"  {name:7} killed: {run()}", flush=True)


@contextmanager
def cluster(folder: Path, settings: dict[str, str], threads: int) -> Iterator[Cluster]:
    """Start a scheduler and its workers, and stop them with the block."""
    import distributed

    told = folder / "scheduler.json"
    dask, local = BIN / "dask", ("--host", "127.0.0.1", "--no-dashboard")
    scheduler: list[str | Path] = [
        dask,
        "scheduler",
        *local,
        "--port",
        "0",
        "--scheduler-file",
        told,
    ]
    worker: list[str | Path] = [
        dask,
        "worker",
        *local,
        "--scheduler-file",
        told,
        "--nworkers",
        str(WORKERS),
    ]
    worker += ["--nthreads", str(threads), "--local-directory", folder / "dask"]
    with ExitStack() as stack:
        for number, command in enumerate((scheduler, worker)):
            log = stack.enter_context((folder / f"dask-{number}.log").open("wb"))
            running = subprocess.Popen(tied(command), env=settings, stdout=log, stderr=log)
            stack.callback(running.wait)
            stack.callback(running.terminate)
            while not told.exists() and running.poll() is None:
                time.sleep(PAUSE)
        client: Any = distributed.Client(scheduler_file=str(told))  # type: ignore[no-untyped-call]
        stack.callback(client.close)
        client.wait_for_workers(WORKERS)

        def processor() -> float:
            own = sum(client.run(time.process_time).values())
            return float(own + client.run_on_scheduler(time.process_time))

        address = client.scheduler.address
        yield Cluster(address, lambda: list(client.run(os.getpid).values()), processor)


def plan(root: Path, endpoint: str) -> tuple[Path, dict[str, str]]:
    """Compile the study's plan; returns its path, and the environment of clients."""
    settings = environment(Job(NAME, endpoint, True, root, root))
    settings["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    manifest = write_manifest(root, NAME, signed=True)
    path = root / f"{NAME}.plan.jsonl"
    command: list[str | Path] = [BIN / "bidsplan", "compile", "--quiet", manifest, "-o", path]
    subprocess.run(tied(command), env=settings, check=True)
    return path, settings


def main() -> int:
    """Make the study, start the server and the cluster, and fetch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--kill", action="store_true", help="kill one of each in the middle")
    parser.add_argument("--subjects", type=int, default=50)
    parser.add_argument("--small", type=int, default=20_000, help="files of 2 KiB")
    parser.add_argument("--large", type=int, default=64, help="files of --mebibytes")
    parser.add_argument("--mebibytes", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    arguments = parser.parse_args()
    exit_on_signals()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.memory)))
        root.chmod(0o755)
        sizes = arguments.subjects, arguments.small, arguments.large, arguments.mebibytes * MIB
        workloads.WORKLOADS[NAME] = lambda: files(*sizes)
        workloads.make(root, [NAME])
        path, settings = plan(root, stack.enter_context(nginx(root, root)))
        workers = stack.enter_context(cluster(root, settings, arguments.threads))
        known = digests(root / "bucket" / NAME)
        study = Study(path, arguments.subjects, known, settings, root, workers)
        print(
            f"{arguments.small} files of 2 KiB and {arguments.large} of {arguments.mebibytes} MiB, "
            f"{arguments.subjects} subjects; {WORKERS} workers of {arguments.threads} threads; "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        if arguments.kill:
            kill(study)
        else:
            report(compare(study, arguments.ways, arguments.rounds))
            print(f"  load at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
