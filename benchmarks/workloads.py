"""Data to transfer: studies of many small files, of few large ones, and of both."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["WORKLOADS", "Size", "make", "read_sizes", "write_manifest"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DESCRIPTION = b'{"Name": "benchmark", "BIDSVersion": "1.10.0"}\n'


class Size(NamedTuple):
    """How much there is.

    Parameters
    ----------
    files : int
    bytes : int
    """

    files: int
    bytes: int


def _small(subjects: int) -> Iterator[tuple[str, int]]:
    """Name a hundred files of 2 KiB for each subject."""
    for subject in range(1, subjects + 1):
        for run in range(1, 101):
            name = f"sub-{subject:04}"
            yield f"{name}/func/{name}_task-rest_run-{run:03}_events.tsv", 2 * KIB


def _large() -> Iterator[tuple[str, int]]:
    """Name 64 images of 16 MiB."""
    for subject in range(1, 17):
        for run in range(1, 5):
            name = f"sub-{subject:02}"
            yield f"{name}/func/{name}_task-rest_run-{run}_bold.nii.gz", 16 * MIB


def _mixed() -> Iterator[tuple[str, int]]:
    """Name forty subjects' files: ten sidecars and six images of 1 to 20 MiB each."""
    draw = random.Random("mixed")
    for subject in range(1, 41):
        name = f"sub-{subject:02}"
        for run in range(1, 7):
            stem = f"{name}/func/{name}_task-rest_run-{run}_bold"
            yield f"{stem}.nii.gz", draw.randint(MIB, 20 * MIB)
            yield f"{stem}.json", draw.randint(KIB // 2, 8 * KIB)
        for run in range(1, 5):
            stem = f"{name}/func/{name}_task-rest_run-{run}_events"
            yield f"{stem}.tsv", draw.randint(KIB // 2, 8 * KIB)


def _listed() -> Iterator[tuple[str, int]]:
    """Name 200,000 files of 2,000 subjects, to be listed only."""
    yield from _small(2000)


def _huge() -> Iterator[tuple[str, int]]:
    """Name one image of 2 GiB."""
    yield "sub-01/func/sub-01_task-rest_bold.nii.gz", 2 * GIB


WORKLOADS: dict[str, Callable[[], Iterator[tuple[str, int]]]] = {
    "w1": lambda: _small(200),
    "w1k": lambda: _small(10),
    "w2": _large,
    "w3": _mixed,
    "l1": _listed,
    "big": _huge,
    "big-multipart": _huge,
}

PART = 8 * MIB
"""The parts of ``big-multipart``, those of the AWS command line."""


def make(root: Path, workloads: Iterable[str]) -> None:
    """Make the data of workloads below ``root/bucket``, and its list ``root/objects.tsv``.

    Parameters
    ----------
    root : Path
    workloads : iterable of str
    """
    lines: list[str] = []
    for workload in workloads:
        files = WORKLOADS[workload]
        draw = random.Random(workload)
        lines.append(_write(root, f"{workload}/dataset_description.json", [DESCRIPTION]))
        for key, size in files():
            if workload == "l1":
                lines.append(f"{workload}/{key}\t{size}\t{'0' * 32}")
            else:
                pieces = (draw.randbytes(min(PART, size - at)) for at in range(0, size, PART))
                path, parts = f"{workload}/{key}", workload == "big-multipart"
                lines.append(_write(root, path, pieces, parts=parts))
    (root / "objects.tsv").write_text("\n".join([*sorted(lines), ""]), encoding="utf-8")


def read_sizes(root: Path) -> dict[str, Size]:
    """Tell how much there is of each workload.

    Parameters
    ----------
    root : Path

    Returns
    -------
    dict of str to Size
    """
    sizes: dict[str, Size] = {}
    with (root / "objects.tsv").open(encoding="utf-8") as file:
        for line in file:
            key, size, _ = line.split("\t")
            workload = key.partition("/")[0]
            files, total = sizes.get(workload, (0, 0))
            sizes[workload] = Size(files + 1, total + int(size))
    return sizes


def _write(root: Path, key: str, pieces: Iterable[bytes], *, parts: bool = False) -> str:
    """Write a file; its entity tag is S3's, of an upload in parts if so wished."""
    path = root / "bucket" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    whole, of_parts = hashlib.md5(), []  # noqa: S324 - as S3 does
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            whole.update(piece)
            of_parts.append(hashlib.md5(piece).digest())  # noqa: S324
        etag = whole.hexdigest()
        if parts:
            etag = f"{hashlib.md5(b''.join(of_parts)).hexdigest()}-{len(of_parts)}"  # noqa: S324
        return f"{key}\t{file.tell()}\t{etag}"


def write_manifest(folder: Path, workload: str, *, signed: bool) -> Path:
    """Write the manifest that takes all of a workload.

    Parameters
    ----------
    folder : Path
    workload : str
    signed : bool

    Returns
    -------
    Path
    """
    path = folder / f"{workload}-{'signed' if signed else 'unsigned'}.yaml"
    anonymous = str(not signed).lower()
    path.write_text(
        "manifest_version: 1\n"
        f"study: {{id: {workload}, url: 's3://bucket/{workload}', anonymous: {anonymous}}}\n",
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:])
