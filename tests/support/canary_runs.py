"""Run every command, well and badly, with canaries for secrets, and look where they come out.

``python tests/support/canary_runs.py`` prints the number of runs and of leaks, and exits with 1
on any. A canary is in the environment, in the AWS files, in the endpoint's URL, in URLs as people
mistype them, and in a file that a link beside the manifest leads to. It may come out nowhere: in
no output, in no file that is written, and in no request that reaches another host than the
endpoint.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest.mock
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bidsplan.cli.main import run
from canary_cases import CANARY, MANIFESTS, STORAGE, STUDY, WAYS, Case, cases
from servers import Bucket, Proxy, Rule, _Server, free_port, moto_server

OTHER_HOST = "127.0.0.2"
KEY_ID = "AKIAEXCEPTED00000001"


class OtherHost:
    """A server that nothing secret may reach; it keeps all that comes."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                said = f"{self.command} {self.path}\n{self.headers}".encode()
                requests.append(said + self.rfile.read(length))
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        self._server = _Server((OTHER_HOST, 0), Handler)
        self.url = f"http://{OTHER_HOST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Leak:
    """A canary that came out."""

    case: Case
    way: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.case.name} [{self.way}] {self.where}: {self.text}"


class Ground:
    """Servers, a home with AWS files, and folders for runs.

    Parameters
    ----------
    folder : Path
    moto : Process
    """

    def __init__(self, folder: Path, moto) -> None:
        self.folder = folder
        self.proxy, self.other, self.dead = Proxy(moto.url), OtherHost(), free_port()
        self.bucket = Bucket(moto.url, f"canary-{os.getpid()}")
        self.bucket.fill(STUDY)
        self.codes: Counter[int] = Counter()
        self.defects: list[str] = []
        self._number = 0
        self._home()
        with self.environment(user_info=False):
            self._template()

    def stop(self) -> None:
        self.proxy.stop()
        self.other.stop()

    def _home(self) -> None:
        aws = self.folder / "home" / ".aws"
        aws.mkdir(parents=True)
        keys = f"aws_access_key_id = {KEY_ID}\naws_secret_access_key = {CANARY}-file-secret\n"
        (aws / "credentials").write_text(
            f"[default]\n{keys}aws_session_token = {CANARY}-file-session\n"
        )
        (aws / "config").write_text(
            f"[default]\nregion = us-east-1\n[profile x]\n{keys.replace('-file', '-config')}"
        )
        (self.folder / "outside.csv").write_text(
            f"participant_id,{CANARY}-linked\n{CANARY}-linked-row,1\n"
        )

    @contextlib.contextmanager
    def environment(self, *, user_info: bool):
        before = dict(os.environ)
        port = self.proxy.url.rpartition(":")[2]
        endpoint = f"http://me:{CANARY}-endpoint@127.0.0.1:{port}" if user_info else self.proxy.url
        for name in list(os.environ):
            if name.startswith(("AWS_", "BIDSPLAN_")) or name.lower().endswith("_proxy"):
                del os.environ[name]
        os.environ |= {
            "HOME": str(self.folder / "home"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret",
            "AWS_SESSION_TOKEN": f"{CANARY}-session",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ENDPOINT_URL_S3": endpoint,
            "MY_TOKEN": f"{CANARY}-unrelated",
        }
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _template(self) -> None:
        """Lay out what every run begins with."""
        inputs = self.folder / "inputs"
        inputs.mkdir()
        for name, text in MANIFESTS.items():
            body = text.format(bucket=self.bucket.name, canary=CANARY)
            (inputs / name).write_text(f"manifest_version: 1\n{body}\n")
        (inputs / "linked.csv").symlink_to(self.folder / "outside.csv")
        with _captured():
            plan, manifest = inputs / "p.plan.jsonl", inputs / "m.yaml"
            assert run(["compile", str(manifest), "-o", str(plan), "--anonymous"]) == 0
            assert run(["fetch", str(plan), str(inputs / "done"), "--anonymous"]) == 0
        text = plan.read_text()
        (inputs / "cut.plan.jsonl").write_text(text[: len(text) // 2])
        root = f'"s3://{self.bucket.name}"'
        for name, url in (("root", f"s3://u:{CANARY}-typed@b"), ("local", f"file://u:{CANARY}@h")):
            (inputs / f"{name}.plan.jsonl").write_text(text.replace(root, json.dumps(url)))

    def run(self, case: Case, way: str, *, apart: bool = False) -> list[Leak]:
        """Run one case in a folder of its own, and give what came out.

        Parameters
        ----------
        case : Case
        way : str
        apart : bool
            In a process of its own.
        """
        self._number += 1
        place = self.folder / f"run{self._number}"
        shutil.copytree(self.folder / "inputs", place, symlinks=True)
        before = _files(place)
        arguments, user_info = self._arguments(case, way)
        self.other.requests.clear()
        self.proxy.rules = [
            Rule(method=method, **self._filled(fields)) for method, fields in case.rules
        ]
        with self.environment(user_info=user_info), contextlib.chdir(place):
            code, told = _run_apart(arguments) if apart else _run_here(arguments)
        self.proxy.rules = []
        self.codes[code] += 1
        if b"bug in bidsplan" in told["stderr"]:
            self.defects.append(f"{case.name} [{way}]")
        written = {name: data for name, data in _files(place).items() if before.get(name) != data}
        shutil.rmtree(place)
        found = [*told.items()]
        found += [(f"file {name}", name.encode() + b"\n" + data) for name, data in written.items()]
        found += [(f"request to {self.other.url}", data) for data in self.other.requests]
        return [Leak(case, way, where, text) for where, data in found for text in leaks_in(data)]

    def _arguments(self, case: Case, way: str) -> tuple[list[str], bool]:
        reach, tell, user_info = WAYS[way]
        fields = {"bucket": self.bucket.name, "other": self.other.url, "dead": self.dead}
        arguments = [
            argument.format(**fields) if "{" in argument else argument
            for argument in case.arguments
        ]
        if arguments[0] in STORAGE:
            arguments += [*reach, "--timeout", "2"]
        elif arguments[0] == "verify":
            arguments += reach[2:]
        return arguments + tell, user_info

    def _filled(self, fields: dict) -> dict:
        headers = {
            name: text.format(other=self.other.url)
            for name, text in fields.get("headers", {}).items()
        }
        return {**fields, "headers": headers}


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@contextlib.contextmanager
def _captured():
    """Keep all that this process writes, what libraries write past Python included."""
    data: dict[str, bytes] = {}
    with contextlib.ExitStack() as leaving:
        for number, name in enumerate(("stdout", "stderr"), 1):
            file = leaving.enter_context(tempfile.TemporaryFile())
            leaving.callback(_give_back, data, name, number, os.dup(number), file)
            getattr(sys, name).flush()
            os.dup2(file.fileno(), number)
            stream = os.fdopen(number, "w", encoding="utf-8", closefd=False)
            leaving.enter_context(unittest.mock.patch.object(sys, name, stream))
            leaving.enter_context(stream)
        yield data


def _give_back(data, name, number, copy, file) -> None:
    os.dup2(copy, number)
    os.close(copy)
    file.seek(0)
    data[name] = file.read()


def _run_here(arguments: list[str]) -> tuple[int, dict[str, bytes]]:
    with _captured() as told:
        code = run(arguments)
    return code, told


def _run_apart(arguments: list[str]) -> tuple[int, dict[str, bytes]]:
    command = [sys.executable, "-m", "bidsplan", *arguments]
    source = str(Path(importlib.import_module("bidsplan").__file__).parents[1])
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": source}
    )
    return done.returncode, {"stdout": done.stdout, "stderr": done.stderr}


def leaks_in(data: bytes) -> list[str]:
    """Give what stands around each canary, also in base64, in hexadecimal and percent-encoded."""
    found = []
    for line in data.splitlines():
        at = line.lower().find(CANARY.lower().encode())
        if at >= 0:
            found.append(line[max(0, at - 40) : at + 40].decode(errors="replace"))
        elif any(form in line for form in _ENCODED):
            found.append(line[:80].decode(errors="replace"))
    return found


_ENCODED = [
    *(base64.b64encode(b"x" * before + CANARY.encode())[4:-4] for before in range(3)),
    *(form.encode() for text in (CANARY.encode().hex(),) for form in (text, text.upper())),
    *(b"".join(form % byte for byte in CANARY.encode()) for form in (b"%%%02x", b"%%%02X")),
]


@contextlib.contextmanager
def quick_tries():
    """Wait a hundredth of a second between tries."""
    module = importlib.import_module("bidsplan.storage.retry")
    names = ("_LONGEST_WAIT", "_LONGEST_REQUESTED_WAIT")
    before = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name in before:
        setattr(module, name, 0.01)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def main() -> int:
    """Run everything, in this process and some of it in processes of their own."""
    with tempfile.TemporaryDirectory() as name, quick_tries():
        folder = Path(name).resolve()
        moto = moto_server(folder)
        ground = Ground(folder, moto)
        try:
            planned = [(case, way, False) for case in cases() for way in WAYS]
            planned += [(case, "fsspec debug", True) for case in cases()[::12]]
            leaks = []
            for case, way, apart in planned:
                leaks += ground.run(case, way, apart=apart)
        finally:
            ground.stop()
            moto.stop()
    for leak in leaks:
        sys.stdout.write(f"{leak.case.kind}: {leak}\n")
    for name in ground.defects:
        sys.stdout.write(f"defect: {name}\n")
    codes = ", ".join(
        f"{number:,} exited with {code}" for code, number in sorted(ground.codes.items())
    )
    kinds = Counter(leak.case.kind for leak in leaks)
    by_kind = ", ".join(f"{number} by {kind}" for kind, number in sorted(kinds.items()))
    sys.stdout.write(
        f"{len(planned):,} runs ({codes}), {len(leaks)} leaks{by_kind and f': {by_kind}'}\n"
    )
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
