"""What every store does, whatever the transport."""

from __future__ import annotations

import itertools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import pytest

from bidsplan.errors import DeniedError, SourceChangedError, SourceMissingError, StorageError
from bidsplan.storage import Access, Object, Transport, open_store
from servers import PAGE, Bucket

numbers = itertools.count()
FILES = {
    "README": b"hello",
    "sub-1/anat/sub-1_T1w.nii.gz": b"x" * 1000,
    "sub-1/empty": b"",
    "sub-10/anat/sub-10_T1w.nii.gz": b"y",
    "odd/with space+plus%25#hash?question&.txt": b"odd",
    "odd/caf\u00e9.txt": b"composed",
    "odd/cafe\u0301.txt": b"decomposed",
    "odd/[brackets]*{}~$'!().txt": b"glob",
}


def on_disk(tmp_path, request, files):
    root = tmp_path / "root"
    for key, data in files.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    return open_store(str(root), access=Access())


def in_memory(tmp_path, request, files):
    root = f"contract{next(numbers)}"
    fs = fsspec.filesystem("memory")
    for key, data in files.items():
        fs.pipe(f"/{root}/{key}", data)
    return open_store(f"memory://{root}", access=Access())


def on_moto(transport, tmp_path, request, files):
    bucket = request.getfixturevalue("bucket")
    bucket.fill({f"pre/fix/{key}": data for key, data in files.items()})
    access = Access(transport=transport, endpoint_url=bucket.endpoint)
    return open_store(f"s3://{bucket.name}/pre/fix/", access=access, anonymous=True)


def on_rclone(transport, tmp_path, request, files):
    server = request.getfixturevalue("rclone")
    name = f"contract{os.getpid()}-{next(numbers)}"
    Bucket(server.url, name).fill(files)
    access = Access(transport=transport, endpoint_url=server.url)
    return open_store(f"s3://{name}", access=access)


def over_http(tmp_path, request, files):
    on_disk(tmp_path, request, files)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "root"))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    request.addfinalizer(server.shutdown)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return open_store(url, access=Access(allow_protocols=frozenset({"http"})))


STORES = {
    "disk": on_disk,
    "web": over_http,
    "memory": in_memory,
    "moto by obstore": partial(on_moto, Transport.OBSTORE),
    "moto by s3fs": partial(on_moto, Transport.FSSPEC),
    "rclone by obstore": partial(on_rclone, Transport.OBSTORE),
    "rclone by s3fs": partial(on_rclone, Transport.FSSPEC),
}


@pytest.fixture(params=STORES.values(), ids=STORES)
def make(request, tmp_path):
    return lambda files: (
        request.param.func(*request.param.args, tmp_path, request, files)
        if (isinstance(request.param, partial))
        else request.param(tmp_path, request, files)
    )


@pytest.fixture
def store(make):
    with make(FILES) as opened:
        yield opened


def listed(objects):
    return {item.key: item.size for item in objects}


def test_everything_is_listed_under_its_exact_name(store):
    assert listed(store.list()) == {key: len(data) for key, data in FILES.items()}


def test_prefixes_are_whole_segments(store):
    assert set(listed(store.list("sub-1/"))) == {"sub-1/anat/sub-1_T1w.nii.gz", "sub-1/empty"}


def test_children_are_those_directly_below(store):
    top = store.children()
    assert listed(top.objects) == {"README": 5}
    assert top.directories == ("odd/", "sub-1/", "sub-10/")
    below = store.children("sub-1/")
    assert (listed(below.objects), below.directories) == ({"sub-1/empty": 0}, ("sub-1/anat/",))


def test_nothing_is_empty_and_no_error(store):
    assert store.children("nowhere/") == ((), ())
    assert list(store.list("nowhere/")) == []
    # A file's name is no directory.
    assert list(store.list("README/")) == []


@pytest.mark.parametrize("key", FILES)
def test_every_object_is_read_whole(store, key):
    assert store.read(key, limit=1 << 20) == FILES[key]


def test_objects_are_read_by_the_tag_that_a_listing_gives(store):
    for item in store.list():
        stream = store.stream(item.key, etag=item.etag)
        assert b"".join(stream) == FILES[item.key]
        assert stream.size in {None, item.size}
        stream.close()


def test_reading_may_start_later(store):
    if "127.0.0.1" in str(store.endpoint) and type(store).__name__ == "S3Store":
        assert store.endpoint
    try:
        stream = store.stream("sub-1/anat/sub-1_T1w.nii.gz", start=990)
        data = b"".join(stream)
    except StorageError:
        # A server may answer a range with the whole; that must never pass for the range.
        assert re.search("rclone|web", os.environ["PYTEST_CURRENT_TEST"])
        return
    assert data == b"x" * 10


def test_what_is_not_there_is_missing(store):
    with pytest.raises(SourceMissingError):
        store.read("sub-1/nothing", limit=10)


def test_reading_is_bounded(store):
    with pytest.raises(StorageError, match="more than 10 bytes"):
        store.read("sub-1/anat/sub-1_T1w.nii.gz", limit=10)


def test_a_wrong_tag_is_a_changed_source(store):
    if next(store.list()).etag is None:
        pytest.skip("this storage has no tags")
    if "rclone" in os.environ["PYTEST_CURRENT_TEST"]:
        pytest.skip("rclone's server ignores If-Match; the executor compares digests")
    with pytest.raises(SourceChangedError):
        store.read("README", limit=100, etag="0" * 32)


