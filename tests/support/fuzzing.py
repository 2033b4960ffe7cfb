"""Run every command on mutated plans and manifests, and report what is not a clear answer.

Each run must exit with 0, 1 or 2, show neither a traceback nor a crash on either stream, and leave
everything outside of its destination as it was. No request leaves this machine::

    python tests/support/fuzzing.py --plans 20000 --manifests 20000 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import gzip
import hashlib
import io
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

from bidsplan.cli.main import run
from bidsplan.errors import BidsplanError
from bidsplan.manifest.load import load_manifest
from bidsplan.plan.file import StoredPlan
from mutations import MANIFESTS, STUDY, URLS, Mutator, encoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CRASH = re.compile(
    r"error: unexpected|bug in bidsplan|Traceback|panicked|RUST_BACKTRACE|core dumped"
)
OFFLINE = ("s3:", "memory:", "file:", "local:")
LARGEST = 300 << 20


class Quiet(BaseHTTPRequestHandler):
    """Answers that there is nothing, so that no case waits for an answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def offline(folder):
    """Let no environment of the user, and no network, take part."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    dropped = ("AWS_", "AZURE_", "GOOGLE_", "BIDSPLAN_", "FSSPEC_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(dropped)}
    kept |= {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_address[1]}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "NO_PROXY": "*",
    }
    try:
        with mock.patch.dict(os.environ, kept, clear=True), contextlib.chdir(folder):
            yield
    finally:
        server.shutdown()
        server.server_close()


def captured(arguments):
    """Run a command; gives its exit code and all that it wrote, also past Python's streams."""
    out = io.StringIO()
    with tempfile.TemporaryFile() as native:
        kept = os.dup(2)
        os.dup2(native.fileno(), 2)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                try:
                    code = run(arguments)
                except BaseException as error:  # noqa: BLE001 - a panic of Rust is no Exception
                    code = f"Traceback: {error!r}"
        finally:
            if "fsspec" in arguments:
                # s3fs ends its sessions on whatever loop runs while they are collected, which in
                # this process could be the next command's.
                gc.collect()
            os.dup2(kept, 2)
            os.close(kept)
        native.seek(0)
        return code, out.getvalue() + native.read().decode(errors="replace")


def snapshot(folder, without=()):
    """Describe all that stands in a folder, but for what a command may write."""
    found = {}
    for above, directories, names in os.walk(folder):
        directories[:] = [name for name in directories if f"{above}/{name}" not in without]
        for name in (*directories, *names):
            path = f"{above}/{name}"
            if path not in without:
                state = os.lstat(path)
                content = None if name in directories else (state.st_size, state.st_mtime_ns)
                found[path] = (state.st_mode, content)
    return found


