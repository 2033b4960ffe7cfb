"""Files that are no image, damaged or missing are reported by name, as bidsplan's errors."""

from __future__ import annotations

import gzip

import fsspec
import numpy as np
import pytest

from bidsplan.errors import (
    DeniedError,
    DestinationError,
    IntegrityError,
    SourceMissingError,
    StorageError,
    UnreachableError,
    UrlError,
    UsageError,
)
from bidsplan.s3bids.images import s3fs_json_read, s3fs_nifti_read, s3fs_nifti_write
from pictures import image, packed
from servers import Rule

pytestmark = pytest.mark.usefixtures("memory")


def header(**fields):
    """Make a NIfTI-1 header with any fields."""
    made = image((2, 2, 2))
    made.header["vox_offset"] = 352
    for name, value in fields.items():
        made.header[name] = value
    return made.header.binaryblock + bytes(4)


WRONG = {
    "empty": (b"", "no header of a single NIfTI file"),
    "text": (b"<html>" * 200, "no header of a single NIfTI file"),
    "of a pair": (header(magic=b"ni1"), "no header of a single NIfTI file"),
    "too short": (image().to_bytes()[:-1], "expected 1260 bytes of data by its header, got 1259"),
    "absurd": (
        header(dim=[7, *[32767] * 7]) + bytes(99),
        rf"expected {2 * 32767**7} bytes of data by its header, got 99",
    ),
    "absurd, packed": (
        gzip.compress(header(dim=[7, *[32767] * 7])),
        rf"expected {2 * 32767**7} bytes of data",
    ),
    "negative": (header(dim=[3, -5, 2, 2, 1, 1, 1, 1]) + bytes(99), "can't be right: dim"),
    "nowhere": (header(vox_offset=np.nan) + bytes(99), "can't be right"),
    "beyond": (header(vox_offset=1e30) + bytes(99), "expected 16 bytes of data"),
    "no such type": (header(datatype=12345) + bytes(99), "can't be right"),
    "cut while packed": (gzip.compress(image().to_bytes())[:60], "its gzip is damaged"),
    "an extension without end": (
        header(vox_offset=4000)[:-4] + b"\1\0\0\0" + bytes(9999),
        "asks for -8 bytes",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_image_is_told_by_name(memory, wrong):
    data, message = WRONG[wrong]
    memory.pipe("/x.nii", data)
    with pytest.raises(IntegrityError, match=rf"^memory:///x\.nii: .*{message}"):
        s3fs_nifti_read("memory://x.nii")


@pytest.mark.parametrize("keep", [0.5, -9, -8, -1])
def test_gzip_that_ends_early_is_told_when_the_data_is_read(memory, keep):
    data = packed(image((40, 40, 40)), "x.nii.gz")
    memory.pipe("/x.nii.gz", data[: int(keep * len(data)) if keep > 0 else keep])
    found = s3fs_nifti_read("memory://x.nii.gz")
    with pytest.raises(IntegrityError, match="its gzip is damaged or ends early"):
        found.get_fdata()


def test_a_wrong_checksum_is_told(memory):
    data = bytearray(packed(image((40, 40, 40)), "x.nii.gz"))
    data[-6] ^= 1
    memory.pipe("/x.nii.gz", bytes(data))
    with pytest.raises(IntegrityError, match="CRC"):
        s3fs_nifti_read("memory://x.nii.gz").get_fdata()


def test_a_packed_image_with_less_data_than_its_header_says_is_told(memory):
    memory.pipe("/x.nii.gz", gzip.compress(image().to_bytes()[:-1]))
    found = s3fs_nifti_read("memory://x.nii.gz")
    with pytest.raises(IntegrityError, match="expected 1260 bytes at 352, got 1259"):
        found.get_fdata()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("x.nii", UrlError, "names no file on S3; expected 's3://bucket/key'"),
        ("/tmp/x.nii", UrlError, "file:///folder/file"),
        ("s3://bucket", UrlError, "names no file on S3"),
        ("nosuch://x/y.nii", UsageError, "fsspec has no file system 'nosuch' here"),
        ("memory://no.nii", SourceMissingError, "memory:///no.nii: there is no such file"),
        ("file:///no/such.nii", SourceMissingError, "there is no such file"),
        ("file:///tmp", StorageError, "file:///tmp"),
    ],
)
def test_names_that_mean_nothing_are_told(name, error, message):
    for read in (s3fs_nifti_read, s3fs_json_read):
        with pytest.raises(error, match=message):
            read(name)


def test_errors_of_s3_are_ours(counted, bucket):
    with pytest.raises(SourceMissingError, match=rf"s3://{bucket.name}/no\.nii"):
        s3fs_nifti_read(f"{bucket.name}/no.nii")
    with pytest.raises(SourceMissingError):
        s3fs_json_read("no-such-bucket/no.json")
    with pytest.raises(DestinationError, match=r"s3://no-such-bucket/x\.nii: can't be written"):
        s3fs_nifti_write(image(), "no-such-bucket/x.nii")
    counted.rules[:] = [Rule("status", status=403, method=method) for method in ("PUT", "HEAD")]
    with pytest.raises(DeniedError):
        s3fs_nifti_write(image(), f"{bucket.name}/x.nii")
    with pytest.raises(DeniedError):
        s3fs_nifti_read(f"{bucket.name}/x.nii")


def test_an_endpoint_that_is_not_there_is_told(s3, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    proxy.stop()
    with pytest.raises(UnreachableError, match=r"check the endpoint"):
        s3fs_json_read("b/x.json")


def test_credentials_that_a_given_file_system_lacks_are_told(moto, bucket):
    fs = fsspec.filesystem("s3", endpoint_url=moto.url)
    with pytest.raises(DeniedError, match="there are no AWS credentials"):
        s3fs_json_read(f"{bucket.name}/x.json", fs)
