"""Bytes come from the planned object of a storage, and from no other."""

from __future__ import annotations

import hashlib
import importlib
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

import bidsplan
from bidsplan import Access
from bidsplan.errors import (
    DeniedError,
    IntegrityError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
)
from bidsplan.plan import Entry
from plans import md5, plan_of, plan_over
from scripted import Scripted, answer, range_of
from servers import Bucket, Rule

LARGE = random.Random(2).randbytes(3 << 20)
FILES = {"a.nii": LARGE, "b.json": b'{"a": 1}', "c.json": b"[2]"}


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries: how long is another matter than how often."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


@pytest.fixture
def fs(bucket, counted):
    bucket.fill(FILES)
    return bidsplan.filesystem(plan_over(f"s3://{bucket.name}", FILES))


def test_listing_requests_nothing(fs, counted):
    assert [path for path, _, files in fs.walk("") for _ in files] == [""] * 3
    assert fs.info("a.nii")["etag"] == md5(LARGE)
    assert fs.glob("*.json") == ["b.json", "c.json"]
    assert counted.requests == []


def test_a_start_is_one_request_of_a_block(fs, counted):
    with fs.open("a.nii") as file:
        assert counted.requests == []
        assert file.read(348) == LARGE[:348]
        assert file.read(1000) == LARGE[348:1348]
    assert counted.conditions == [("bytes=0-65535", f'"{md5(LARGE)}"')]
    assert counted.sent == 65536


def test_a_jump_requests_what_is_read(fs, counted):
    with fs.open("a.nii") as file:
        file.seek(1 << 20)
        assert file.read(1000) == LARGE[1 << 20 :][:1000]
    assert fs.cat_file("a.nii", -5) == LARGE[-5:]
    assert counted.sent == 1005


def test_a_file_read_to_its_end_takes_few_requests(fs, counted):
    with fs.open("a.nii") as file:
        assert b"".join(iter(lambda: file.read(8192), b"")) == LARGE
    assert len(counted.requests) <= 7
    assert counted.sent == len(LARGE)


def test_the_first_block_has_the_size_that_is_asked_for(fs, counted):
    with fs.open("a.nii", block_size=4096) as file:
        file.read(348)
    assert counted.sent == 4096


def test_small_files_are_one_request_each(fs, counted):
    assert fs.cat(["b.json", "c.json"]) == {"b.json": b'{"a": 1}', "c.json": b"[2]"}
    assert len(counted.requests) == 2


def test_another_object_under_the_key_is_an_error(fs, bucket, tmp_path):
    file = fs.open("a.nii")
    file.read(1)
    bucket.put("a.nii", LARGE[::-1])
    file.seek(2 << 20)
    reads = [
        lambda: file.read(1),
        lambda: fs.cat_file("a.nii", 0, 4),
        lambda: fs.cat_file("a.nii"),
        lambda: fs.open("a.nii").read(1),
        lambda: fs.get("a.nii", str(tmp_path / "got")),
    ]
    for read in reads:
        with pytest.raises(SourceChangedError, match=md5(LARGE[::-1])) as found:
            read()
        assert found.value.code == "source-changed"
    assert not (tmp_path / "got").exists()


def test_a_server_that_heeds_no_condition_is_not_believed(fs, bucket, counted):
    other = LARGE[::-1]
    bucket.put("a.nii", other)
    counted.rules = [Rule("unbind", "a.nii")]
    for span in ((0, 4), (5, 9), (None, None)):
        with pytest.raises(SourceChangedError):
            fs.cat_file("a.nii", *span)


def test_a_server_without_ranges_sends_the_file_once(fs, counted):
    counted.rules = [Rule("whole", "a.nii")]
    with fs.open("a.nii") as file:
        assert file.read(100) == LARGE[:100]
        asked = len(counted.requests)
        for at in (1 << 20, 2 << 20):
            file.seek(at)
            assert file.read(100) == LARGE[at : at + 100]
    assert len(counted.requests) == asked <= 3


