"""Run compile and fetch against a server whose answers are garbled, and report what is no answer.

python tests/support/garbling.py --answers 2000 --seed 0
"""

from __future__ import annotations

import argparse
import os
import shutil
import socketserver
import sys
import tempfile
import threading
from contextlib import chdir, contextmanager
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qs, quote, unquote, urlsplit

from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from fuzzing import CRASH, captured
from mutations import DESCRIPTION, Mutator
from plans import md5, plan_of, tree

FILES = {
    "dataset_description.json": DESCRIPTION,
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-1/anat/sub-1_T1w.nii.gz": b"image",
    "sub-1/empty.tsv": b"",
    "sub-2/anat/sub-2_T1w.nii.gz": b"other" * 50_000,
    "sub-2/anat/a?b%c.json": b"odd",
}
NUMBERS = ["abc", "-1", "9" * 40, "1e3", "0x10", "5, 5", "", "18446744073709551616", "1", "0"]
WORDS = ["", "abc", "\t", '"', '""', "%00", "\xe9", "x" * 9000, "W/", ";", "null", '"a"b"']
RANGES = ["bytes", "bytes x-y/z", "bytes 0-1/*", "bytes 9-3/5", "bytes */*", "lines 0-4/5"]
RANGES += ["bytes -1-4/5", f"bytes 0-{'9' * 30}/{'9' * 31}", "bytes 0-4/5", *WORDS]
DATES = ["Thu, 99 Foo 2026 99:99:99 GMT", "Thu, 01 Jan 1600 00:00:00 GMT", "0", *WORDS]
HEADERS = {
    "Content-Length": NUMBERS,
    "ETag": [*WORDS, 'W/"x"'],
    "Last-Modified": DATES,
    "Date": DATES,
    "Content-Range": RANGES,
    "Content-Encoding": ["gzip", "deflate", "zstd", "br, gzip", "nonsense", ""],
    "Content-Type": [*WORDS, "text/html; charset=nope", "application/xml; charset=utf-16"],
    "Transfer-Encoding": ["chunked", "gzip, chunked", "nonsense"],
    "Connection": ["close", "upgrade", *WORDS],
    "x-amz-version-id": WORDS,
    "x-amz-checksum-sha256": WORDS,
    "x-amz-checksum-crc32": ["AAAA", *WORDS],
    "x-amz-checksum-type": ["COMPOSITE", *WORDS],
    "x-amz-server-side-encryption": WORDS,
    "Accept-Ranges": ["none", "nonsense"],
    "Retry-After": ["0", "-5", "Thu, 99 Foo"],
    "Location": ["http://[", "nonsense", "//", "/"],
    "x-amz-bucket-region": WORDS,
    "a b": ["x"],
    "": ["x"],
}
STATUSES = [
    "100 Continue",
    "204 No Content",
    "206 Partial Content",
    "301 Moved",
    "304 Not Modified",
]
STATUSES += [
    "503 Slow Down",
    "400 Bad",
    "412 Failed",
    "416 Range",
    "418 Pot",
    "599 X",
    "600 X",
    "099 X",
    "abc",
    "",
]


def listing(query):
    """Give a page of a listing of all files, as S3 does."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    above, items = set(), ""
    for key, data in sorted(FILES.items()):
        if not key.startswith(prefix) or key <= query.get("start-after", ""):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end >= 0:
            above.add(key[: end + 1])
            continue
        items += f"<Contents><Key>{quote(key)}</Key><Size>{len(data)}</Size>"
        items += "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        items += f"<ETag>&quot;{md5(data)}&quot;</ETag></Contents>"
    items += "".join(
        f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in sorted(above)
    )
    return (
        '<?xml version="1.0"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix>{quote(prefix)}</Prefix><EncodingType>url</EncodingType>"
        f"<IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
    ).encode()


class Server(socketserver.ThreadingTCPServer):
    """Serves `FILES` over plain sockets, and garbles the answers that `garble` changes.

    Attributes
    ----------
    garble : callable
        Takes the method, the path, the status, the headers and the body; gives all bytes to send.
    """

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.garble = sent
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_):
        """Say nothing of clients that hang up."""


class _Handler(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self):
        while line := self.rfile.readline():
            headers = {}
            while (header := self.rfile.readline().strip()) and b":" in header:
                name, _, text = header.partition(b":")
                headers[name.strip().lower().decode()] = text.strip().decode()
            method, target, *_ = line.decode().split(" ")
            self.wfile.write(self.server.garble(method, target, *answer(target, headers)))
            if self.server.garble is not sent:
                # What was garbled may not have said where it ends.
                return


def answer(target, asked):
    """Answer a request as S3 does."""
    url = urlsplit(target)
    if "list-type" in url.query:
        query = {name: found[0] for name, found in parse_qs(url.query).items()}
        data = listing(query)
        return "200 OK", {"Content-Type": "application/xml", "Content-Length": str(len(data))}, data
    data = FILES.get(unquote(url.path).removeprefix("/bucket/"))
    if data is None:
        return "404 Not Found", {"Content-Length": "0"}, b""
    headers = {"ETag": f'"{md5(data)}"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    status = "200 OK"
    if "range" in asked:
        first, _, last = asked["range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        status, data = "206 Partial Content", data[start : end + 1]
    return status, headers | {"Content-Length": str(len(data))}, data


def sent(method, _, status, headers, body):
    """Give an answer's bytes."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {text}" for name, text in headers.items())]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if method == "HEAD" else head + body


