"""A server whose every answer is given byte by byte, as S3 and as a web server."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress

EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


class Scripted:
    """Answers each request with what `script` gives.

    Parameters
    ----------
    script : callable
        Takes the method, the path and the headers, whose names are in lower case, and gives the
        whole answer; the connection is closed behind it.

    Attributes
    ----------
    requests : list of (str, str, dict)
    """

    def __init__(self, script, host="127.0.0.1"):
        self.script = script
        self.requests = []
        self._socket = socket.create_server((host, 0), backlog=64)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self):
        with suppress(OSError):
            while True:
                threading.Thread(
                    target=self._answer, args=self._socket.accept()[:1], daemon=True
                ).start()

    def _answer(self, connection):
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as file:
            method, path, _ = file.readline().decode("latin-1").split(" ", 2)
            headers = {}
            while (line := file.readline()) not in {b"\r\n", b""}:
                name, _, text = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = text.strip()
            self.requests.append((method, path, headers))
            connection.sendall(self.script(method, path, headers))
            connection.shutdown(socket.SHUT_WR)

    def gets(self):
        """Give the headers of all requests for objects."""
        return [asked for method, path, asked in self.requests if method == "GET"]


def answer(status=200, body=b"", *, length=None, **headers):
    """Write an answer; a list of values stands for as many headers."""
    headers = {"Content_Length": len(body) if length is None else length, **headers}
    lines = [f"HTTP/1.1 {status} X", "Connection: close"]
    for name, values in headers.items():
        lines += [
            f"{name.replace('_', '-')}: {value}"
            for value in (values if isinstance(values, list) else [values])
        ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def range_of(headers):
    """Give the first byte that is asked for, and the one behind the last, or None."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    return (int(match[1]), int(match[2]) + 1 if match[2] else None) if match else (0, None)
