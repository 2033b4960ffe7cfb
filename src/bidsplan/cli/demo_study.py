"""Writes the demo study, which is part of the package."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from bidsplan.errors import DestinationError
from bidsplan.messages import listed
from bidsplan.paths import open_regular, printable, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = "study.yaml"
STUDY = "study"
"""The study's directory, which the manifest names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoFiles:
    """The demo's manifest, its size, and how many files were written."""

    manifest: Path
    files: int
    bytes: int
    written: int


def write_demo(folder: Path) -> DemoFiles:
    """Write the demo study and a manifest for it to a directory.

    Raises DestinationError, and writes nothing, if a different file already exists.
    """
    demo = _demo()
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    missing = _missing(demo, folder)
    with _writing(folder):
        for path in missing:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(folder / path) as file:
                file.write(demo[path])
    size = sum(map(len, demo.values()))
    return DemoFiles(manifest=folder / MANIFEST, files=len(demo), bytes=size, written=len(missing))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = printable(str(error.filename or folder))
        raise DestinationError(
            f"{place}: can't be written: {error.strerror}; choose another directory"
        ) from error


def _demo() -> dict[str, bytes]:
    """Read the contents of the demo's files, by their paths."""
    here = files("bidsplan.cli")
    with (here / "demo_study.zip").open("rb") as file, zipfile.ZipFile(file) as archive:
        study = {f"{STUDY}/{name}": archive.read(name) for name in archive.namelist()}
    return {MANIFEST: (here / "demo_manifest.yaml").read_bytes(), **study}


def _missing(demo: dict[str, bytes], folder: Path) -> list[str]:
    """List the missing demo files; refuse files that differ from the demo's."""
    missing, others = [], []
    for path, content in demo.items():
        try:
            with open_regular(folder / path) as file:
                same = file.read(len(content) + 1) == content
        except FileNotFoundError:
            missing.append(path)
        except OSError:  # a directory, or what may not be read
            others.append(path)
        else:
            others += [] if same else [path]
    if others:
        raise DestinationError(
            f"{printable(str(folder))}: there are other files than the demo's: {listed(others)}; "
            "nothing was written; remove them, or choose another directory"
        )
    return missing