def test_stores_may_be_used_by_many_threads(store):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: listed(store.list("sub-1/")), range(16)))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("transport", [Transport.OBSTORE, Transport.FSSPEC])
def test_listings_go_on_over_pages(transport, tmp_path, request):
    files = {f"d/{number:04}": b"" for number in range(PAGE + 23)}
    store = on_moto(transport, tmp_path, request, files)
    assert set(listed(store.list())) == set(files)
    assert len(store.children("d/").objects) == PAGE + 23


ODD = {
    "a//b": b"1",
    "../up": b"2",
    "./dot": b"3",
    "/lead": b"4",
    "dir/": b"5",
    "control\x07.txt": b"6",
    "x/../y": b"7",
}


@pytest.mark.parametrize("transport", [Transport.OBSTORE, Transport.FSSPEC])
def test_keys_that_are_no_paths_are_listed_exactly(transport, tmp_path, request):
    store = on_moto(transport, tmp_path, request, ODD)
    assert listed(store.list()) == dict.fromkeys(ODD, 1)
    assert Object("dir/", 1, "e4da3b7fbbce2345d7772b0674a318d5") in set(store.list())


@pytest.mark.parametrize("key", ["a//b", "dir/", "control\x07.txt"])
def test_keys_that_are_no_paths_can_be_read(key, tmp_path, request):
    store = on_moto(Transport.OBSTORE, tmp_path, request, ODD)
    assert store.read(key, limit=10) == ODD[key]


def test_web_servers_are_listed_by_their_pages_and_read(tmp_path, request):
    files = {key: data for key, data in FILES.items() if not key.startswith("odd/")}
    store = over_http(tmp_path, request, files)
    assert listed(store.list()) == {key: len(data) for key, data in files.items()}
    assert store.read("README", limit=10) == b"hello"


def test_links_to_files_and_directories_are_followed(tmp_path):
    real = tmp_path / "real"
    (real / "anat").mkdir(parents=True)
    (real / "anat" / "x.nii").write_bytes(b"1234")
    root = tmp_path / "root"
    root.mkdir()
    (root / "sub-1").symlink_to(real)
    (root / "y.nii").symlink_to(real / "anat" / "x.nii")
    store = open_store(str(root), access=Access())
    assert listed(store.list()) == {"sub-1/anat/x.nii": 4, "y.nii": 4}
    assert store.children() == ((Object("y.nii", 4),), ("sub-1/",))


ANNEXED = "../.git/annex/objects/aa/bb/MD5E-s12345--{0}.nii.gz/MD5E-s12345--{0}.nii.gz"


@pytest.mark.parametrize(
    ("target", "size"), [("nowhere", 0), ("link", 0), (ANNEXED.format("0" * 32), 12345)]
)
def test_links_that_lead_nowhere_are_listed_and_can_not_be_read(tmp_path, target, size):
    (tmp_path / "root" / "sub-1").mkdir(parents=True)
    (tmp_path / "root" / "sub-1" / "link").symlink_to(target)
    (tmp_path / "root" / "sub-1" / "file").write_bytes(b"1")
    store = open_store(str(tmp_path / "root"), access=Access())
    assert listed(store.list()) == {"sub-1/link": size, "sub-1/file": 1}
    assert store.absent(["sub-1/file", "sub-1/link"]) == {"sub-1/link"}
    with pytest.raises(StorageError):
        store.read("sub-1/link", limit=10)


def test_a_link_that_leads_back_is_an_error(tmp_path):
    (tmp_path / "sub-1").mkdir()
    (tmp_path / "sub-1" / "link").symlink_to("..")
    with pytest.raises(StorageError, match="a link to a directory that contains it"):
        list(open_store(str(tmp_path), access=Access()).list())


def test_a_pointer_of_git_annex_is_no_content(tmp_path):
    pointer = "/annex/objects/MD5E-s12345--0123456789abcdef0123456789abcdef.nii.gz\n"
    (tmp_path / "a.nii.gz").write_text(pointer)
    store = open_store(str(tmp_path), access=Access())
    with pytest.raises(SourceMissingError, match="a git-annex pointer, whose content is not here"):
        store.read("a.nii.gz", limit=1000)
    # Without git there are none to look for.
    assert store.absent(["a.nii.gz"]) == set()
    (tmp_path / ".git").mkdir()
    assert open_store(str(tmp_path), access=Access()).absent(["a.nii.gz"]) == {"a.nii.gz"}


def test_what_is_neither_file_nor_directory_never_hangs(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="neither a file nor a directory"):
        open_store(str(tmp_path), access=Access()).children()


class Vanishing(fsspec.AbstractFileSystem):
    """Lists a directory that it then can't look into."""

    protocol = "vanishing"

    def ls(self, path, detail=True, **_):
        if path.endswith("/sub-1"):
            raise PermissionError(path)
        return [{"name": f"{path}/sub-1", "type": "directory", "size": 0}]


def test_what_fsspec_would_pass_over_is_an_error():
    fsspec.register_implementation("vanishing", Vanishing, clobber=True)
    store = open_store("vanishing://x/y", access=Access(allow_protocols=frozenset({"vanishing"})))
    assert store.children().directories == ("sub-1/",)
    with pytest.raises(DeniedError, match="access is denied"):
        list(store.list())


def test_a_store_with_ordered_listings_lists_from_behind_a_key(store):
    after = "sub-1/anat/sub-1_T1w.nii.gz"
    if not store.abilities.ordered_listings:
        with pytest.raises(StorageError, match="can't be listed from"):
            list(store.list_after("sub-1", after))
        return
    # A server may ignore the key, but never the order.
    keys = [item.key for item in store.list_after("sub-1", after)]
    assert keys == sorted(keys)
    assert keys[-2:] == ["sub-1/empty", "sub-10/anat/sub-10_T1w.nii.gz"]
