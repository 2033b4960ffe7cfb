"""Few files, little memory: what a machine does not have is not asked for."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from codes import without_codes
from plans import leftovers, plan_of, plan_over, tree

TRANSPORTS = ["obstore", "fsspec"]


def command(plan, folder, *more):
    write_plan(plan, folder / "p.plan.jsonl")
    fetch = [sys.executable, "-m", "bidsplan", "fetch", str(folder / "p.plan.jsonl")]
    return [*fetch, str(folder / "d"), *more]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("limit", [64, 256])
def test_as_many_connections_are_open_as_files_may_be(bucket, tmp_path, transport, limit):
    files = {f"sub-{number:03}/x.json": bytes(number) for number in range(150)}
    files |= {f"sub-{number:03}/x.nii": bytes(9 << 20) for number in range(3)}
    bucket.fill(files)
    plan = plan_over(f"s3://{bucket.name}", files)
    more = ("--endpoint-url", bucket.endpoint, "--transport", transport, "--jobs", "1024", "-q")
    limited = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command(plan, tmp_path, *more)]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(tmp_path / "d") == files


def test_too_few_files_for_anything_are_told(tmp_path):
    limited = ["sh", "-c", 'ulimit -n 14; exec "$@"', "sh"]
    limited += command(plan_over("s3://bucket", {"x": b""}), tmp_path)
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert without_codes(done.stderr) == (
        "error: only 14 files may be open at a time, and more than 40 are needed; raise the limit "
        "('ulimit -n')\n"
    )
    assert not (tmp_path / "d").exists()


PIECE = bytes(1 << 20)


def large_server(pieces):
    """Serve one large object under every key, without ever holding it."""
    digest = hashlib.md5()
    for _ in range(pieces):
        digest.update(PIECE)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(pieces * len(PIECE)))
            self.send_header("ETag", f'"{digest.hexdigest()}"')
            self.send_header("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT")
            self.end_headers()
            for _ in range(pieces):
                self.wfile.write(PIECE)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server, digest.hexdigest()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_large_files_take_little_memory(tmp_path, transport):
    server, etag = large_server(200)
    fields = {"size": 200 << 20, "etag": etag, "reason": "selected"}
    entries = [Entry(path=f"sub-{n}/x.nii", key=f"sub-{n}/x.nii", **fields) for n in range(4)]
    url = f"http://127.0.0.1:{server.server_address[1]}"
    write_plan(plan_of(entries, "s3://bucket"), tmp_path / "p.plan.jsonl")
    fetch = ["fetch", str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d"), "--endpoint-url", url]
    # Its own word for it: what the system tells of a child counts the memory of who forked it.
    code = (
        "import sys; from bidsplan.cli.main import run; assert run(sys.argv[1:]) == 0; "
        "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *fetch, "--transport", transport],
        capture_output=True,
        text=True,
        check=True,
    )
    server.shutdown()
    [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(kibibytes) <= 256 << 10
    for entry in entries:
        (tmp_path / "d" / entry.path).unlink()


LINKS = ["sub-1", "sub-1/anat", "sub-1/anat/x.json", ".bidsplan", ".bidsplan/partial"]
LINKS += [".bidsplan/receipts"]


@pytest.mark.parametrize("place", LINKS)
def test_a_planted_link_leads_nowhere(bucket, tmp_path, place):
    files = {"README": b"read me", "sub-1/anat/x.json": b"{}", "sub-1/anat/y.json": b"{}"}
    bucket.fill(files)
    outside, link = tmp_path / "outside", tmp_path / "d" / place
    (outside / "anat").mkdir(parents=True)
    (outside / "kept").write_text("mine")
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "kept" if place.endswith(".json") else outside)
    before = sorted(outside.rglob("*"))
    plan = plan_over(f"s3://{bucket.name}", files)
    arguments = command(plan, tmp_path, "--endpoint-url", bucket.endpoint)
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert sorted(outside.rglob("*")) == before
    assert (outside / "kept").read_text() == "mine"
    assert link.is_symlink()
    assert all(not path.is_symlink() for path in leftovers(tmp_path / "d"))
    if place == ".bidsplan/receipts":
        assert done.returncode == 0
        assert "receipts could not be written" in done.stderr
    else:
        said = {"x.json": "a link or a directory exists there"}.get(
            place.rpartition("/")[2], "a link or a file is where a directory should be"
        )
        assert (done.returncode, said in done.stderr) == (1, True)
    link.unlink()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert tree(tmp_path / "d") == files
    assert re.search("fetched|kept", done.stdout)
