"""Images and JSON in storage: only what is used is transferred; what is written is whole."""

from __future__ import annotations

import gc
import gzip
import tempfile
import threading

import fsspec
import nibabel as nib
import numpy as np
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from bidsplan.errors import (
    DeniedError,
    DestinationError,
    IntegrityError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    UnreachableError,
    UrlError,
    UsageError,
)
from bidsplan.images import (
    read_json,
    s3fs_json_read,
    s3fs_json_write,
    s3fs_nifti_read,
    s3fs_nifti_write,
    write_json,
)
from servers import Rule

RANDOM = np.random.default_rng(0)
KINDS = [nib.Nifti1Image, nib.Nifti2Image]
NAMES = ["x.nii", "x.nii.gz"]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def image(shape=(5, 6, 7, 3), kind=nib.Nifti1Image, dtype="int16"):
    return kind(RANDOM.integers(-999, 999, shape).astype(dtype), AFFINE)


def data_of(img):
    return np.asanyarray(img.dataobj)


def packed(img, name="x.nii"):
    return gzip.compress(img.to_bytes(), 1) if name.endswith(".gz") else img.to_bytes()


@pytest.fixture(autouse=True)
def memory():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


@pytest.fixture
def s3(monkeypatch, moto):
    """Reach S3 as the environment says, as pyAFQ's callers do."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def counted(s3, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    return proxy


@pytest.fixture(params=["memory", "local", "s3", "given"])
def place(request, tmp_path):
    """Give a folder on each kind of file system, and the file system where one is given."""
    if request.param == "memory":
        return "memory://folder", None
    if request.param == "local":
        return f"file://{tmp_path}", None
    if request.param == "given":
        return "inner", DirFileSystem(path="/outer", fs=fsspec.filesystem("memory"))
    request.getfixturevalue("s3")
    return f"s3://{request.getfixturevalue('bucket').name}/folder", None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_again_on_any_file_system(place, kind, name):
    folder, fs = place
    written = image(kind=kind)
    s3fs_nifti_write(written, f"{folder}/{name}", fs)
    found = s3fs_nifti_read(f"{folder}/{name}", fs)
    assert type(found) is kind
    assert nib.is_proxy(found.dataobj)
    assert np.array_equal(found.affine, AFFINE)
    for _ in range(2):
        assert np.array_equal(data_of(found), data_of(written))
        assert np.array_equal(found.dataobj[..., 1], data_of(written)[..., 1])
        assert np.array_equal(found.dataobj[2, ::2, :, 0], data_of(written)[2, ::2, :, 0])
    assert found.get_fdata().dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_written_are_what_nibabel_reads(tmp_path, kind, name):
    written = image(kind=kind)
    written.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello"))
    s3fs_nifti_write(written, f"file://{tmp_path}/{name}")
    found = nib.load(tmp_path / name)
    assert np.array_equal(data_of(found), data_of(written))
    assert found.header.extensions == written.header.extensions
    again = s3fs_nifti_read(f"file://{tmp_path}/{name}")
    assert again.header.extensions == written.header.extensions
    assert again.header == found.header
    assert again.get_filename() == f"file://{tmp_path}/{name}"


def test_the_same_image_gives_the_same_bytes_and_stays_as_it_was(memory):
    written = image()
    written.set_filename("elsewhere.nii")
    for name in ("a.nii.gz", "b.nii.gz"):
        s3fs_nifti_write(written, f"memory://{name}")
    assert memory.cat("/a.nii.gz") == memory.cat("/b.nii.gz")
    assert written.get_filename() == "elsewhere.nii"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
def test_the_form_is_told_by_its_bytes_whatever_the_name(memory, kind, order):
    header = kind.header_class(endianness=order)
    written = kind(RANDOM.integers(0, 99, (3, 4, 5)).astype(f"{order}i2"), AFFINE, header)
    for name, swapped in (("plain.nii.gz", "x.nii"), ("zipped.nii", "x.nii.gz"), ("bare", "x.nii")):
        memory.pipe(f"/{name}", packed(written, swapped))
        assert np.array_equal(data_of(s3fs_nifti_read(f"memory://{name}")), data_of(written))


def test_a_name_may_leave_the_protocol_out(s3, bucket):
    written = image()
    for name in (f"{bucket.name}/a/x.nii", f"s3://{bucket.name}/a/x.nii"):
        s3fs_nifti_write(written, name)
        assert np.array_equal(data_of(s3fs_nifti_read(name)), data_of(written))


def test_an_s3_file_system_of_the_callers_own_is_used(moto, bucket):
    fs = fsspec.filesystem(
        "s3", endpoint_url=moto.url, key="a", secret="b", use_listings_cache=True
    )
    written = image()
    s3fs_nifti_write(written, f"s3://{bucket.name}/x.nii.gz", fs=fs)
    found = s3fs_nifti_read(f"{bucket.name}/x.nii.gz", fs=fs)
    assert np.array_equal(data_of(found), data_of(written))


def test_requests_are_signed_unless_asked_otherwise(counted, bucket, monkeypatch):
    bucket.put("x.json", b"{}")
    assert s3fs_json_read(f"{bucket.name}/x.json", anon=True) == {}
    assert counted.keys == set()
    assert s3fs_json_read(f"{bucket.name}/x.json") == {}
    assert counted.keys == {"test"}
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(DeniedError, match="anon=True"):
        s3fs_json_read(f"{bucket.name}/x.json")


def large(name):
    """Give an image of 50 MB, which hardly packs, and its bytes."""
    written = image((100, 100, 100, 25))
    return written, packed(written, name)


@pytest.mark.parametrize("name", NAMES)
def test_opening_transfers_only_the_header(counted, bucket, name):
    written, data = large(name)
    assert len(data) > 30 << 20
    bucket.put(name, data)
    found = s3fs_nifti_read(f"{bucket.name}/{name}")
    assert found.shape == written.shape
    assert np.array_equal(found.affine, AFFINE)
    # gzip reads 8 or 128 KiB at a time, by Python's version.
    assert counted.sent <= (128 << 10 if name.endswith(".gz") else 64 << 10)
    assert [method for method, _ in counted.requests] == ["HEAD", "GET"]


def test_a_slice_transfers_what_holds_it_and_no_more(counted, bucket):
    written, data = large("x.nii")
    bucket.put("x.nii", data)
    found = s3fs_nifti_read(f"{bucket.name}/x.nii")
    for volume in (3, 4, 20):
        counted.sent, counted.requests[:] = 0, []
        assert np.array_equal(found.dataobj[..., volume], data_of(written)[..., volume])
        assert counted.sent == 2_000_000
        assert len(counted.requests) == 1
    counted.sent, counted.requests[:] = 0, []
    assert np.array_equal(data_of(found), data_of(written))
    assert counted.sent <= len(data)
    assert len(counted.requests) == 2


def test_a_packed_image_comes_in_growing_pieces_and_once(counted, bucket):
    written, data = large("x.nii.gz")
    bucket.put("x.nii.gz", data)
    found = s3fs_nifti_read(f"{bucket.name}/x.nii.gz")
    assert np.array_equal(data_of(found), data_of(written))
    assert counted.sent == len(data)
    assert len(counted.requests) < 20


def test_a_damaged_answer_is_asked_for_again(counted, bucket):
    written = image((80, 80, 80))
    bucket.put("x.nii", written.to_bytes())
    found = s3fs_nifti_read(f"{bucket.name}/x.nii")
    for fault in ("cut", "short"):
        counted.rules[:] = [Rule(fault, times=1)]
        assert np.array_equal(data_of(found), data_of(written))
        assert counted.rules[0].times == 0
    counted.rules[:] = [Rule("short")]
    with pytest.raises(UnreachableError, match=r"s3://.*x\.nii: expected \d+ bytes at \d+, got"):
        data_of(found)
    counted.rules[:] = []
    assert np.array_equal(data_of(found), data_of(written))


def test_a_packed_image_can_be_read_on_after_a_fault(counted, bucket):
    written = image((80, 80, 80))
    bucket.put("x.nii.gz", packed(written, "x.nii.gz"))
    found = s3fs_nifti_read(f"{bucket.name}/x.nii.gz")
    counted.rules[:] = [Rule("status", status=403)]
    with pytest.raises(DeniedError):
        data_of(found)
    counted.rules[:] = []
    assert np.array_equal(data_of(found), data_of(written))


def test_data_is_of_the_object_that_the_header_is_of(s3, bucket):
    bucket.put("x.nii", image((50, 50, 50)).to_bytes())
    found = s3fs_nifti_read(f"{bucket.name}/x.nii")
    bucket.put("x.nii", image((50, 50, 50)).to_bytes())
    with pytest.raises(SourceChangedError, match="another object has taken its place"):
        found.get_fdata()


@pytest.mark.parametrize("name", NAMES)
def test_threads_may_read_one_image(memory, name):
    written = image((40, 40, 40, 8))
    memory.pipe(f"/{name}", packed(written, name))
    found, other = (s3fs_nifti_read(f"memory://{name}") for _ in range(2))
    right = []

    def read(img, volume):
        slices = (img.dataobj[..., volume] for _ in range(5))
        right.extend(np.array_equal(part, data_of(written)[..., volume]) for part in slices)

    readers = [threading.Thread(target=read, args=(i, v)) for i in (found, other) for v in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert right == [True] * 40


def header(**fields):
    """Give a NIfTI-1 header that says what it likes."""
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


class Broken:
    """Data that can be read half way."""

    shape, dtype, ndim = (10, 10, 10), np.dtype("int16"), 3
    is_proxy = True

    def __array__(self, dtype=None, copy=None):
        raise OSError("the disk it is on has gone")

    def __getitem__(self, _):
        raise OSError("the disk it is on has gone")


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_cannot_be_read_leaves_what_was_there(place, name):
    folder, fs = place
    written = image()
    s3fs_nifti_write(written, f"{folder}/{name}", fs)
    with pytest.raises(OSError, match="has gone"):
        s3fs_nifti_write(nib.Nifti1Image(Broken(), AFFINE), f"{folder}/{name}", fs)
    assert np.array_equal(data_of(s3fs_nifti_read(f"{folder}/{name}", fs)), data_of(written))


def test_an_upload_that_breaks_off_leaves_what_was_there(counted, bucket):
    written = image()
    s3fs_nifti_write(written, f"{bucket.name}/x.nii")
    counted.rules[:] = [Rule("status", match="partNumber=2", method="PUT", status=403)]
    with pytest.raises(DeniedError):
        s3fs_nifti_write(image((300, 300, 400)), f"{bucket.name}/x.nii")
    gc.collect()
    assert ("DELETE", "uploadId") in [
        (method, "uploadId" if "uploadId" in path else "") for method, path in counted.requests
    ]
    assert np.array_equal(data_of(s3fs_nifti_read(f"{bucket.name}/x.nii")), data_of(written))


def test_a_large_image_is_sent_in_parts(s3, bucket):
    written = image((300, 300, 400))
    s3fs_nifti_write(written, f"{bucket.name}/x.nii")
    found = s3fs_nifti_read(f"{bucket.name}/x.nii")
    assert np.array_equal(found.dataobj[..., 399], data_of(written)[..., 399])
    assert np.array_equal(found.dataobj[..., 0], data_of(written)[..., 0])


def test_a_full_or_missing_folder_leaves_nothing_behind(tmp_path, monkeypatch):
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spools))
    with pytest.raises(DestinationError, match=r"no/x\.nii: can't be written: No such file"):
        s3fs_nifti_write(image(), f"file://{tmp_path}/no/x.nii")
    (tmp_path / "x.nii").mkdir()
    with pytest.raises(DestinationError, match=r"x\.nii: can't be written: Is a directory"):
        s3fs_nifti_write(image(), f"file://{tmp_path}/x.nii")
    s3fs_nifti_write(image(), f"file://{tmp_path}/y.nii")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["spools", "x.nii", "y.nii"]


def test_other_kinds_and_names_are_refused():
    with pytest.raises(UsageError, match="expected a name that ends in"):
        s3fs_nifti_write(image(), "memory://x.mgz")
    with pytest.raises(UsageError, match=r"Nifti1Image\.from_image makes one"):
        s3fs_nifti_write(nib.MGHImage(np.zeros((2, 2, 2), "int16"), AFFINE), "memory://x.nii")


JSON = {"EchoTime": 0.03, "SliceTiming": [0, 1.5], "Name": "é", "x": None, "y": {"z": True}}


def test_json_is_read_as_it_was_written(place):
    folder, fs = place
    s3fs_json_write(JSON, f"{folder}/x.json", fs)
    assert s3fs_json_read(f"{folder}/x.json", fs) == JSON


def test_local_json_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "x.json", JSON)
    assert read_json(str(tmp_path / "x.json")) == JSON
    with pytest.raises(UsageError, match="is no JSON"):
        write_json(tmp_path / "x.json", {"x": object()})
    assert read_json(tmp_path / "x.json") == JSON
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    with pytest.raises(SourceMissingError):
        read_json(tmp_path / "no.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 200_000, b"\xff\xfe\xfd", b'{"a": 1} x'])
def test_what_is_no_json_is_told(memory, data):
    memory.pipe("/x.json", data)
    with pytest.raises(IntegrityError, match=r"^memory:///x\.json: not valid JSON"):
        s3fs_json_read("memory://x.json")


def test_json_with_a_byte_order_mark_is_read(memory):
    memory.pipe("/x.json", b'\xef\xbb\xbf{"a": 1}')
    assert s3fs_json_read("memory://x.json") == {"a": 1}