def test_damage_on_the_way_is_noticed_and_read_again(fs, counted, tmp_path):
    counted.rules = [Rule("flip", ".json", times=1), Rule("flip", ".nii", times=1)]
    assert fs.cat_file("b.json") == FILES["b.json"]
    fs.get("a.nii", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == LARGE


def test_damage_of_a_whole_file_is_an_error(fs, counted, tmp_path):
    counted.rules = [Rule("flip", ".json")]
    with pytest.raises(IntegrityError, match=r"expected .*, got .*, twice"):
        fs.cat_file("b.json")
    with pytest.raises(IntegrityError):
        fs.open("b.json").read()
    with pytest.raises(IntegrityError):
        fs.get("b.json", str(tmp_path / "got"))
    assert list(tmp_path.iterdir()) == []


def test_an_encrypted_objects_tag_is_no_digest(fs, counted):
    said = {"x-amz-server-side-encryption": "aws:kms"}
    counted.rules = [Rule("flip", "b.json"), Rule("say", "b.json", method="HEAD", headers=said)]
    assert fs.cat_file("b.json") == b'{"a": 1|'


def test_what_breaks_off_is_read_again(fs, counted, tmp_path):
    counted.rules = [Rule("cut", "a.nii", times=2), Rule("status", "b.json", times=2)]
    assert fs.cat_file("a.nii", 5, 200_000) == LARGE[5:200_000]
    assert fs.cat_file("b.json") == b'{"a": 1}'
    counted.rules = [Rule("cut", "a.nii", times=1)]
    fs.get("a.nii", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == LARGE


@pytest.mark.parametrize(("status", "kind"), [(403, DeniedError), (404, SourceMissingError)])
def test_refusals_are_errors_of_files_too(fs, counted, status, kind):
    counted.rules = [Rule("status", "a.nii", status=status)]
    for span in ((0, 4), (None, None)):
        with pytest.raises(kind) as found:
            fs.cat_file("a.nii", *span)
        assert isinstance(found.value, PermissionError if status == 403 else FileNotFoundError)


def test_planned_versions_are_read_though_others_follow(bucket, s3):
    bucket.versioned()
    bucket.put("a.nii", LARGE)
    store = bidsplan.open_store(f"s3://{bucket.name}", access=Access())
    version = store.version_of("a.nii").version
    bucket.put("a.nii", b"other")
    plan = plan_over(f"s3://{bucket.name}", {"a.nii": LARGE}, version=version)
    fs = bidsplan.filesystem(plan)
    assert fs.cat_file("a.nii", 10, 20) == LARGE[10:20]
    assert fs.cat_file("a.nii") == LARGE


def test_another_s3_server_serves_ranges(rclone, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rclone.url)
    name = f"ranges-{random.Random().randrange(1 << 30)}"
    bucket = Bucket(rclone.url, name)
    bucket.fill(FILES)
    fs = bidsplan.filesystem(plan_over(f"s3://{name}", FILES))
    assert fs.cat_file("a.nii", 1 << 20, (1 << 20) + 7) == LARGE[1 << 20 :][:7]
    assert fs.cat_file("b.json") == FILES["b.json"]


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_threads_share_connections(bucket, counted, transport):
    bucket.fill(FILES)
    access = Access(transport=transport)
    fs = bidsplan.filesystem(plan_over(f"s3://{bucket.name}", FILES), access=access)

    def right(at):
        return fs.cat_file("a.nii", at, at + 100) == LARGE[at : at + 100]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(0, 40_000, 1000)))


class Site:
    """A web server's file of one letter, with the headers that are said."""

    def __init__(self, headers, size=1 << 20):
        self.headers, self.size, self.letter = headers, size, b"A"

    def __call__(self, method, _path, asked):
        start, stop = range_of(asked)
        stop = min(stop or self.size, self.size)
        if "range" not in asked:
            return answer(body=self.letter * self.size, **self.headers)
        span = f"bytes {start}-{stop - 1}/{self.size}"
        body = self.letter * (stop - start)
        return answer(206, body, Content_Range=span, **self.headers)


def web_file(url, size=1 << 20, **fields):
    made = Entry(path="a", key="a", size=size, reason="selected", **fields)
    access = Access(allow_protocols=frozenset({"http"}), timeout=5)
    return bidsplan.filesystem(plan_of([made], url), access=access).open("a")


def test_a_web_servers_file_with_a_tag_is_read_by_ranges():
    with Scripted(Site({"ETag": '"t"'})) as server, web_file(server.url, etag="t") as file:
        file.seek(1000)
        assert file.read(5) == b"A" * 5
        assert [asked["range"] for asked in server.gets()] == ["bytes=1000-1004"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"t"'}])
def test_a_web_servers_file_without_a_tag_is_read_whole_once(headers):
    site = Site(headers)
    with Scripted(site) as server, web_file(server.url) as file:
        assert file.read(5) == b"A" * 5
        site.letter = b"B"
        file.seek(500_000)
        assert file.read(5) == b"A" * 5
        assert ["range" in asked for asked in server.gets()] == [False]


def test_an_answer_that_names_no_object_is_no_range_of_the_planned_one():
    site = Site({})
    with Scripted(site) as server:
        digest = hashlib.sha256(b"A" * (1 << 20)).hexdigest()
        with web_file(server.url, etag="t", sha256=digest) as file:
            # The whole file is shown by its digest.
            assert file.read(5) == b"A" * 5
        site.letter = b"B"
        file = web_file(server.url, etag="t", sha256=digest)
        with pytest.raises(IntegrityError):
            file.read(5)


def test_another_size_is_an_error():
    with Scripted(Site({})) as server:
        file = web_file(server.url, size=5)
        with pytest.raises(SourceChangedError, match="5 are planned"):
            file.read(3)


def test_an_object_in_an_archive_is_named(fs, counted):
    counted.rules = [Rule("status", "a.nii", status=403, code="InvalidObjectState")]
    with pytest.raises(StorageError, match="archive"):
        fs.cat_file("a.nii", 0, 4)
