"""Images and JSON in storage: lazy reads, atomic writes."""

from __future__ import annotations

import gc
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
    UnreachableError,
    UsageError,
)
from bidsplan.s3bids.images import (
    read_json,
    s3fs_json_read,
    s3fs_json_write,
    s3fs_nifti_read,
    s3fs_nifti_write,
    write_json,
)
from pictures import AFFINE, KINDS, NAMES, RANDOM, data_of, image, packed
from servers import Rule
from sites import LONG_AGO, Site

pytestmark = pytest.mark.usefixtures("memory")


@pytest.fixture(params=["memory", "local", "s3", "given"])
def place(request, tmp_path):
    """A folder on each kind of file system, and the file system if it is passed."""
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
    """Make an image of 50 MB that hardly compresses, and its bytes."""
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
    assert counted.sent <= 64 << 10
    of_bucket, *of_image = counted.requests
    # Signed requests need the bucket's region, which is looked for once.
    assert of_bucket == ("HEAD", f"/{bucket.name}")
    assert [method for method, _ in of_image] == ["HEAD", "GET"]


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
    with pytest.raises(SourceChangedError, match="it was changed while it was read"):
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


class Broken:
    """Data that can't be read."""

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
    with pytest.raises(UsageError, match="can't be written as JSON"):
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["memory", "web"])
def test_ranges_of_a_file_that_is_replaced_are_never_mixed(tmp_path, kind, name):
    _, old = large(name)
    _, new = large(name)
    new = new[:-100] + b"x" * 100
    with Site() as site:
        url = {"memory": f"memory://folder/{name}", "web": f"{site.url}/{name}"}[kind]
        fs = fsspec.filesystem("memory")
        fs.pipe(f"/folder/{name}", old)
        site.fill({name: old}, modified=LONG_AGO)
        found = s3fs_nifti_read(url)
        fs.pipe(f"/folder/{name}", new)
        site.fill({name: new}, etag='"other"')
        with pytest.raises(SourceChangedError, match="it was changed while it was read"):
            np.asanyarray(found.dataobj)
