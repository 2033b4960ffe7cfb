"""Make `manifests/demo`: a small, valid BIDS study that examples and tests fetch without a network.

It is built to show what a selection can get wrong. One subject's label begins another's (`1`, `10`,
`11`), and one pipeline's name begins another's (`afq`, `afq2`). The gradients stand only at the
dataset's root, and so does the sidecar of the `nback` task. A field map names the runs that it is
meant for, a derivative has session-less files as well as reports at its root, and `sourcedata`
holds a folder that looks like a subject's. As in most studies, something is missing: one subject's
second session has no diffusion images, and one pipeline lacks another subject.

Run ``python manifests/make_demo.py`` after a change, and commit what it writes: the study, and the
archive of it that `bidsplan demo` unpacks. The same files come out on every machine: an image's
voxels are a hash of its own path, so no random generator's version matters, and nothing holds a
date of today.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).resolve().parent / "demo"
ARCHIVE = HERE.parents[1] / "src" / "bidsplan" / "cli" / "demo_study.zip"

PARTICIPANTS = {"1": (8, "F", "control"), "2": (12, "M", "patient"), "10": (9, "F", "n/a")}
PARTICIPANTS["11"] = (11, "M", "patient")
SESSIONS = {"baseline": "1900-01-15", "followup": "1900-07-15"}  # shifted, as BIDS asks
TASKS = {"baseline": ("nback", "rest"), "followup": ("rest",)}
NOT_SCANNED = ("10", "followup")  # no diffusion images
NOT_PROCESSED = ("afq", "2")

DIRECTIONS = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0.6, 0, 0.8], [0, 0.6, 0.8]]
)
DIFFUSION = (6, 6, 4, len(DIRECTIONS))
B_VALUE = 1000
VOLUMES = 10
REPETITION_TIME = 2.0
ECHO_TIMES = (0.00492, 0.00738)
GENERATED_BY = {"Name": "make_demo", "Description": "Numbers made up for examples and tests"}

SCANNER = {
    "Manufacturer": "Siemens",
    "ManufacturersModelName": "Prisma",
    "MagneticFieldStrength": 3,
}
READOUT = {
    "PhaseEncodingDirection": "j-",
    "TotalReadoutTime": 0.03,
    "EffectiveEchoSpacing": 0.0005,
    "EchoTime": 0.03,
    "FlipAngle": 80,
    "SliceTiming": [0.0, 0.5, 1.0, 1.5],
}
BOLD = {"RepetitionTime": REPETITION_TIME, **READOUT, **SCANNER}

README = """\
# A study made up for examples

