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
from typing import TYPE_CHECKING, NamedTuple

from stopping import tied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["KEY", "SECRET", "Link", "distant", "nginx", "rclone"]

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
  log_format sent '$uri $body_bytes_sent';
  log_format answered '$msec $status $uri';
  access_log {log};
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max={cached} inactive=1h;
  default_type application/octet-stream;
  map_hash_max_size 1048576;
  map_hash_bucket_size 256;
  map $uri $md5 {{ include {folder}/etags.map; }}
  map "$http_if_match:$md5" $differs {{ default 1; "~^:" 0; '~^"([0-9a-f-]+)":\\1$' 0; }}
{limits}
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
    location @slower {{
      return 503 '<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>';
    }}
    location / {{
      {limited}
      if ($differs) {{ return 412; }}
      more_clear_input_headers If-Match;
      more_set_headers 'ETag: "$md5"';
    }}
  }}
}}
"""

LIMITS = "  limit_req_zone $server_port zone=all:1m rate={rate}r/s;"
LIMITED = "limit_req zone=all burst={burst} nodelay; error_page 503 @slower;"
BURST = 0.2
"""Seconds' worth of requests that nobody made, and that are allowed later."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str | Path], port: int, log: Path) -> Iterator[str]:
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


def _log(folder: Path, log: bool, rate: int) -> str:
    if rate:
        return f"{folder}/answers.log answered"
    return f"{folder}/sent.log sent" if log else "off"


@contextmanager
def nginx(root: Path, folder: Path, *, log: bool = False, rate: int = 0) -> Iterator[str]:
    """Serve a bucket by nginx, and its listing by a responder of ours: the ceiling for clients.

    Parameters
    ----------
    root : Path
        Holds ``bucket/`` and ``objects.tsv``.
    folder : Path
        For configuration and logs.
    log : bool
        Whether to write what was sent of each object to ``sent.log``.
    rate : int
        Requests a second for objects above which the answer is 503 (SlowDown), which writes
        each answer's time and status to ``answers.log``; 0 is no limit.

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
    port, listing = free_port(), free_port()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            host=HOST,
            folder=folder,
            log=_log(folder, log, rate),
            limits=LIMITS.format(rate=rate) if rate else "",
            limited=LIMITED.format(burst=int(rate * BURST)) if rate else "",
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
        serving(responder, listing, folder / "listing.log"),
        serving(server, port, folder / "nginx-output.log") as endpoint,
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
    port = free_port()
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
    with serving(command, port, folder / "rclone.log") as endpoint:
        yield endpoint


class Link(NamedTuple):
    """A way to a distant server.

    Parameters
    ----------
    round_trip : int
        Milliseconds.
    each, whole : int
        Bytes a second that a connection, and all of them together, may bring; 0 is no limit.
    """

    round_trip: int
    each: int = 0
    whole: int = 0


@contextmanager
def distant(endpoint: str, link: Link, folder: Path) -> Iterator[str]:
    """Put a server behind a link.

    Parameters
    ----------
    endpoint : str
    link : Link
    folder : Path

    Yields
    ------
    str
        The endpoint of the distant server.
    """
    program = folder / "link"
    if not program.exists():
        compiler = shutil.which("cc") or sys.exit("no C compiler is there; install gcc")
        subprocess.run([compiler, "-O2", "-o", program, HERE / "link.c"], check=True)
    port = free_port()
    command: list[str | Path] = [program, str(port), endpoint.rpartition(":")[2]]
    command += map(str, link)
    with serving(command, port, folder / f"link-{port}.log") as url:
        yield url