class Fuzzer:
    """Runs commands in a folder of its own.

    Parameters
    ----------
    folder : Path
    seed : int

    Attributes
    ----------
    counts : Counter
        Runs by command, and by what the reader said of the documents.
    defects : list of str
    """

    def __init__(self, folder, seed):
        self.folder = folder
        self.mutator = Mutator(seed)
        self.counts: Counter[str] = Counter()
        self.defects: list[str] = []
        for key, data in STUDY.items():
            (folder / "study" / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / "study" / key).write_bytes(data)
        (folder / "outside").mkdir()
        (folder / "outside" / "kept").write_text("mine")
        (folder / "cohort.csv").write_text("participant_id,sex\n1,F\n")
        (folder / "m.yaml").write_text(MANIFESTS[0])
        self.plans = self._valid_plans()
        self.before = self._state()

    def _valid_plans(self):
        """Compile plans to start from, with all that entries may have."""
        found = []
        for number in (0, 1):
            (self.folder / "b.yaml").write_text(MANIFESTS[number])
            assert captured(["compile", "b.yaml", "-o", "b.plan.jsonl"])[0] == 0
            found.append((self.folder / "b.plan.jsonl").read_bytes().splitlines(keepends=True))
        (self.folder / "b.plan.jsonl").unlink()
        (self.folder / "b.yaml").unlink()
        return [*found, *(self._rich(found[0], url) for url in ("study", "s3://bucket/x"))]

    @staticmethod
    def _rich(lines, url):
        header, *entries = [json.loads(line) for line in lines]
        header["roots"] = [{"url": url, "anonymous": True}, {"url": "memory://x"}]
        for entry in entries:
            data = STUDY[entry["key"]]
            entry["md5"] = hashlib.md5(data).hexdigest()
            entry["sha256"] = hashlib.sha256(data).hexdigest()
            if url != "study":
                entry["etag"], entry["version"] = entry["md5"], "1"
        entries[0] = {"path": entries[0]["path"], "size": 2, "reason": "dataset", "content": "{}"}
        return [encoded(header), *map(encoded, entries)]

    def _state(self):
        written = {"d", "p.plan.jsonl", "p.plan.jsonl.gz", "p.plan.jsonl.zst", "q.plan.jsonl"}
        written |= {"f.yaml", "f.plan.jsonl"}
        return snapshot(self.folder, {f"{self.folder}/{name}" for name in written})

    def run(self, *arguments):
        """Run one command, and note what is wrong with how it ended."""
        code, said = captured([*arguments])
        self.counts[arguments[0]] += 1
        found = CRASH.search(said)
        if code not in {0, 1, 2} or found:
            where = said[max(0, found.start() - 200) :] if found else said
            self._defect(arguments, f"exit {code}: {where[:800]}")
        after = self._state()
        if after != self.before:
            self._defect(arguments, f"wrote outside: {after.items() ^ self.before.items()}")
            self.before = after
        return code

    def _defect(self, arguments, what):
        names = [name for name in arguments if "plan.jsonl" in name or name == "f.yaml"]
        data = (self.folder / names[0]).read_bytes() if names else b""
        self.defects.append(f"{' '.join(arguments)}\n{what}\n{data[:3000]!r}")

    def destination(self):
        """Start from an empty destination, or one with a link that leads out of it."""
        shutil.rmtree(self.folder / "d", ignore_errors=True)
        if self.mutator.chance() < 0.3:
            (self.folder / "d").mkdir()
            (self.folder / "d" / "link").symlink_to(self.folder / "outside")
        return "d"

    def plan(self):
        """Mutate a plan, and run commands on it."""
        choice = self.mutator.choice
        name = f"p.plan{choice(['.jsonl', '.jsonl', '.jsonl.gz', '.jsonl.zst'])}"
        data = packed(self.mutator.plan(choice(self.plans)), name)
        if self.mutator.chance() < 0.05:
            data = self.mutator.bytes(data)
        (self.folder / name).write_bytes(data)
        commands = self._plan_commands(name)
        try:
            urls = [root.url for root in StoredPlan(name).header.roots]
        except BidsplanError:
            self.counts["refused plans"] += 1
            self.run(*choice(commands))
        else:
            self.counts["read plans"] += 1
            self.destination()
            for command in commands if all(map(is_offline, urls)) else commands[-3:]:
                self.run(*command)
        for made in (name, "q.plan.jsonl"):
            (self.folder / made).unlink(missing_ok=True)

    def _plan_commands(self, name):
        last = [
            ("compile", "m.yaml", "-o", name, "--check"),
            ("prune", name, "d", "--dry-run"),
            ("fetch", name, "d", "-n", "--json"),
        ]
        first = [
            ("fetch", name, "d", "--timeout", "2"),
            ("verify", name, "d"),
            ("pin", name, "d", "-o", "q.plan.jsonl"),
            ("fetch", name, "d", "--existing", "replace", "--json", "--timeout", "2"),
            ("prune", name, "d", "--yes"),
            ("fetch", name, "memory://d", "--timeout", "2"),
            ("verify", name, "memory://d", "--json"),
            ("compile", "m.yaml", "-o", name),
        ]
        transport = ("--transport", self.mutator.choice(["auto", "fsspec"]))
        first = [(*each, *transport) if each[0] == "fetch" else each for each in first]
        kept = [each for each in first if self.mutator.chance() < 0.4]
        return [*last, *kept] if self.mutator.chance() < 0.1 else [*kept, *last]

    def manifest(self):
        """Mutate a manifest, and run commands on it."""
        (self.folder / "f.yaml").write_bytes(self.mutator.manifest(self.mutator.choice(MANIFESTS)))
        code = self.run("validate", "f.yaml", *self.mutator.choice([(), ("--json",)]))
        self.counts[f"manifests that validate says {code} to"] += 1
        if code == 0 and self._is_offline_manifest():
            self.destination()
            commands = [
                ("compile", "f.yaml"),
                ("compile", "f.yaml", "--check"),
                ("explain", "f.yaml"),
                ("explain", "f.yaml", "sub-1/anat/sub-1_T1w.json"),
                ("inspect", "f.yaml"),
                ("fetch", "f.yaml", "d"),
                ("fetch", "f.yaml", "d", "-n"),
                ("prune", "f.yaml", "d", "-n"),
                ("verify", "f.yaml", "d"),
                ("compile", "f.yaml", "--untrusted", "--json"),
            ]
            for command in commands:
                if self.mutator.chance() < 0.5:
                    self.run(*command)
        for made in ("f.yaml", "f.plan.jsonl"):
            (self.folder / made).unlink(missing_ok=True)

    def _is_offline_manifest(self):
        manifest = load_manifest("f.yaml").manifest
        more = manifest.derivatives.values() if isinstance(manifest.derivatives, dict) else ()
        return all(is_offline(url) for url in (manifest.study.url, *(d.url or "" for d in more)))


def is_offline(url):
    """Tell whether what a URL names can be asked for without leaving this machine."""
    known = URLS[: URLS.index("memory://")]
    return url in known or url.lower().startswith(OFFLINE) or "://" not in url


def packed(data, name):
    if name.endswith(".gz"):
        return gzip.compress(data, 1, mtime=0)
    return zstd.compress(data, 1) if name.endswith(".zst") else data


def fuzz(folder, *, plans, manifests, seed):
    """Run so many cases in an empty folder.

    Returns
    -------
    Fuzzer
    """
    folder = Path(folder).resolve()
    with offline(folder):
        fuzzer = Fuzzer(folder, seed)
        for _ in range(plans):
            fuzzer.plan()
        for _ in range(manifests):
            fuzzer.manifest()
    return fuzzer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plans", type=int, default=2000)
    parser.add_argument("--manifests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = fuzz(folder, **vars(arguments))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    lines = [f"{number:>8,}  {what}" for what, number in sorted(fuzzer.counts.items())]
    lines.append(f"peak memory {peak >> 20} MiB, {time.monotonic() - start:.0f} s")
    lines.append(f"defects: {len(fuzzer.defects)}")
    lines += [f"---\n{defect}" for defect in fuzzer.defects[:20]]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if fuzzer.defects or peak > LARGEST else 0


if __name__ == "__main__":
    sys.exit(main())
