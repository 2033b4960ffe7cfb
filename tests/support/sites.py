"""A web server on the loopback that serves files, and lies about them where it is told to."""

from __future__ import annotations

import html
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

from servers import encrypted

HOST = "127.0.0.1"
LONG_AGO = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass
class Page:
    """What stands at a path.

    Parameters
    ----------
    body : bytes
    etag, modified : str or None
        Headers as they are sent.
    kind : str
    status : int
    headers : dict
        Beside those that follow from the others.
    said : int or None
        What HEAD says of its length, where that is a lie.
    """

    body: bytes = b""
    etag: str | None = None
    modified: str | None = None
    kind: str = "application/octet-stream"
    status: int = 200
    headers: dict = field(default_factory=dict)
    said: int | None = None


class Site:
    """A server of pages.

    Attributes
    ----------
    requests : list of (str, str, dict)
        Method, path and headers of each.
    heeds : bool
        Whether conditions of requests are heeded.
    ranges : bool
        Whether ranges are.
    cut : dict of str to (int, callable)
        Paths whose body breaks off once behind so many bytes, and what is called then.
    chunked : bool
        Whether bodies come without a length.
    """

    def __init__(self, pages=None, *, host=HOST, tls=None) -> None:
        self.pages: dict[str, Page] = dict(pages or {})
        self.requests: list[tuple[str, str, dict]] = []
        self.heeds = self.ranges = True
        self.chunked = False
        self.cut: dict[str, tuple[int, object]] = {}
        self.range_said = None
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.answer(self)

            do_HEAD = do_PUT = do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, *_):
                pass

        self._server = Server((host, 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        if tls is not None:
            self.url = encrypted(self._server, self.url, tls)
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.01,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def fill(self, files, **more) -> None:
        """Serve files, with an index page for each directory."""
        for path, body in files.items():
            self.pages[f"/{path}"] = Page(body, **more)

    def _found(self, path: str) -> Page:
        page = self.pages.get(path)
        if page is None and path.endswith("/"):
            names = {key[len(path) :].partition("/") for key in self.pages if key.startswith(path)}
            links = sorted({quote(name) + slash for name, slash, _ in names if name})
            body = "".join(f'<a href="{html.escape(link)}">{link}</a>\n' for link in links)
            status = 200 if links else 404
            return Page(f"<html>{body}</html>".encode(), kind="text/html", status=status)
        return page or Page(b"none", status=404)

    def answer(self, handler) -> None:
        path = unquote(handler.path.partition("?")[0])
        asked = dict(handler.headers)
        self.requests.append((handler.command, handler.path, asked))
        page = self._found(path)
        if self.heeds and page.status == 200 and self._refuses(page, asked):
            self._send(handler, Page(status=412))
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("Range", "")) if self.ranges else None
        start = int(match[1]) if match else 0
        end = int(match[2]) + 1 if match and match[2] else len(page.body)
        self._send(handler, page, start, end, partial=match is not None)
        if match and handler.command == "GET" and path in self.cut and match[2]:
            self._cut(path)

    def _refuses(self, page: Page, asked) -> bool:
        wanted = asked.get("If-Match")
        since = asked.get("If-Unmodified-Since")
        return bool((wanted and wanted != page.etag) or (since and since != page.modified))

    def _cut(self, path: str):
        return self.cut.pop(path)[1]()

    def _send(self, handler, page: Page, start=0, end=None, *, partial=False) -> None:
        body = page.body[start:end]
        handler.send_response(206 if partial else page.status)
        handler.send_header("Content-Type", page.kind)
        for name, value in (("ETag", page.etag), ("Last-Modified", page.modified)):
            if value:
                handler.send_header(name, value)
        if partial:
            said = f"bytes {start}-{start + len(body) - 1}/{len(page.body)}"
            handler.send_header("Content-Range", self.range_said or said)
        for name, value in page.headers.items():
            handler.send_header(name, value)
        head = handler.command == "HEAD"
        if self.chunked and not head:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            length = page.said if head and page.said is not None else len(body)
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if not head:
            self._write(handler, unquote(handler.path), body)

    def _write(self, handler, path: str, body: bytes) -> None:
        if self.chunked:
            handler.wfile.write(
                b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            )
            return
        if path in self.cut and not handler.headers.get("Range"):
            handler.wfile.write(body[: self.cut[path][0]])
            handler.wfile.flush()
            self._cut(path)
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        handler.wfile.write(body)
