"""What every sink does, wherever it writes: a key has all of its bytes or what it had before."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
import xxhash

from bidsplan.errors import DestinationError, ExistingFileError, UnsupportedError, UsageError
from bidsplan.storage import Access, open_writable
from bidsplan.storage.fsspec_writable import FsspecWritable
from bidsplan.storage.s3.writable import PIECE
from servers import Bucket

numbers = itertools.count()
KEYS = [
    "README",
    "sub-1/anat/sub-1_T1w.nii.gz",
    "odd/with space+plus%25#hash?question&.txt",
    "odd/caf\u00e9.txt",
    "odd/[brackets]*{}~$'!().txt",
]


def files_below(root):
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


class Moto:
    def __init__(self, request):
        request.getfixturevalue("s3")
        self.bucket = request.getfixturevalue("bucket")
        self.sink = open_writable(
            f"s3://{self.bucket.name}/pre/fix", access=Access(), stop=threading.Event()
        )

    def files(self):
        assert self.bucket.uploads() == []
        return self.bucket.files("pre/fix/")


class Rclone:
    """Heeds no condition, and takes no part twice."""

    def __init__(self, request):
        request.getfixturevalue("s3")
        server, name = request.getfixturevalue("rclone"), f"sink{os.getpid()}-{next(numbers)}"
        Bucket(server.url, name)
        self._root = server.root / name
        access = Access(endpoint_url=server.url)
        self.sink = open_writable(f"s3://{name}", access=access, stop=threading.Event())

    def files(self):
        return files_below(self._root)


class Memory:
    def __init__(self, request):
        self._root = f"/sink{next(numbers)}"
        self.sink = open_writable(f"memory:/{self._root}", access=Access(), stop=threading.Event())

    def files(self):
        fs = fsspec.filesystem("memory")
        return {name[len(self._root) + 1 :]: fs.cat_file(name) for name in fs.find(self._root)}


class Local:
    """Renames instead of copying, as file systems on other hosts do."""

    def __init__(self, request):
        self._root = request.getfixturevalue("tmp_path") / "sink"
        self.sink = FsspecWritable("file", str(self._root), {})

    def files(self):
        return files_below(self._root)


@pytest.fixture(params=[Moto, Rclone, Memory, Local])
def place(request):
    place = request.param(request)
    yield place
    assert place.sink.close() == []


def write(place, key, data, *, replace=False):
    with place.sink.upload(key, len(data), replace=replace) as upload:
        for start in range(0, len(data), 1_000_000):
            upload.write(data[start : start + 1_000_000])
        return upload.commit(xxhash.xxh3_128_hexdigest(data))


@pytest.fixture(params=[10, PIECE, 2 * PIECE + 1])
def data(request):
    return (b"0123456789" * (request.param // 10 + 1))[: request.param]


def test_what_is_committed_is_there(place, data):
    found = write(place, "sub-1/x.nii", data)
    assert (found.key, found.size) == ("sub-1/x.nii", len(data))
    assert place.sink.state("sub-1/x.nii") == found
    assert list(place.sink.list_objects()) == [found]
    assert place.files() == {"sub-1/x.nii": data}


def test_what_is_not_committed_leaves_nothing(place, data):
    with place.sink.upload("x", len(data), replace=False) as upload:
        upload.write(data)
        assert place.sink.state("x") is None
    assert place.sink.state("x") is None
    assert place.files() == {}


def test_an_error_on_the_way_leaves_what_was_there(place, data):
    write(place, "x", b"before")

    def fail():
        with place.sink.upload("x", len(data), replace=True) as upload:
            upload.write(data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert place.files() == {"x": b"before"}


def test_what_was_written_can_be_forgotten(place, data):
    other = data[::-1]
    with place.sink.upload("x", len(data), replace=False) as upload:
        upload.write(data)
        upload.restart()
        upload.write(other)
        upload.commit(xxhash.xxh3_128_hexdigest(other))
    assert place.files() == {"x": other}


def test_nothing_is_written_over_unasked(place, data):
    place.sink.prepare()
    write(place, "x", b"before")
    with pytest.raises(ExistingFileError):
        write(place, "x", data)
    assert {key: text for key, text in place.files().items() if key == "x"} == {"x": b"before"}


def test_what_comes_to_stand_there_meanwhile_is_left(place, data):
    place.sink.prepare()
    with place.sink.upload("x", len(data), replace=False) as upload:
        upload.write(data)
        write(place, "x", b"other")
        with pytest.raises(ExistingFileError):
            upload.commit(xxhash.xxh3_128_hexdigest(data))
    assert place.files()["x"] == b"other"


def test_what_is_replaced_has_another_tag(place):
    first = write(place, "x", b"one")
    second = write(place, "x", b"two", replace=True)
    assert place.files() == {"x": b"two"}
    assert first.etag
    assert first.etag != second.etag == place.sink.state("x").etag


@pytest.mark.parametrize("size", [2, 4])
def test_another_number_of_bytes_is_never_committed(place, size):
    def write_three():
        with place.sink.upload("x", size, replace=False) as upload:
            upload.write(b"one")
            upload.commit(xxhash.xxh3_128_hexdigest(b"one"))

    with pytest.raises(DestinationError, match=f"{size} bytes were"):
        write_three()
    assert place.files() == {}


def test_keys_are_exact(place):
    for key in KEYS:
        write(place, key, key.encode())
    assert place.files() == {key: key.encode() for key in KEYS}
    assert [item.key for item in place.sink.list_objects()] == sorted(KEYS)


def test_a_sink_may_be_used_by_many_threads(place):
    names = [f"sub-{number}/x" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: write(place, name, name.encode()), names))
    assert place.files() == {name: name.encode() for name in names}


@pytest.mark.parametrize("place", [Local], indirect=True)
def test_a_directory_in_the_way_is_no_place_for_a_file(place):
    write(place, "x/y", b"y")
    with pytest.raises(ExistingFileError, match="something else exists there"):
        write(place, "x", b"x", replace=True)
    with pytest.raises(ExistingFileError, match="something else exists there"):
        write(place, "x/y/z", b"z")
    assert place.files() == {"x/y": b"y"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://user:secret@bucket/x", "the destination's URL is refused: it holds a user name"),
        ("ftp://host/x", "the destination's URL is refused: the protocol 'ftp' is not allowed"),
        ("s3:///x", "the destination's URL is refused: it names no bucket or host"),
        ("https://host/x", "web servers are not written to"),
        ("gs://bucket/x", "fsspec has no file system 'gs' here"),
    ],
)
def test_urls_are_refused_as_those_of_sources(url, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_writable(url, access=Access(), stop=threading.Event())
    assert "secret" not in str(caught.value)


def test_strangers_may_not_write_to_memory():
    with pytest.raises(UsageError, match="may not name memory"):
        open_writable("memory://x", access=Access(untrusted=True), stop=threading.Event())


class OneHost(fsspec.AbstractFileSystem):
    """A file system of one host, which can be read at most."""

    protocol = "onehost"

    def __init__(self, host, **more):
        super().__init__(**more)
        self.host = host

    @classmethod
    def _get_kwargs_from_urls(cls, path):
        return {"host": path.split("/")[2]}

    def _open(self, path, mode="rb", **more):
        raise NotImplementedError


def test_a_file_system_is_told_its_host_and_may_not_be_written():
    fsspec.register_implementation("onehost", OneHost, clobber=True)
    access = Access(allow_protocols=frozenset({"onehost"}))
    sink = open_writable("onehost://example/x", access=access, stop=threading.Event())
    assert sink.fs.host == "example"
    with pytest.raises(UnsupportedError, match="fsspec can't write there"):
        sink.upload("y", 1, replace=False)
