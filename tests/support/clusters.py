"""A dask scheduler and workers, each a process, and a site that kills who asks for a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import distributed
import psutil

import bidsplan
from sites import Site

_DEADLINE = 60.0
SOURCE = str(Path(bidsplan.__file__).parents[1])


class Cluster:
    """A scheduler; workers come by `add`.

    Parameters
    ----------
    folder : Path
        Takes logs.
    path : str
        What the scheduler's Python imports from first.
    """

    def __init__(self, folder: Path, path: str = SOURCE) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen] = []
        told = folder / "scheduler.json"
        self._start(path, "scheduler", "--port", "0", "--scheduler-file", told)
        end = time.monotonic() + _DEADLINE
        while not told.exists():
            assert time.monotonic() < end, self.logs()
            time.sleep(0.02)
        self.client = distributed.Client(scheduler_file=str(told), set_as_default=False)
        self.address = self.client.scheduler.address

    def _start(self, path, *arguments, cwd=None, **more) -> subprocess.Popen:
        # Nothing that is secret, and no settings of tests.
        settings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        command = [sys.executable, "-m", "dask", *map(str, arguments)]
        command += ["--host", "127.0.0.1", "--no-dashboard"]
        log = self.folder / f"dask-{len(self._processes)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                env={**settings, "PYTHONPATH": path, **more},
                cwd=cwd or self.folder,
                stdout=file,
                stderr=file,
            )
        self._processes.append(process)
        return process

    def add(self, number=1, *options, path=SOURCE, cwd=None, **settings) -> list[str]:
        """Start workers of one thread, and wait for them; gives their addresses."""
        before = set(self.client.nthreads())
        for _ in range(number):
            worker = ["worker", self.address, "--nthreads", "1", *options]
            self._start(path, *worker, cwd=cwd, **settings)
        self.client.wait_for_workers(len(before) + number, timeout=_DEADLINE)
        return sorted(set(self.client.nthreads()) - before)

    def pids(self) -> list[int]:
        return list(self.client.run(os.getpid).values())

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("dask-*.log")))

    def stop(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class KillingSite(Site):
    """Kills the process that makes the n-th request for a file, which gets no answer.

    Attributes
    ----------
    left : int
        Requests until then; 0 kills none.
    killed : int or None
        The process that was killed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.killed: int | None = None
        self._counting = threading.Lock()

    def answer(self, handler) -> None:
        with self._counting:
            self.left -= self.left > 0
            if self.left == 0 and self.killed is None and handler.command == "GET":
                self.killed = _process_at(handler.client_address[1])
                os.kill(self.killed, signal.SIGKILL)
                return
        super().answer(handler)


def _process_at(port: int) -> int:
    """Find the process at the other end of a connection."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        if any(connection.laddr.port == port for connection in connections if connection.raddr):
            return process.pid
    raise AssertionError(f"no process has a connection from port {port}")
