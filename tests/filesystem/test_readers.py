"""pybids, nibabel, pandas and universal_pathlib look into a plan before it is fetched."""

from __future__ import annotations

import gzip
import json
import warnings

import fsspec
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bids import BIDSLayout
from upath import UPath

import bidsplan
from bidsplan.plan.file import write_plan
from bidsplan.s3bids import s3fs_nifti_read
from plans import plan_over

BOLD = "sub-01/func/sub-01_task-rest_bold.nii"
PACKED = "sub-02/func/sub-02_task-rest_bold.nii.gz"
BLOCK = 65536


def described(name, **fields):
    return json.dumps({"Name": name, "BIDSVersion": "1.9.0", **fields}).encode()


@pytest.fixture(scope="module")
def scan():
    """Give an image of two megabytes that hardly compresses."""
    data = np.random.default_rng(0).integers(-30_000, 30_000, (32, 32, 16, 64)).astype("int16")
    return nib.Nifti1Image(data, np.eye(4))


@pytest.fixture
def files(scan):
    raw = scan.to_bytes()
    pipeline = {"GeneratedBy": [{"Name": "pipe"}], "DatasetType": "derivative"}
    return {
        "dataset_description.json": described("study"),
        "participants.tsv": b"participant_id\tage\nsub-01\t8\nsub-02\t9\n",
        "task-rest_bold.json": b'{"RepetitionTime": 2.0, "TaskName": "rest"}',
        BOLD: raw,
        PACKED: gzip.compress(raw, 1, mtime=0),
        "sub-02/func/sub-02_task-rest_bold.json": b'{"RepetitionTime": 3.0}',
        "derivatives/pipe/dataset_description.json": described("pipe", **pipeline),
        "derivatives/pipe/sub-01/func/sub-01_task-rest_desc-clean_bold.nii.gz": b"x" * 99,
    }


@pytest.fixture
def url(bucket, counted, files, tmp_path):
    """Give the URL of a planned study in a bucket."""
    bucket.fill(files)
    write_plan(plan_over(f"s3://{bucket.name}", files), tmp_path / "study.plan.jsonl")
    counted.requests.clear()
    counted.sent = 0
    return f"bidsplan://{tmp_path}/study.plan.jsonl"


@pytest.fixture
def fs(url):
    return bidsplan.filesystem(url.removeprefix("bidsplan://"))


def test_pybids_reads_only_sidecars(url, files, counted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layout = BIDSLayout(url, derivatives=True)
    assert layout.get_subjects(scope="raw") == ["01", "02"]
    bold = layout.get(suffix="bold", extension=["nii", "nii.gz"], scope="raw")
    assert [file.relpath for file in bold] == [BOLD, PACKED]
    assert [file.get_metadata()["RepetitionTime"] for file in bold] == [2.0, 3.0]
    assert bold[0].path == f"{url}/{BOLD}"
    clean = layout.get(desc="clean", scope="derivatives")
    assert [file.entities["subject"] for file in clean] == ["01"]
    table = layout.get(suffix="participants", extension="tsv")[0].get_df()
    assert list(table["age"]) == [8, 9]
    asked = {path.partition("?")[0].split("/", 2)[2] for _, path in counted.requests}
    assert {path for path in asked if not path.endswith((".json", ".tsv"))} == set()
    assert counted.sent < 2000


def test_pybids_opens_images_by_their_paths(url, scan, counted):
    found = BIDSLayout(url).get(subject="01", suffix="bold")[0]
    counted.sent = 0
    # Its own get_image() hands the path to nibabel, which opens local files only.
    opened = nib.Nifti1Image.from_stream(fsspec.open(found.path).open())
    assert opened.shape == scan.shape
    assert counted.sent == BLOCK


def test_nibabel_reads_a_header_and_slices(fs, scan, counted):
    opened = nib.Nifti1Image.from_stream(fs.open(BOLD))
    assert opened.header == scan.header
    assert counted.sent == BLOCK
    assert np.array_equal(opened.dataobj[..., 40], scan.dataobj[..., 40])
    volume = 32 * 32 * 16 * 2
    assert counted.sent == BLOCK + volume
    assert np.array_equal(opened.dataobj[:, :, 3, 50], scan.dataobj[:, :, 3, 50])
    assert counted.sent == BLOCK + volume + 32 * 32 * 2
    assert len(counted.requests) == 3
    assert np.array_equal(opened.get_fdata(), scan.get_fdata())


def test_nibabel_reads_the_header_of_a_packed_image(fs, scan, counted):
    opened = nib.Nifti1Image.from_stream(fs.open(PACKED, compression="gzip"))
    assert opened.shape == scan.shape
    assert counted.sent == BLOCK
    assert np.array_equal(opened.dataobj[..., 5], scan.dataobj[..., 5])
    assert counted.sent < fs.size(PACKED) / 2
    assert np.array_equal(opened.get_fdata(), scan.get_fdata())


@pytest.mark.parametrize("name", [BOLD, PACKED])
def test_bidsplans_own_reader_takes_either(fs, scan, counted, name):
    opened = s3fs_nifti_read(name, fs=fs)
    assert opened.shape == scan.shape
    assert counted.sent == BLOCK
    assert np.array_equal(opened.get_fdata(), scan.get_fdata())


def test_nibabel_load_takes_a_local_copy(url, scan):
    options = {"same_names": True}
    path = fsspec.open_local(f"simplecache::{url}/{PACKED}", simplecache=options)
    assert np.array_equal(nib.load(path).get_fdata(), scan.get_fdata())


def test_pandas_reads_tables(url):
    table = pd.read_csv(f"{url}/participants.tsv", sep="\t")
    assert list(table["participant_id"]) == ["sub-01", "sub-02"]


def test_dask_reads_in_its_threads(url, files):
    from dask.bytes import read_bytes

    _, blocks = read_bytes(f"{url}/**/*.json", blocksize=None, sample=False)
    names = sorted(name for name in files if "/" in name and name.endswith(".json"))
    read = sorted(bytes(block.compute(scheduler="threads")) for (block,) in blocks)
    assert {files[name] for name in names} <= set(read)


def test_upath_walks_and_joins(url, files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = UPath(url)
    assert sorted(path.name for path in root.iterdir()) == [
        *("dataset_description.json", "derivatives", "participants.tsv"),
        *("sub-01", "sub-02", "task-rest_bold.json"),
    ]
    path = root / "sub-01" / "func"
    assert path.is_dir()
    assert [found.name for found in path.glob("*.nii")] == ["sub-01_task-rest_bold.nii"]
    assert UPath(str(path / "x")).parent == path
    assert (root / "participants.tsv").read_bytes() == files["participants.tsv"]
    assert (root / BOLD).stat().st_size == len(files[BOLD])
    assert not (root / "nope").exists()
    by_option = UPath("bidsplan://sub-01", plan=url.removeprefix("bidsplan://"))
    assert [found.name for found in by_option.iterdir()] == ["func"]
