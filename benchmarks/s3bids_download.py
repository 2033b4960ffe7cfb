"""Time ``S3BIDSStudy(...).download`` beside that of ``s3bids``, with a delay before the storage.

Serves a study of small files by S3 (rclone, in a process of its own), and puts a proxy before it
that holds everything back for half of the delay on its way there, and for half on its way back.
Each library makes the study and downloads all of it, in turns, into a new directory each time and
in a process of its own; imports are not counted. Needs the extra ``test``::

    python benchmarks/s3bids_download.py
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from stopping import exit_on_signals, tied

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
BUCKET, STUDY = "bench", "study"
DESCRIPTION = b'{"Name": "bench", "BIDSVersion": "1.10.0"}'
SUBJECTS = 50
SIZE = 1000
LIBRARIES = ("bidsplan.s3bids", "s3bids.utils")
_CHUNK = 1 << 16
_DEADLINE = 30.0


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def rclone_server(root: Path) -> Iterator[int]:
    """Serve a folder of buckets by S3, and give the port once something listens there."""
    port = free_port()
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    command = [str(rclone), "serve", "s3", "--addr", f"{HOST}:{port}", "--dir-cache-time", "24h"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(tied([*command, str(root)]), stdout=quiet, stderr=quiet) as process:
        try:
            end = time.monotonic() + _DEADLINE
            while True:
                try:
                    socket.create_connection((HOST, port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()


class DelayingProxy:
    """A TCP proxy on an event loop of its own that delays each direction by half of a round trip.

    Parameters
    ----------
    upstream : int
        The port on this machine that it passes everything on to.
    delay : float
        Seconds of a round trip.

    Attributes
    ----------
    port : int
    """

    def __init__(self, upstream: int, delay: float) -> None:
        self._upstream, self._half = upstream, delay / 2
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.port = 0
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait(_DEADLINE)

    def _run(self) -> None:
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, HOST, 0, backlog=4096)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(HOST, self._upstream)
        ways = (self._pass(reader, downstream), self._pass(upstream, writer))
        await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on, each a while after it came, and without holding back those behind it."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            data = b"x"
            while data:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                writer.write(data)
                await writer.drain()
            writer.close()

        sending = asyncio.ensure_future(send())
        data = b"x"
        while data:
            data = await reader.read(_CHUNK)
            waiting.put_nowait((self._loop.time() + self._half, data))
        await sending


def fill(root: Path, files: int) -> None:
    """Make a bucket with a study: so many small files, spread over the subjects."""
    study = root / BUCKET / STUDY
    study.mkdir(parents=True)
    (study / "dataset_description.json").write_bytes(DESCRIPTION)
    for number in range(files):
        subject = f"sub-{number % SUBJECTS:03}"
        path = study / subject / "anat" / f"{subject}_run-{number}_T1w.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(SIZE))


def measure(library: str, files: int) -> None:
    """Make the study and download it once, and print the seconds that took."""
    module = __import__(library, fromlist=["S3BIDSStudy"])
    # What is loaded only when it is used is loaded here, so that neither is timed for its imports.
    import obstore.store  # noqa: F401

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            study = module.S3BIDSStudy("bench", BUCKET, STUDY, subjects="all")
            study.download(folder, pbar=False)
        seconds = time.perf_counter() - start
        found = [path for path in Path(folder).rglob("*_T1w.json") if path.stat().st_size == SIZE]
    if len(found) != files:
        raise SystemExit(f"{library}: expected {files} files, got {len(found)}")
    print(seconds)


def run(library: str, port: int, files: int) -> float:
    """Measure once, in a process of its own."""
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, __file__, "--library", library, "--files", str(files)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> int:
    """Measure in turns, and print each library's median and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=0.03, help="of a round trip, in seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library", choices=LIBRARIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.library:
        measure(arguments.library, arguments.files)
        return 0
    exit_on_signals()
    seconds: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    with tempfile.TemporaryDirectory() as root:
        fill(Path(root), arguments.files)
        with rclone_server(Path(root)) as upstream:
            port = DelayingProxy(upstream, arguments.delay).port
            for number in range(arguments.rounds):
                for library in LIBRARIES if number % 2 == 0 else LIBRARIES[::-1]:
                    seconds[library].append(run(library, port, arguments.files))
    ours, theirs = (statistics.median(seconds[library]) for library in LIBRARIES)
    for library in LIBRARIES:
        each = ", ".join(f"{value:.2f}" for value in seconds[library])
        print(f"{library:16} {statistics.median(seconds[library]):7.2f} s  ({each})")
    print(f"{theirs / ours:.1f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
