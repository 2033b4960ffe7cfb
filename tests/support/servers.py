"""Real servers on the loopback: moto_server, rclone, and a proxy that counts and breaks."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote_plus

HOST = "127.0.0.1"
PAGE = 100
"""Names on a page of moto's listings."""
_DEADLINE = 30.0
_TRICKLE = 0.1
_VERSION = "<Key>(.*?)</Key>.*?<VersionId>(.*?)</VersionId>"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    """Wait until something listens; a deadline, and no sleep for luck."""
    end = time.monotonic() + _DEADLINE
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


class Process:
    """A server in a process of its own."""

    def __init__(self, command, port, log: Path, **variables: str) -> None:
        self.url = f"http://{HOST}:{port}"
        with log.open("wb") as file:
            environment = {**os.environ, **variables}
            self._process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        wait_for(port)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def moto_server(folder: Path) -> Process:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    # Tests of several pages spend their time on uploads.
    return Process(command, port, folder / "moto.log", MOTO_S3_DEFAULT_MAX_KEYS=str(PAGE))


def rclone_server(folder: Path, root: Path) -> Process:
    port = free_port()
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    command = [rclone, "serve", "s3", "--addr", f"{HOST}:{port}", "--no-checksum", str(root)]
    command += ["--dir-cache-time", "24h", "--poll-interval", "0"]
    return Process(command, port, folder / "rclone.log")


class Bucket:
    """Fills a bucket by plain requests, so that no client of ours is part of its own test."""

    def __init__(self, endpoint: str, name: str, public: bool = True) -> None:
        self.endpoint, self.name = endpoint, name
        self._acl = "public-read" if public else "private"
        self._send("PUT", "")

    def _send(self, method, path, data=None, headers=None):
        with self._opened(method, path, data, headers) as answer:
            return answer.headers

    def _opened(self, method, path, data=None, headers=None):
        url = f"{self.endpoint}/{self.name}{path}"
        request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
        # moto checks no signature, and looks whether there is one.
        key = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"
        request.add_header("Authorization", f"{key}, SignedHeaders=host, Signature=0")
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header("x-amz-acl", self._acl)
        return urllib.request.urlopen(request, timeout=30)

    def put(self, key: str, data: bytes, headers=None):
        return self._send("PUT", f"/{quote(key, safe='/')}", data, headers)

    def put_in_parts(self, key: str, data: bytes, size: int) -> str:
        """Upload in parts of a size; gives the entity tag."""
        path = f"/{quote(key, safe='/')}"
        with self._opened("POST", f"{path}?uploads", b"") as answer:
            number = re.search("<UploadId>(.*?)</UploadId>", answer.read().decode())[1]
        parts = ""
        for index, start in enumerate(range(0, len(data), size), 1):
            query = f"?partNumber={index}&uploadId={number}"
            tag = self._send("PUT", path + query, data[start : start + size])["ETag"]
            parts += f"<Part><PartNumber>{index}</PartNumber><ETag>{tag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._send("POST", f"{path}?uploadId={number}", body)
        return self._send("HEAD", path)["ETag"].strip('"')

    def delete(self, key: str) -> None:
        self._send("DELETE", f"/{quote(key, safe='/')}")

    def get(self, path: str) -> bytes:
        with self._opened("GET", path) as answer:
            return answer.read()

    def erase(self, prefix: str) -> None:
        """Remove all versions of the objects below a prefix, as if they had never been."""
        page = self.get(f"?versions&max-keys=1000&prefix={quote(prefix)}").decode()
        assert "<IsTruncated>false" in page
        for key, version in re.findall(_VERSION, page, re.S):
            self._send("DELETE", f"/{quote(key, safe='/')}?versionId={version}")

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """Give all objects below a prefix, but for what bidsplan notes there."""
        query = f"list-type=2&max-keys=1000&encoding-type=url&prefix={quote(prefix)}"
        page = self.get(f"?{query}").decode()
        assert "<IsTruncated>false" in page
        keys = [unquote_plus(key) for key in re.findall("<Key>(.*?)</Key>", page)]
        return {
            key.removeprefix(prefix): self.get(f"/{quote(key, safe='/')}")
            for key in keys
            if "/.bidsplan/" not in f"/{key}"
        }

    def uploads(self) -> list[str]:
        """Name the keys of uploads in parts that are neither completed nor aborted."""
        return re.findall("<Key>(.*?)</Key>", self.get("?uploads").decode())

    def fill(self, files) -> None:
        for key, data in files.items():
            self.put(key, data)

    def versioned(self) -> None:
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        self._send("PUT", "?versioning", body)