The four subjects of this study never were in a scanner: their images are a few voxels of noise,
made by `manifests/make_demo.py` of bidsplan. They are laid out as a real study's are, with two
sessions, diffusion, functional and field-map images, and two derivative pipelines.
"""

File = tuple[str, bytes]


def demo_files() -> dict[str, bytes]:
    """Make the study.

    Returns
    -------
    dict of str to bytes
        What each file holds, by its path below the study, sorted.
    """
    files = dict(_dataset_files())
    for label in PARTICIPANTS:
        files.update(_sessions_table(label))
        for session in SESSIONS:
            files.update(_session(label, session))
    for pipeline in ("afq", "afq2"):
        files.update(_pipeline(pipeline))
    files.update(_anatomical_derivatives())
    return dict(sorted(files.items()))


def write_demo(folder: Path) -> None:
    """Write the study below a folder.

    Parameters
    ----------
    folder : Path
        Made where it is missing. Files of the same names are overwritten, others are left alone.
    """
    for path, content in demo_files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _dataset_files() -> Iterator[File]:
    yield "README.md", README.encode()
    yield "CHANGES", b"1.0.0 2020-01-01\n - First made.\n"
    yield "LICENSE", b"CC0 1.0: https://creativecommons.org/publicdomain/zero/1.0/\n"
    yield _json("dataset_description.json", _description("bidsplan's demo study", "raw"))
    yield _participants()
    yield _json("participants.json", _columns())
    yield "sourcedata/sub-12/notes.txt", b"Left before the first scan.\n"
    yield from _gradients("")
    task = {"TaskName": "nback", "TaskDescription": "Press when a letter is that of two before"}
    yield _json("task-nback_bold.json", {**task, **BOLD})


def _description(name: str, kind: str) -> dict[str, object]:
    return {
        "Name": name,
        "BIDSVersion": "1.10.1",
        "DatasetType": kind,
        "License": "CC0",
        "Authors": ["The bidsplan developers"],
    }


def _columns() -> dict[str, object]:
    groups = {"control": "no diagnosis", "patient": "a diagnosis"}
    return {
        "age": {"Description": "Age at the first session", "Units": "year"},
        "sex": {"Description": "Sex as reported", "Levels": {"F": "female", "M": "male"}},
        "group": {"Description": "Made-up group", "Levels": groups},
    }


def _participants() -> File:
    rows = ((f"sub-{label}", *values) for label, values in PARTICIPANTS.items())
    return _table("participants.tsv", ("participant_id", "age", "sex", "group"), rows)


def _sessions_table(label: str) -> Iterator[File]:
    rows = ((f"ses-{session}", f"{day}T09:00:00") for session, day in SESSIONS.items())
    yield _table(f"sub-{label}/sub-{label}_sessions.tsv", ("session_id", "acq_time"), rows)


def _session(label: str, session: str) -> Iterator[File]:
    """Make one session: its images, each with its sidecar, and the table that lists them."""
    stem = f"sub-{label}_ses-{session}"
    files = {
        **dict(_anatomical(stem)),
        **dict(() if (label, session) == NOT_SCANNED else _diffusion(stem)),
        **dict(_functional(stem, TASKS[session])),
        **dict(_field_map(stem, session)),
    }
    images = [path for path in files if path.endswith(".nii.gz")]
    rows = ((path, f"{SESSIONS[session]}T09:0{n}:00") for n, path in enumerate(sorted(images)))
    files.update([_table(f"{stem}_scans.tsv", ("filename", "acq_time"), rows)])
    for path, content in files.items():
        yield f"sub-{label}/ses-{session}/{path}", content


def _anatomical(stem: str) -> Iterator[File]:
    yield _image(f"anat/{stem}_T1w.nii.gz", (8, 8, 8))
    sequence = {"RepetitionTime": 2.3, "EchoTime": 0.003, "FlipAngle": 8, **SCANNER}
    yield _json(f"anat/{stem}_T1w.json", sequence)


def _diffusion(stem: str) -> Iterator[File]:
    yield _image(f"dwi/{stem}_dwi.nii.gz", DIFFUSION)
    yield _json(f"dwi/{stem}_dwi.json", BOLD)


def _functional(stem: str, tasks: Iterable[str]) -> Iterator[File]:
    for task in tasks:
        yield _image(f"func/{stem}_task-{task}_bold.nii.gz", (6, 6, 4, VOLUMES))
        if task == "rest":
            resting = {"TaskName": "rest", "TaskDescription": "Rest, eyes open", **BOLD}
            yield _json(f"func/{stem}_task-rest_bold.json", resting)
        else:
            rows = ((onset, 1.0, "letter") for onset in (0.0, 4.0, 8.0, 12.0))
            columns = ("onset", "duration", "trial_type")
            yield _table(f"func/{stem}_task-{task}_events.tsv", columns, rows)


def _field_map(stem: str, session: str) -> Iterator[File]:
    label = stem.partition("_")[0]
    runs = [f"ses-{session}/func/{stem}_task-{task}_bold.nii.gz" for task in TASKS[session]]
    phase = {"EchoTime1": ECHO_TIMES[0], "EchoTime2": ECHO_TIMES[1], **SCANNER}
    phase["IntendedFor"] = [f"bids::{label}/{run}" for run in runs]
    yield _image(f"fmap/{stem}_phasediff.nii.gz", (5, 5, 4))
    yield _json(f"fmap/{stem}_phasediff.json", phase)
    for number, echo in enumerate(ECHO_TIMES, start=1):
        yield _image(f"fmap/{stem}_magnitude{number}.nii.gz", (5, 5, 4))
        yield _json(f"fmap/{stem}_magnitude{number}.json", {"EchoTime": echo, **SCANNER})


def _pipeline(name: str) -> Iterator[File]:
    """Make a derivative: tract profiles and the images that they were taken along."""
    root = f"derivatives/{name}"
    description = _description(f"Tract profiles ({name})", "derivative")
    yield _json(f"{root}/dataset_description.json", {**description, "GeneratedBy": [GENERATED_BY]})
    yield f"{root}/README.md", README.encode()
    yield f"{root}/.bidsignore", b"*_tractometry.csv\n*.html\n"
    yield _json(f"{root}/dwi.json", {"SkullStripped": False})
    yield from _gradients(f"{root}/")
    for label in PARTICIPANTS:
        if (name, label) == NOT_PROCESSED:
            continue
        yield f"{root}/sub-{label}.html", f"<title>{name}: sub-{label}</title>\n".encode()
        for session in SESSIONS:
            if (label, session) == NOT_SCANNED:
                continue
            stem = f"sub-{label}_ses-{session}"
            folder = f"{root}/sub-{label}/ses-{session}/dwi"
            yield _profiles(f"{folder}/{stem}_desc-profiles_tractometry.csv")
            yield _image(f"{folder}/{stem}_desc-preproc_dwi.nii.gz", DIFFUSION)


def _anatomical_derivatives() -> Iterator[File]:
    """Make masks that belong to a subject and to no session, as fMRIPrep writes them."""
    for label in PARTICIPANTS:
        if ("afq", label) == NOT_PROCESSED:
            continue
        stem = f"derivatives/afq/sub-{label}/anat/sub-{label}_desc-brain_mask"
        yield _image(f"{stem}.nii.gz", (8, 8, 8))
        yield _json(f"{stem}.json", {"Type": "Brain"})


def _profiles(path: str) -> File:
    rows = [(tract, node) for tract in ("ARC_L", "CST_L") for node in range(4)]
    values = _noise(path, len(rows))
    lines = [
        f"{tract},{node},{value / 255:.4f}\n"
        for (tract, node), value in zip(rows, values, strict=True)
    ]
    return path, "".join(["tractID,nodeID,dki_fa\n", *lines]).encode()


def _image(path: str, shape: tuple[int, ...]) -> File:
    voxels = _noise(path, int(np.prod(shape))).reshape(shape).astype(np.int16)
    image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        image.header.set_zooms((2.0, 2.0, 2.0, REPETITION_TIME))
    return path, gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)


def _noise(path: str, count: int) -> np.ndarray:
    """Give bytes that depend on nothing but the path."""
    return np.frombuffer(hashlib.shake_256(path.encode()).digest(count), dtype=np.uint8)


def _gradients(folder: str) -> Iterator[File]:
    """Make the gradient tables of all diffusion images below a folder."""
    b_values = np.where(DIRECTIONS.any(axis=1), B_VALUE, 0)
    for name, rows in (("dwi.bval", b_values[np.newaxis]), ("dwi.bvec", DIRECTIONS.T)):
        lines = (" ".join(f"{number:g}" for number in row) + "\n" for row in rows)
        yield folder + name, "".join(lines).encode()


def _json(path: str, content: dict[str, object]) -> File:
    return path, (json.dumps(content, indent=2) + "\n").encode()


def _table(path: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> File:
    lines = ("\t".join(map(str, row)) + "\n" for row in (columns, *rows))
    return path, "".join(lines).encode()


def write_archive(path: Path) -> None:
    """Write the study as the archive that `bidsplan demo` unpacks.

    Parameters
    ----------
    path : Path
        Overwritten.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in demo_files().items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    shutil.rmtree(HERE)
    write_demo(HERE)
    write_archive(ARCHIVE)
