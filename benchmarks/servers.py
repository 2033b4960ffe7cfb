"""Servers on the loopback to measure on, each a process that is stopped with its block."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stopping import tied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["KEY", "SECRET", "delayed", "nginx", "rclone"]

HOST = "127.0.0.1"
HERE = Path(__file__).parent
KEY = "benchmarkkey"
SECRET = "benchmarksecret"  # noqa: S105 - of a server on the loopback, that lives for minutes
STARTING = 60.0

# Two extensions of Debian's: entity tags are MD5s, as S3's are, and `If-Match` is heeded.
NGINX = """
load_module /usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes auto;
worker_rlimit_nofile {files};
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max={cached} inactive=1h;
  default_type application/octet-stream;
  map_hash_max_size 1048576;
  map_hash_bucket_size 256;
  map $uri $md5 {{ include {folder}/etags.map; }}
  map "$http_if_match:$md5" $differs {{ default 1; "~^:" 0; '~^"([0-9a-f]+)":\\1$' 0; }}
  upstream listing {{ server {host}:{listing}; keepalive 64; }}
  server {{
    listen {host}:{port};
    root {root};
    location ~ ^/bucket/?$ {{
      proxy_pass http://listing;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffers 16 64k;
    }}
    location / {{
      if ($differs) {{ return 412; }}
      more_clear_input_headers If-Match;
      more_set_headers 'ETag: "$md5"';
    }}
  }}
}}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _serving(command: Sequence[str | Path], port: int, log: Path) -> Iterator[str]:
    """Run a server until the block ends; gives its URL."""
    with log.open("wb") as output:
        server = subprocess.Popen(tied(command), stdout=output, stderr=output)
    try:
        _wait_for(port, server, log)
        yield f"http://{HOST}:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTING
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"{server.args!r} does not serve: {log.read_text(errors='replace')}")


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve a bucket by nginx, and its listing by a responder of ours: the ceiling for clients.

    Parameters
    ----------
    root : Path
        Holds ``bucket/`` and ``objects.tsv``.
    folder : Path
        For configuration and logs.

    Yields
    ------
    str
        The endpoint.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        sys.exit(
            "nginx is not there; install it: apt-get install nginx-light "
            "libnginx-mod-http-headers-more-filter"
        )
    objects = root / "objects.tsv"
    with (folder / "etags.map").open("w", encoding="utf-8") as file:
        for line in objects.read_text(encoding="utf-8").splitlines():
            key, _, etag = line.split("\t")
            file.write(f"/bucket/{key} {etag};\n")
    port, listing = _free_port(), _free_port()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            host=HOST,
            folder=folder,
            root=root,
            port=port,
            listing=listing,
            files=files,
            # What is cached is open, and connections need descriptors as well.
            cached=files // 2,
        )
    )
    responder: list[str | Path] = [
        sys.executable,
        HERE / "list_responder.py",
        str(listing),
        objects,
    ]
    server: list[str | Path] = [program, "-p", folder, "-c", configuration]
    with (
        _serving(responder, listing, folder / "listing.log"),
        _serving(server, port, folder / "nginx-output.log") as endpoint,
    ):
        yield endpoint


@contextmanager
def rclone(root: Path, folder: Path) -> Iterator[str]:
    """Serve a bucket by ``rclone serve s3``, which signs, lists and transfers for real.

    Parameters
    ----------
    root, folder
        As for `nginx`.

    Yields
    ------
    str
        The endpoint.
    """
    program = Path(sys.executable).parent / "rclone"
    port = _free_port()
    command: list[str | Path] = [
        program,
        "serve",
        "s3",
        "--addr",
        f"{HOST}:{port}",
        "--dir-cache-time",
        "24h",
    ]
    command += ["--poll-interval", "0", "--no-checksum", "--auth-key", f"{KEY},{SECRET}", root]
    with _serving(command, port, folder / "rclone.log") as endpoint:
        yield endpoint


@contextmanager
def delayed(endpoint: str, seconds: float, folder: Path) -> Iterator[str]:
    """Put a server at a distance.

    Parameters
    ----------
    endpoint : str
    seconds : float
        Of a round trip.
    folder : Path

    Yields
    ------
    str
        The endpoint of the distant server.
    """
    port = _free_port()
    upstream = endpoint.rpartition(":")[2]
    command: list[str | Path] = [
        sys.executable,
        HERE / "delay_proxy.py",
        str(port),
        upstream,
        str(seconds),
    ]
    with _serving(command, port, folder / "delay.log") as url:
        yield url