@dataclass
class Rule:
    """What the proxy does to requests.

    Parameters
    ----------
    do : str
        ``status`` answers by itself; ``cut`` breaks the body off; ``reset`` does so with a TCP
        reset; ``stall`` stops in its midst; ``trickle`` goes on so slowly that it never ends;
        ``short`` says that the cut body is all; ``unsized`` cuts it and says no length; ``whole``
        forgets that a range was asked for; ``page`` answers with a web page; ``flip`` changes its
        last byte, and ``spoil`` that of what is sent; ``say`` adds the rule's headers to the
        answer, and ``unbind`` does so to a request that lost its condition; ``lose`` lets the
        request through and breaks off before any answer; ``call`` calls `hook` before the request
        goes on, and ``call-mid`` when half of the body has gone.
    match : str
        What the request's path must hold.
    times : int
        How many requests it is for.
    code : str
        The storage's word for an error, in the body of a ``status``.
    key : str
        The access key that requests must be signed with.
    lacks : str
        A header that requests must not have.
    """

    do: str
    match: str = ""
    times: int = 1_000_000
    status: int = 503
    headers: dict = field(default_factory=dict)
    hook: object = None
    method: str = "GET"
    body: bytes = b""
    code: str = ""
    key: str = ""
    lacks: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Who connects while more than this wait is not answered for seconds.
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up, as they do after what they can't use."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def encrypted(server, url: str, tls) -> str:
    """Let a server speak TLS by a context; gives its URL."""
    options = {"server_side": True, "do_handshake_on_connect": False}
    server.socket = tls.wrap_socket(server.socket, **options)
    return url.replace("http:", "https:")


class Proxy:
    """Stands before a server, counts requests and bodies' bytes, and breaks some of them."""

    def __init__(self, upstream: str, tls=None) -> None:
        self.requests: list[tuple[str, str]] = []
        self.conditions: list[tuple[str | None, str | None]] = []
        self.sent = 0
        self.keys: set[str] = set()
        self.rules: list[Rule] = []
        self._upstream = upstream.removeprefix("http://")
        self._lock = threading.Lock()
        self._stalled = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                proxy.handle(self)

            do_HEAD = do_PUT = do_DELETE = do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = _Server((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        if tls is not None:
            self.url = encrypted(self._server, self.url, tls)
        # Half a second between looks whether to stop would be most of a short test.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._stalled.set()
        self._server.shutdown()
        self._server.server_close()

    def _rule(self, method: str, path: str, headers) -> Rule | None:
        signature = headers.get("Authorization", "")
        with self._lock:
            self.requests.append((method, path))
            for rule in self.rules:
                if (
                    rule.times
                    and rule.method == method
                    and rule.match in path
                    and f"Credential={rule.key}" in (signature if rule.key else "Credential=")
                    and not (rule.lacks and rule.lacks in headers)
                ):
                    rule.times -= 1
                    return rule
        return None

    def handle(self, handler) -> None:
        signature = handler.headers.get("Authorization", "")
        self.conditions.append((handler.headers.get("Range"), handler.headers.get("If-Match")))
        self.keys.update(re.findall(r"Credential=([^/]+)/", signature))
        rule = self._rule(handler.command, handler.path, handler.headers)
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        if rule and rule.do in {"status", "page"}:
            if rule.hook:
                rule.hook()
            body = f"<Error><Code>{rule.code}</Code></Error>".encode() if rule.code else rule.body
            page = b"<html><body>Please log in</body></html>"
            found = (200, {}, page) if rule.do == "page" else (rule.status, rule.headers, body)
            self._answer(handler, *found)
            return
        if rule and rule.do == "call":
            rule.hook()
        if rule and rule.do == "whole":
            del handler.headers["Range"]
        if rule and rule.do == "unbind":
            del handler.headers["If-Match"]
        if rule and rule.do == "spoil" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        connection.request(handler.command, handler.path, body, dict(handler.headers))
        answer = connection.getresponse()
        data = answer.read()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
        connection.close()
        if rule and rule.do == "lose":
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        if rule and rule.do in {"say", "unbind"}:
            headers = {name: text for name, text in headers.items() if name not in rule.headers}
            headers |= rule.headers
        broken = rule and 200 <= answer.status < 300
        self._answer(handler, answer.status, headers, data, rule if broken else None)

    def _answer(self, handler, status, headers, data, rule=None) -> None:
        half = len(data) // 2
        if rule and rule.do in {"short", "unsized"}:
            data = data[:half]
        if rule and rule.do == "flip" and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        handler.send_response(status)
        length = headers.get("Content-Length") if handler.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() != "content-length":
                handler.send_header(name, value)
        if rule and rule.do == "unsized":
            handler.send_header("Connection", "close")
            handler.close_connection = True
        else:
            handler.send_header("Content-Length", length or str(len(data)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        breaks = rule and rule.do in {"cut", "reset", "stall", "trickle", "call-mid"}
        with self._lock:
            self.sent += half if breaks else len(data)
        if breaks:
            self._break_off(handler, data[:half], rule)
            return
        handler.wfile.write(data)

    def _break_off(self, handler, data, rule) -> None:
        handler.wfile.write(data)
        handler.wfile.flush()
        if rule.do == "stall":
            self._stalled.wait(_DEADLINE)
        while rule.do == "trickle" and not self._stalled.wait(_TRICKLE):
            handler.wfile.write(b"x")
            handler.wfile.flush()
        if rule.do == "call-mid":
            rule.hook()
        if rule.do == "reset":
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        else:
            handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True


_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "server", "date"})
