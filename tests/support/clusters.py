"""A dask scheduler and workers, each a process, and a site that kills who asks for a file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import distributed
import psutil

import bidsplan
from sites import Site

_DEADLINE = 60.0
_ZLIB = zlib.compress(b"", 1)[:2]
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
        # Asked to end, some workers wait for a scheduler that has ended before them.
        for process in self._processes:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


class Recorder:
    """Passes all that a client and a scheduler say to each other on, and keeps it.

    Attributes
    ----------
    address : str
        Where clients find the scheduler.
    """

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("tcp://").split(":")
        self._target = host, int(port)
        self._kept: list[bytearray] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                for pair in ((client, server), (server, client)):
                    self._kept.append(bytearray())
                    arguments = (*pair, self._kept[-1])
                    threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(self, source, target, kept) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def said(self) -> bytes:
        """Give all that was said, and again what is compressed in it."""
        kept = b"\n".join(map(bytes, self._kept))
        return b"\n".join([kept, *_uncompressed(kept)])

    def stop(self) -> None:
        self._listening.close()


def _uncompressed(data: bytes):
    at = -1
    while (at := data.find(_ZLIB, at + 1)) >= 0:
        with suppress(zlib.error):
            yield zlib.decompressobj().decompress(data[at:])


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
                self.killed = _process_at(handler.client_address[1], self.port)
                os.kill(self.killed, signal.SIGKILL)
                return
        super().answer(handler)


def _process_at(port: int, ours: int) -> int:
    """Find the process that is connected to one of our ports from a port of its own."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        ends = {(each.laddr.port, each.raddr.port) for each in connections if each.raddr}
        if (port, ours) in ends:
            return process.pid
    raise AssertionError(f"no process has a connection from port {port}")
