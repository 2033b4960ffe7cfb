"""A benchmark that is stopped takes its servers along."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SERVING = """
import signal, sys, tempfile
from pathlib import Path
import servers, stopping
stopping.exit_on_signals()
port = servers.free_port()
log = Path(tempfile.mkdtemp(dir=sys.argv[1]), "log")
command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
with servers.serving(command, port, log):
    print(port, flush=True)
    signal.pause()
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_stopped_benchmark_stops_its_servers(tmp_path, number):
    command = [sys.executable, "-c", SERVING, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=BENCHMARKS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as benchmark:
        port = int(benchmark.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            benchmark.send_signal(number)
            assert benchmark.wait(10) != 0
            connection.settimeout(10)
            # Only the server's end closes or resets the connection, on which nothing was sent. (Its
            # port may be another test's by now.)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def test_splitting_is_timed_in_both_ways():
    command = [sys.executable, "split_scale.py", "--subjects", "3"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    # Three subjects are three parts; of few files there are as many shards as wanted.
    assert [(line[0], line[5]) for line in lines] == [("1,154", "3"), ("1,154", "64")]
