"""Data to transfer: studies of many small files, of few large ones, and of both."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["WORKLOADS", "Size", "make", "read_sizes", "write_manifest"]

KIB, MIB = 1 << 10, 1 << 20
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


WORKLOADS: dict[str, Callable[[], Iterator[tuple[str, int]]]] = {
    "w1": lambda: _small(200),
    "w1k": lambda: _small(10),
    "w2": _large,
    "w3": _mixed,
    "l1": _listed,
}


def make(root: Path) -> None:
    """Make the data below ``root/bucket``, and its list ``root/objects.tsv``.

    Parameters
    ----------
    root : Path
    """
    lines: list[str] = []
    for workload, files in WORKLOADS.items():
        draw = random.Random(workload)
        lines.append(_write(root, f"{workload}/dataset_description.json", DESCRIPTION))
        for key, size in files():
            if workload == "l1":
                lines.append(f"{workload}/{key}\t{size}\t{'0' * 32}")
            else:
                lines.append(_write(root, f"{workload}/{key}", draw.randbytes(size)))
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


def _write(root: Path, key: str, data: bytes) -> str:
    path = root / "bucket" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return f"{key}\t{len(data)}\t{etag}"


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
    make(Path(sys.argv[1]))
