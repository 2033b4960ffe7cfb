"""Run every command on mutated plans and manifests, and report what is not a clear answer.

Each run must exit with 0, 1 or 2, show neither a traceback nor a crash on either stream, and leave
everything outside of its destination as it was. No request leaves this machine::

    python tests/fuzzing.py --plans 20000 --manifests 20000 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gzip
import hashlib
import io
import json
import os
import random
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

import yaml
import zstandard

from bidsplan.cli.main import run
from bidsplan.errors import BidsplanError
from bidsplan.files.manifests import load_manifest
from bidsplan.files.plans import StoredPlan

CRASH = re.compile(
    r"error: unexpected|defect of bidsplan|Traceback|panicked|RUST_BACKTRACE|core dumped"
)
OFFLINE = ("s3:", "memory:", "file:", "local:")
LARGEST = 300 << 20
DESCRIPTION = b'{"Name": "x", "BIDSVersion": "1.8.0"}'
STUDY = {
    "dataset_description.json": DESCRIPTION,
    "participants.tsv": b"participant_id\tsex\tage\nsub-1\tF\t9\nsub-2\tM\tn/a\n",
    "sub-1/anat/sub-1_T1w.nii.gz": b"image",
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-1/ses-a/func/sub-1_ses-a_task-rest_run-1_bold.nii.gz": b"more",
    "sub-2/fmap/sub-2_epi.json": b'{"IntendedFor": ["anat/sub-2_T1w.nii.gz"]}',
    "sub-2/fmap/sub-2_epi.nii.gz": b"map",
    "sub-2/anat/sub-2_T1w.nii.gz": b"",
    "derivatives/afq/dataset_description.json": DESCRIPTION,
    "derivatives/afq/sub-1/sub-1_dwi_profiles.csv": b"1,2\n",
    "phenotype/age.tsv": b"participant_id\n",
}
MANIFESTS = [
    "manifest_version: 1\nstudy: {id: x, url: study}\n",
    "manifest_version: 1\nstudy:\n  id: x\n  url: study\nsubjects:\n  from: both\n"
    "  where: {sex: F, age: {min: 8, max: 12}}\n  sample: {count: 1, stratify_by: [sex]}\n"
    "random_seed: 3\nfiles:\n  - {suffixes: [T1w], extensions: [.nii.gz]}\n"
    "  - {suffixes: [bold], entities: {task: rest, run: 1, acq: {absent: true}}}\n"
    "derivatives: {afq: {include: ['**/*_profiles.csv'], dataset_files: none}}\n",
    "manifest_version: 1\nstudy: {id: x, url: study, layout: subject-first}\n"
    "subjects: {include: ['*'], exclude: ['2'], missing: skip, table: {file: cohort.csv}}\n"
    "sessions: {include: [a], sessionless: include}\nderivatives: all\ndirectories: [phenotype]\n"
    "companions: {fieldmaps: false, tables: auto}\nlimits: {max_bytes: 5GB, max_files: 100}\n",
    "manifest_version: 1\nstudy: {id: x, url: 's3://bucket/x', versions: pinned}\nsite: [A, B]\n",
    "manifest_version: 1\nstudy: {id: x, url: '.'}\nsite: study\nfiles: none\n"
    "derivatives: {afq: {scope: whole, url: study/derivatives/afq}}\n",
]
NUMBERS = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**40, 1.5, 1e308, -0.0]
WORDS = ["", " ", ".", "..", "~", "${HOME}", "-", "*", "**", "[", "CON", "C:\\x", "a\\b", "\0"]
WORDS += [
    "\u202e",
    "\u200b",
    "\ufeff",
    "e\u0301",
    "\u00e9",
    "\x1b[31m",
    "::error::x",
    "%0A",
    "x\ny",
]
WORDS += ["x" * 300, "x" * 5000, "a/" * 600, "\U0001f9e0", "\ud800", "0x10", "1e3", "no", "null"]
PATHS = ["../outside/kept", "/etc/passwd", "a/../../outside/kept", "a//b", "./a", "a/.", "sub-1"]
PATHS += [".bidsplan/lock", ".bidsplan/receipts/x.jsonl", ".BIDSPLAN/x", "outside/../../x", "a/"]
PATHS += ["link/x", "link", "d/link/kept", "p.plan.jsonl", "study/README"]
URLS = [
    "s3://buc ket/x",
    "s3://../x",
    "s3://b\\x",
    "s3://\u00e9/x",
    "s3://b:9/x",
    "s3://",
    "s3:///x",
]
URLS += ["az://c/x", "az://$root/x", "gs://buc ket/x", "https://:443/", "https://h:99999/"]
URLS += ["https://[/", "https://[::1", "https://a b/", "https://xn--/", "https://%/", "https:/x"]
URLS += ["https://1.2.3.4.5/", "memory://", "memory://x", "file://", "file:///proc/self", "study"]
URLS += ["/dev/zero", "/proc", "s3://bucket/x", "s3://u:p@b/x", "zip::file://x", "ftp://h/x"]
URLS += ["s3://b/x?y#z", "S3://Bucket/" + "x/" * 900, "https://169.254.169.254/", "nope://x"]
PLAUSIBLE = {
    "path": [*PATHS, *WORDS, "sub-1/anat/a.nii.gz", "SUB-1/anat/x", "sub-9/x.json"],
    "key": [*PATHS, *WORDS, *STUDY],
    "size": [0, 1, 5, 2**31, 2**53 + 1, 2**62, 2**63 - 1],
    "etag": [word for word in WORDS if word] + ["0" * 32, "0" * 32 + "-3", 'W/"x"', "a" * 1024],
    "version": [word for word in WORDS if word] + ["null"],
    "md5": ["0" * 32, "d41d8cd98f00b204e9800998ecf8427e"],
    "sha256": ["0" * 64],
    "root": [0, 1, 2, 100_000],
    "reason": ["selected", "inherited", "fieldmap", "table", "dataset"],
}
OTHERS = [None, True, False, [], {}, [[]], [None], {"": ""}, [1, "1"], {"not": "n/a"}, {"min": 9}]


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
    threading.Thread(target=server.serve_forever, daemon=True).start()
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


def number_of(entry):
    size = entry.get("size") if isinstance(entry, dict) else 0
    return size if isinstance(size, int) and not isinstance(size, bool) else 0


class Mutator:
    """Changes documents at random, the same way for the same seed."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.chance = self._random.random
        self.choice = self._random.choice

    def bytes(self, data):
        data = bytearray(data)
        for _ in range(self.choice([1, 1, 2, 5])):
            start = self._random.randrange(len(data) + 1)
            piece = data[start : start + self.choice([1, 2, 8, 64])]
            kind = self._random.randrange(6)
            if kind == 0 and piece:
                data[start] ^= 1 << self._random.randrange(8)
            elif kind == 1:
                data[start:start] = self._random.randbytes(self.choice([1, 3, 40]))
            elif kind == 2:
                del data[start : start + len(piece)]
            elif kind == 3:
                data[start:start] = piece * self.choice([1, 2, 300])
            elif kind == 4 and self.chance() < 0.2:
                del data[start:]
            else:
                words = [b'"', b"{", b"[", b"}", b"\n", b"\r\n", b",", b":", b"\0", b"\xff", b"\\u"]
                data[start:start] = self.choice([*words, b"[" * 3000, b'{"a":' * 3000, b"9" * 400])
        return bytes(data)

    def value(self, old):
        kind = self._random.randrange(8)
        if kind == 0 and isinstance(old, str):
            place = self._random.randrange(len(old) + 1)
            return old[:place] + self.choice(WORDS) + old[place:]
        if kind == 1 and isinstance(old, int) and not isinstance(old, bool):
            return old + self.choice([-1, 1, 2**62])
        if kind == 2:
            nested: object = old
            for _ in range(self.choice([1, 5, 60, 400])):
                nested = [nested] if self.chance() < 0.5 else {"a": nested}
            return nested
        if kind == 3:
            return [old] * self.choice([0, 2, 500])
        pools = [NUMBERS, WORDS, PATHS, URLS, URLS, OTHERS]
        return copy.deepcopy(self.choice(self.choice(pools)))

    def tree(self, tree):
        """Change one place of nested data, wherever it is."""
        tree = copy.deepcopy(tree)
        above, key = None, None
        node = tree
        while isinstance(node, dict | list) and node and (above is None or self.chance() < 0.75):
            above = node
            key = self.choice(list(node)) if isinstance(node, dict) else self._index(node)
            node = node[key]
        if above is None:
            return self.value(tree)
        kind = self._random.randrange(6)
        if kind == 0:
            del above[key]
        elif kind == 1 and isinstance(above, dict):
            above[self.choice([*WORDS, "url", "size", "filters", "include"])] = self.value(node)
        elif kind == 2 and isinstance(above, list):
            above.insert(key, copy.deepcopy(node))
        else:
            above[key] = self.value(node)
        return tree

    def _index(self, node):
        return self._random.randrange(len(node))

    def plan(self, lines):
        """Change a plan, mostly with counts and a digest that hold, to meet the deeper checks."""
        if self.chance() < 0.2:
            return self.bytes(b"".join(lines))
        header, *entries = [json.loads(line) for line in lines]
        for _ in range(self.choice([1, 1, 1, 2, 4])):
            if self.chance() < 0.6:
                self._plausible(header, entries)
            elif self.chance() < 0.3:
                header = self.tree(header)
            else:
                entries = self.tree(entries)
        if not isinstance(entries, list):
            entries = [entries]
        if self.chance() < 0.5:
            entries.sort(
                key=lambda entry: str(entry.get("path") if isinstance(entry, dict) else "")
            )
        body = b"".join(map(encoded, entries))
        if isinstance(header, dict) and self.chance() < 0.85:
            header["files"], header["bytes"] = len(entries), sum(map(number_of, entries))
            header["entries_sha256"] = hashlib.sha256(body).hexdigest()
        return encoded(header) + body

    def _plausible(self, header, entries):
        """Change one value to another of its type, which only deeper checks can refuse."""
        entry = self.choice(entries or [{}]) if isinstance(entries, list) else {}
        if self.chance() < 0.2 and isinstance(header, dict):
            header["roots"] = [{"url": self.choice(URLS)} for _ in range(self.choice([1, 2, 3]))]
        elif isinstance(entry, dict):
            field = self.choice(list(PLAUSIBLE))
            entry[field] = self.choice(PLAUSIBLE[field])

    def manifest(self, text):
        if self.chance() < 0.2:
            return self.bytes(text.encode())
        tree = yaml.safe_load(text)
        for _ in range(self.choice([0, 1, 1, 3])):
            other = yaml.safe_load(self.choice(MANIFESTS))
            section = self.choice(list(other))
            tree[section] = other[section]
        for _ in range(self.choice([0, 1, 1, 2])):
            tree = self.tree(tree)
        try:
            return yaml.safe_dump(tree, sort_keys=False).encode(errors="surrogatepass")
        except (yaml.YAMLError, RecursionError):
            return json.dumps(tree).encode()


def encoded(data):
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass") + b"\n"


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
    return zstandard.compress(data, 1) if name.endswith(".zst") else data


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