class Garbler:
    """Chooses one kind of change for a run, and applies it to some answers.

    Parameters
    ----------
    mutator : Mutator
    """

    def __init__(self, mutator):
        self._mutator = mutator
        self._lock = threading.Lock()
        self.kind = mutator.choice(["header", "header", "header", "page", "status", "head", "cut"])
        self._name = mutator.choice(list(HEADERS))
        self._text = mutator.choice(HEADERS[self._name])
        self._status = mutator.choice(STATUSES)
        self._part = mutator.choice(["list-type", "list-type", "sub-", "", ""])
        self.what = f"{self.kind} {self._name}: {self._text[:40]!r} {self._status!r} {self._part!r}"

    def __call__(self, method, target, status, headers, body):
        with self._lock:
            if self._part not in target:
                return sent(method, target, status, headers, body)
            if self.kind == "header":
                headers = headers | {self._name: self._text}
            elif self.kind == "page" and "list-type" in target:
                body = self._mutator.bytes(body)
                headers = headers | {"Content-Length": str(len(body))}
            elif self.kind == "status":
                status = self._status
            whole = sent(method, target, status, headers, body)
            if self.kind == "head":
                head, _, body = whole.partition(b"\r\n\r\n")
                whole = self._mutator.bytes(head) + b"\r\n\r\n" + body
            return whole[: len(whole) // 2] if self.kind == "cut" else whole


@contextmanager
def served(folder):
    """Serve, with a manifest and a plan for it in a folder, in which commands run."""
    server = Server()
    (folder / "m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: 's3://bucket'}\n")
    entries = [
        Entry(
            path=key.replace("?", "-"), key=key, size=len(data), reason="selected", etag=md5(data)
        )
        for key, data in FILES.items()
    ]
    write_plan(plan_of(entries, "s3://bucket"), folder / "p.plan.jsonl")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    kept |= {"AWS_ENDPOINT_URL_S3": server.url, "NO_PROXY": "*"}
    try:
        with mock.patch.dict(os.environ, kept, clear=True), chdir(folder):
            yield server
    finally:
        server.shutdown()
        server.server_close()


def garbled(folder, *, answers, seed, transports=("obstore", "fsspec")):
    """Run so many commands, each with answers of its own; gives what was wrong."""
    mutator = Mutator(seed)
    defects = []
    with served(folder) as server:
        for number in range(answers):
            server.garble = garbler = Garbler(mutator)
            transport = mutator.choice(transports)
            command = mutator.choice(["compile", "fetch", "fetch"])
            rest = (
                ["m.yaml", "-o", "q.plan.jsonl"] if command == "compile" else ["p.plan.jsonl", "d"]
            )
            code, said = captured([command, *rest, "--transport", transport, "--timeout", "1"])
            if code not in {0, 1, 2} or CRASH.search(said):
                defects.append(f"{number}: {command} {transport} {garbler.what}\n{said[:600]}")
            wanted = {key.replace("?", "-"): data for key, data in FILES.items()}
            if not tree(folder / "d").items() <= wanted.items():
                defects.append(f"{number}: {command} {transport} {garbler.what}: wrong bytes")
            shutil.rmtree(folder / "d", ignore_errors=True)
    return defects


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transport", choices=("obstore", "fsspec"))
    arguments = parser.parse_args()
    transports = (arguments.transport,) if arguments.transport else ("obstore", "fsspec")
    with tempfile.TemporaryDirectory() as folder:
        found = garbled(
            Path(folder), answers=arguments.answers, seed=arguments.seed, transports=transports
        )
    sys.stdout.write("\n---\n".join([*found, f"{arguments.answers} runs, {len(found)} defects\n"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
