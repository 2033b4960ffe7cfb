"""Time compiling large studies, to see whether time and memory grow with them.

A process makes the listing of a study on the fly, as S3 sends it: 26 keys a subject, in two
sessions. Another is the command itself, with a manifest that selects every subject, filters files
and follows companions; what it took is what the operating system says of it::

    python benchmarks/compile_scale.py
    python benchmarks/compile_scale.py --keys 250000 1000000 3000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload
from urllib.parse import quote

import uvloop
from list_responder import Index, Responder

from servers import free_port, serving

if TYPE_CHECKING:
    from resource import struct_rusage

ROOT = "study/"
SIDECAR = b'{"TaskName": "rest", "IntendedFor": []}'
AT_ROOT = {
    "dataset_description.json": b'{"Name": "large", "BIDSVersion": "1.10.0"}',
    "dwi.bval": b"0\n",
    "dwi.bvec": b"0\n0\n0\n",
    "participants.tsv": b"participant_id\n",
    "task-rest_bold.json": SIDECAR,
}
BEFORE = sorted(name for name in AT_ROOT if name < "sub-")
BEHIND = sorted(name for name in AT_ROOT if name > "sub-")
SCANS = (
    ("anat", "T1w", (".nii.gz", ".json")),
    ("anat", "T2w", (".nii.gz", ".json")),
    ("dwi", "dwi", (".nii.gz", ".json")),
    ("func", "task-rest_run-1_bold", (".nii.gz", ".json")),
    ("func", "task-rest_run-1_events", (".tsv",)),
    ("func", "task-rest_run-2_bold", (".nii.gz", ".json")),
    ("func", "task-rest_run-2_events", (".tsv",)),
)
OF_SUBJECT = sorted(
    f"ses-{session}/{rest}"
    for session in "ab"
    for rest in (
        f"{{0}}_ses-{session}_scans.tsv",
        *(
            f"{datatype}/{{0}}_ses-{session}_{name}{extension}"
            for datatype, name, extensions in SCANS
            for extension in extensions
        ),
    )
)
MANIFEST = {
    "manifest_version": 1,
    "study": {"id": "large", "url": "s3://bucket/study"},
    "files": [{"suffixes": ["bold"]}, {"datatypes": ["dwi", "anat"]}],
}


class Keys(Sequence[str]):
    """The study's keys in order; each is made when it is asked for.

    Parameters
    ----------
    subjects : int
    """

    def __init__(self, subjects: int) -> None:
        self.subjects = subjects
        self._number = len(AT_ROOT) + subjects * len(OF_SUBJECT)

    def __len__(self) -> int:
        return self._number

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if index < len(BEFORE):
            return ROOT + BEFORE[index]
        subject, place = divmod(index - len(BEFORE), len(OF_SUBJECT))
        if subject >= self.subjects:
            return ROOT + BEHIND[index - len(BEFORE) - self.subjects * len(OF_SUBJECT)]
        name = f"sub-S{subject:06}"
        return f"{ROOT}{name}/{OF_SUBJECT[place].format(name)}"


class Pieces(Sequence[str]):
    """The piece of XML of each key.

    Parameters
    ----------
    keys : Keys
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        key = self._keys[index]
        small = AT_ROOT.get(key.removeprefix(ROOT))
        return (
            f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z"
            f"</LastModified><ETag>&quot;{index:032x}&quot;</ETag>"
            f"<Size>{1000 if small is None else len(small)}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )


class Study(Index):
    """A study without an end to speak of, of which nothing is kept.

    Parameters
    ----------
    subjects : int
    """

    def __init__(self, subjects: int) -> None:
        self.keys = Keys(subjects)
        self._pieces = Pieces(self.keys)


class Server(Responder):
    """Answers for the listing, and for the few objects that compiling reads."""

    def answer(self, path: str, query: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        """See `Responder.answer`."""
        if query:
            return super().answer(path, query)
        name = path.removeprefix(f"/bucket/{ROOT}")
        tag = self.index.keys.index(f"{ROOT}{name}")
        dated = {"ETag": f'"{tag:032x}"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        return AT_ROOT[name], dated


async def serve(port: int, subjects: int) -> None:
    """Serve until stopped."""
    study = Study(subjects)
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(study), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, struct_rusage]:
    """Run a command; return its seconds, and what the operating system says of it."""
    start = time.perf_counter()
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    if status:
        sys.exit(f"{command[3]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, used


def measure(keys: int) -> tuple[int, float]:
    """Compile a study of about so many keys once, and print and return what it took."""
    subjects, port = keys // len(OF_SUBJECT), free_port()
    keys = len(Keys(subjects))
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        manifest = folder / "large.yaml"
        manifest.write_text(json.dumps(MANIFEST), encoding="utf-8")
        server = [sys.executable, __file__, "--serve", str(port), str(subjects)]
        with serving(server, port, folder / "server.log") as endpoint:
            command = [sys.executable, "-m", "bidsplan", "compile", "-q", str(manifest)]
            seconds, used = timed(command, os.environ | {"AWS_ENDPOINT_URL_S3": endpoint})
        size = manifest.with_suffix(".plan.jsonl").stat().st_size
    computed = used.ru_utime + used.ru_stime
    print(
        f"{keys:>9,} keys  {seconds:5.1f} s  {computed:5.1f} s computed  "
        f"{used.ru_maxrss / 1024:4.0f} MB  {keys / seconds:7,.0f} keys/s  "
        f"plan {size / 1e6:5.0f} MB",
        flush=True,
    )
    return keys, seconds


def main() -> int:
    """Measure each size, and how time grows from the smallest to the largest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, nargs="+", default=[250_000, 1_000_000, 3_000_000])
    parser.add_argument("--serve", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(*arguments.serve))
        return 0
    found = [measure(keys) for keys in arguments.keys]
    (few, short), (many, long) = min(found), max(found)
    print(f"{many / few:.2f} times the keys took {long / short:.2f} times the time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
