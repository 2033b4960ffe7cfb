"""A small S3 on the loopback that counts requests: real listings, and zeros for most objects."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from list_responder import Index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_ZEROS = bytes(1 << 20)


@dataclass(frozen=True)
class Bucket:
    """What is served, and what was asked for.

    Parameters
    ----------
    sizes : mapping of str to int
    contents : mapping of str to bytes
        Of objects that are not zeros.
    etag : str
        Of all objects.
    listing : Index
    requests : Counter
        Numbers of ``LIST``, ``GET`` and ``HEAD``.
    """

    sizes: Mapping[str, int]
    contents: Mapping[str, bytes]
    etag: str
    listing: Index
    requests: Counter[str]


class Handler(BaseHTTPRequestHandler):
    """Answers requests for a bucket, which subclasses name."""

    bucket: Bucket
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Answer HEAD."""
        self.bucket.requests["HEAD"] += 1
        self._send_object()

    def do_GET(self) -> None:
        """Answer GET, of an object or a listing."""
        query = {name: found[0] for name, found in parse_qs(urlsplit(self.path).query).items()}
        self.bucket.requests["LIST" if "list-type" in query else "GET"] += 1
        if "list-type" in query:
            self._send(200, self.bucket.listing.page(query))
        else:
            self._send_object()

    def _send_object(self) -> None:
        key = unquote(urlsplit(self.path).path).split("/", 2)[2]
        if key not in self.bucket.sizes:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif key in self.bucket.contents:
            self._send(200, self.bucket.contents[key])
        else:
            self._send_zeros(self.bucket.sizes[key])

    def _send(self, status: int, body: bytes) -> None:
        self._head(status, len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", f'"{self.bucket.etag}"')
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _send_zeros(self, size: int) -> None:
        start, stop = 0, size
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or size) + 1, size)
            self._head(206, stop - start, Content_Range=f"bytes {start}-{stop - 1}/{size}")
        else:
            self._head(200, size)
        for left in range(stop - start, 0, -len(_ZEROS)) if self.command == "GET" else ():
            self.wfile.write(_ZEROS[:left])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving(
    sizes: Mapping[str, int], contents: Mapping[str, bytes], etag: str, scratch: Path
) -> Iterator[tuple[str, Counter[str]]]:
    """Serve a bucket; yield the endpoint, and the numbers of requests that it counts.

    Parameters
    ----------
    sizes, contents, etag
        As in `Bucket`.
    scratch : path
        A directory for the listing.
    """
    lines = (f"{key}\t{size}\t{etag}\n" for key, size in sorted(sizes.items()))
    (scratch / "listing").write_text("".join(lines), encoding="utf-8")
    bucket = Bucket(sizes, contents, etag, Index(scratch / "listing"), Counter())
    handler = type("BucketHandler", (Handler,), {"bucket": bucket})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", bucket.requests
        server.shutdown()
