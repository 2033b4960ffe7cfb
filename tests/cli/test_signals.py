"""The first signal ends a run in good order, whatever it waits for, and the next at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest

from bidsplan.cli.json_schemas import report_schema
from bidsplan.plan.file import write_plan
from plans import leftovers, plan_over, tree
from servers import Rule

REPORT = jsonschema.Draft202012Validator(report_schema())
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SMALL = {f"sub-{number:02}/x.json": b"{}" for number in range(30)}
LARGE = {"sub-99/x.nii": bytes(9 << 20)}
FILES = SMALL | LARGE
BIDSPLAN = [sys.executable, "-m", "bidsplan"]


@pytest.fixture(params=["obstore", "fsspec"])
def command(request, bucket, proxy, tmp_path):
    """Return the command line of a fetch through the proxy."""
    bucket.fill(FILES)
    write_plan(plan_over(f"s3://{bucket.name}", FILES), tmp_path / "p.plan.jsonl")
    fetch = [*BIDSPLAN, "fetch", str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d"), "--json"]
    return [*fetch, "--endpoint-url", proxy.url, "--transport", request.param]


class Hanging:
    """Blocks some requests until the test is over."""

    def __init__(self, proxy, number):
        self.waiting, self._number = threading.Event(), number
        self._over, self._lock = threading.Event(), threading.Lock()
        proxy.rules += [Rule("call", "/sub-2", hook=self), Rule("call", "/sub-99", hook=self)]

    def __call__(self):
        with self._lock:
            self._number -= 1
        if self._number == 0:
            self.waiting.set()
        self._over.wait(60)

    def release(self):
        self._over.set()


@pytest.fixture
def hanging(proxy):
    # Ten small files start so, and the large one.
    server = Hanging(proxy, 11)
    yield server
    server.release()


def start(command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [("obstore", *SIGNALS[0]), ("fsspec", *SIGNALS[1])],
    indirect=["command"],
)
def test_a_server_that_hangs_holds_nothing_up(command, hanging, proxy, tmp_path, number, code):
    process = start(command)
    assert hanging.waiting.wait(30)
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert (process.returncode, err) == (
        code,
        "stopped; finished files are kept; run the same command to continue\n",
    )
    *rows, summary = map(json.loads, out.splitlines())
    assert all(REPORT.is_valid(row) for row in [*rows, summary])
    done = {row["path"] for row in rows if row["action"] == "fetch"}
    assert tree(tmp_path / "d") == {path: FILES[path] for path in done}
    assert sorted(row["path"] for row in rows) == sorted(FILES)
    assert summary["skipped"] == len(FILES) - len(done) >= 11
    # Finished files have receipts, so they are not requested again.
    hanging.release()
    proxy.rules.clear()
    proxy.requests.clear()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    asked = {path.partition("/sub-")[2] for _, path in proxy.requests if "/sub-" in path}
    assert asked == {path.removeprefix("sub-") for path in set(FILES) - done}
    assert tree(tmp_path / "d") == FILES
    assert leftovers(tmp_path / "d") == []


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_second_signal_ends_it_at_once(command, hanging, tmp_path, number, code):
    process = start(command)
    assert hanging.waiting.wait(30)
    began = time.monotonic()
    while process.poll() is None:
        # Two signals that come together are delivered as one.
        process.send_signal(number)
        time.sleep(0.1)
    assert process.returncode == code
    assert time.monotonic() - began < 2
    process.communicate()
    there = tree(tmp_path / "d")
    assert there == {path: FILES[path] for path in there}


def has_begun(process):
    """Tell whether the command catches SIGTERM by now, which Python by itself does not."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    [caught] = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
@pytest.mark.parametrize("command", ["obstore"], indirect=True)
@pytest.mark.parametrize("step", range(6))
def test_it_never_ends_in_a_signal_or_a_traceback(command, hanging, proxy, step):
    # Nothing that a thread waits for: what there is to wait for at the end is another test's.
    proxy.rules.pop()
    process = start(command)
    while not has_begun(process):
        time.sleep(0.001)
    # From the first import to running requests.
    time.sleep(0.08 * step)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert len(out.splitlines()) in {0, len(FILES) + 1}


def test_a_listing_that_hangs_holds_nothing_up(bucket, proxy, tmp_path):
    bucket.fill(SMALL)
    asked, over = threading.Event(), threading.Event()

    def hang():
        asked.set()
        over.wait(60)

    proxy.rules.append(Rule("call", "list-type=2", hook=hang))
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}}}\n")
    process = start([*BIDSPLAN, "compile", str(manifest), "--endpoint-url", proxy.url])
    assert asked.wait(30)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert time.monotonic() - began < 10
    over.set()
    assert "Traceback" not in process.communicate()[1]
    assert not (tmp_path / "m.plan.jsonl").exists()


def test_a_signal_that_is_to_be_ignored_is_ignored(command, proxy, tmp_path):
    process = None

    def interrupt():
        process.send_signal(signal.SIGINT)

    proxy.rules.append(Rule("call", "/sub-00", times=1, hook=interrupt))
    # As shells start background jobs, and nohup does with another signal.
    quiet = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    process = start(quiet)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert proxy.rules[0].times == 0
    assert tree(tmp_path / "d") == FILES


def test_a_dry_run_is_stopped_as_well(tmp_path):
    """Stop it while it reads an existing file."""
    plan = plan_over("s3://bucket", {"x.bin": bytes(1 << 20)})
    write_plan(plan, tmp_path / "p.plan.jsonl")
    code = (
        "import os, signal, sys\n"
        "from bidsplan.cli.main import run\n"
        "from bidsplan.destination import local\n"
        "usual = os.read\n"
        "def read(*arguments):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return usual(*arguments)\n"
        "local.os.read = read\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.bin").write_bytes(os.urandom(1 << 20))
    fetch = ["fetch", "-n", str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d")]
    done = subprocess.run([sys.executable, "-c", code, *fetch], capture_output=True, check=False)
    assert done.returncode == 130
