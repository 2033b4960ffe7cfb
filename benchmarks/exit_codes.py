"""Count exit codes: no run may end in a signal, whatever is in flight when it ends.

Runs `bidsplan fetch` over a server on the loopback, many times each: until it is done; until its
credentials are refused while other requests wait for answers; and until a SIGINT, at a random time
from when Python has started the command, while the last request waits for ever::

    python benchmarks/exit_codes.py --runs 200
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import write_plan

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = 60
BODY = bytes(20_000)
ETAG = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
REFUSAL = b"<Error><Code>ExpiredToken</Code></Error>"
LONGEST = 30.0
"""Seconds that a run may take."""

EXPECTED = {"success": {0}, "failure": {1}, "sigint": {130}}


class Handler(BaseHTTPRequestHandler):
    """Serves objects; what a bucket's name says decides how."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, refuse, or wait."""
        number = int(self.path.rpartition("/")[2].partition(".")[0])
        kind = self.path.split("/")[1]
        if (kind, number % 2) == ("failure", 1) or (kind, number) == ("sigint", FILES - 1):
            # In flight until the client has gone.
            self.rfile.read(1)
            self.close_connection = True
        elif kind == "failure":
            self._answer(400, REFUSAL)
        else:
            self._answer(200, BODY)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{ETAG}"')
        self.send_header("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    daemon_threads = True
    # Who connects while more than this wait is not answered for seconds.
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """Pass over it: hanging up is what is tried here."""


def plan_of(bucket: str, folder: Path) -> Path:
    """Write a plan of a bucket's objects."""
    keys = [f"sub-{number:03}/{number}.json" for number in range(FILES)]
    entries = [
        Entry(path=key, key=key, size=len(BODY), reason="selected", etag=ETAG) for key in keys
    ]
    plan = Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study="x",
        roots=[Root(url=f"s3://{bucket}")],
        subjects=[],
    )
    path = folder / f"{bucket}.plan.jsonl"
    write_plan(plan, path)
    return path


def command(bucket: str, folder: Path, name: str, server: str, transport: str) -> list[str]:
    """Give the command line of one run."""
    fetch = [sys.executable, "-m", "bidsplan", "fetch", str(folder / f"{bucket}.plan.jsonl")]
    options = ["--endpoint-url", server, "--transport", transport, "--json"]
    return [*fetch, str(folder / name), *options]


def has_begun(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process catches SIGTERM by now, as the command does and Python does not."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


def run(arguments: list[str], *, kill_after: float | None) -> tuple[int, bool]:
    """Run once; give the exit code, and whether all that was said is as it should be."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if kill_after is not None:
        while not has_begun(process):
            time.sleep(0.001)
        time.sleep(kill_after)
        process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), False
    rows = [json.loads(line) for line in out.splitlines()]
    whole = not rows or len([row for row in rows if "path" in row]) == FILES
    return process.returncode, whole and b"Traceback" not in err


def timed(call: Callable[[], object]) -> float:
    """Give the seconds that a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


def main() -> None:
    """Run all kinds, and print how often each code came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs of each kind")
    parser.add_argument("--transport", default="auto", help="what moves the bytes")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the times of signals")
    options = parser.parse_args()
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    draw = random.Random(options.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as text, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(text)
        for bucket in EXPECTED:
            plan_of(bucket, folder)

        def once(kind: str, number: int, kill_after: float | None = None) -> tuple[int, bool]:
            arguments = command(kind, folder, f"{kind}-{number}", url, options.transport)
            return run(arguments, kill_after=kill_after)

        usual = min(timed(lambda: once("success", -1)), timed(lambda: once("success", -2)))
        for kind, expected in EXPECTED.items():
            times = [
                draw.uniform(0, 1.5 * usual) if kind == "sigint" else None
                for _ in range(options.runs)
            ]
            found = list(pool.map(once, [kind] * options.runs, range(options.runs), times))
            codes = Counter(code for code, _ in found)
            unsaid = sum(not right for _, right in found)
            wrong += unsaid + sum(number for code, number in codes.items() if code not in expected)
            counts = ", ".join(f"{number} x {code}" for code, number in sorted(codes.items()))
            print(f"{kind}: {counts}; {unsaid} with a traceback or without a row for each file")
    server.shutdown()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
