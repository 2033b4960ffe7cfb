"""The checksums that S3 keeps of whole objects: asked for where no tag tells, and compared."""

from __future__ import annotations

import base64
import hashlib
import importlib
import random
import zlib

import anycrc
import pytest

from bidsplan.events import Action, Finished
from bidsplan.plan import Entry
from bidsplan.plan.integrity import Checker, CheckMethod, Checksum, VerifyMode
from bidsplan.storage import Access, Transport, open_store
from bidsplan.storage.headers import about_of
from bidsplan.storage.objects import ObjectMetadata
from bidsplan.transfer.verification import verify
from plans import failures, fetch, finished, md5, plan_of, tree
from servers import Bucket, Rule

KEY = "sub-1/anat/sub-1_T1w.nii.gz"
# A decimal size, which is none of the usual ones.
PART = 5_500_000
BODY = random.Random(4).randbytes(2 * PART + 1000)
SMALL = BODY[:1000]
# Published check values of these algorithms, of the digits from one to nine.
KNOWN = {
    "crc64nvme": (0xAE8B14860A799888, 8),
    "crc32c": (0xE3069283, 4),
    "crc32": (0xCBF43926, 4),
}


def written(value):
    return base64.b64encode(value).decode()


def crc32(data):
    return written(zlib.crc32(data).to_bytes(4, "big"))


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    monkeypatch.setattr(importlib.import_module("bidsplan.storage.retry"), "_LONGEST_WAIT", 0.01)


@pytest.mark.parametrize("algorithm", [*KNOWN, "sha1", "sha256"])
def test_checksums_are_written_as_s3_does(algorithm):
    data = b"123456789"
    if algorithm in KNOWN:
        value = KNOWN[algorithm][0].to_bytes(KNOWN[algorithm][1], "big")
    else:
        value = hashlib.new(algorithm, data).digest()
    entry = Entry(path="x", key="x", size=len(data), reason="selected", etag="opaque")
    checker = Checker(entry, VerifyMode.FULL, Checksum(algorithm, written(value)))
    for piece in (data[:3], bytearray(data[3:5]), memoryview(data)[5:]):
        checker.update(piece)
    verdict = checker.verdict()
    assert (verdict.holds, verdict.proof) == (True, CheckMethod.CHECKSUM)
    assert verdict.expected == f"{algorithm} {written(value)}"


@pytest.mark.parametrize(
    ("headers", "checksum"),
    [
        ({"x-amz-checksum-crc64nvme": "abc="}, Checksum("crc64nvme", "abc=")),
        (
            {"x-amz-checksum-crc32": "a", "x-amz-checksum-sha256": "b", "etag": '"tag"'},
            Checksum("sha256", "b", whole=False),
        ),
        (
            {"x-amz-checksum-crc32": "a", "x-amz-checksum-type": "FULL_OBJECT"},
            Checksum("crc32", "a"),
        ),
        ({"x-amz-checksum-crc32c": "abc=-3"}, None),
        ({"x-amz-checksum-crc32c": "abc=", "x-amz-checksum-type": "COMPOSITE"}, None),
        ({"x-amz-checksum-md6": "abc="}, None),
        ({"x-amz-checksum-crc32": "abc=", "etag": '"another"'}, None),
    ],
)
def test_only_a_whole_objects_checksum_is_taken(headers, checksum):
    assert about_of({"etag": '"tag"', **headers}, "tag") == ObjectMetadata(True, checksum)


@pytest.mark.parametrize("transport", [Transport.OBSTORE, Transport.FSSPEC])
def test_a_storage_is_asked_for_what_it_keeps(bucket, transport):
    value = written(hashlib.sha256(SMALL).digest())
    kept = {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": value}
    bucket.put("x/kept", SMALL, kept)
    bucket.put("x/none", SMALL)
    access = Access(endpoint_url=bucket.endpoint, transport=transport)
    with open_store(f"s3://{bucket.name}/x", access=access) as store:
        assert store.about("kept", etag=md5(SMALL)) == ObjectMetadata(
            True, Checksum("sha256", value, whole=False)
        )
        assert store.about("kept", etag="0" * 32) == ObjectMetadata(True)
        assert store.about("none") == ObjectMetadata(True)


class Site:
    """An object in parts of a size that nobody guesses, behind a proxy."""

    def __init__(self, bucket, proxy, transport):
        self.proxy = proxy
        self._access = Access(endpoint_url=proxy.url, transport=transport, timeout=5)
        tag = bucket.put_in_parts(KEY, BODY, PART)
        bucket.put("small.json", SMALL)
        self._url = f"s3://{bucket.name}"
        self.entries = [
            Entry(path=KEY, key=KEY, size=len(BODY), reason="selected", etag=tag),
            Entry(
                path="small.json", key="small.json", size=1000, reason="selected", etag=md5(SMALL)
            ),
        ]

    @property
    def plan(self):
        return plan_of(self.entries, self._url)

    def fetch(self, folder, **options):
        return fetch(self.plan, folder, access=self._access, **options)

    def verify(self, folder):
        return verify(self.plan, folder, access=self._access)

    def say(self, headers, **more):
        """Have the storage tell more of its objects."""
        self.proxy.rules.append(Rule("say", method="HEAD", headers=headers, **more))

    def heads(self):
        return [path.rpartition("/")[2] for method, path in self.proxy.requests if method == "HEAD"]


@pytest.fixture(params=[Transport.OBSTORE, Transport.FSSPEC])
def site(bucket, proxy, request):
    return Site(bucket, proxy, request.param)


NAME = KEY.rpartition("/")[2]


def test_one_request_for_an_object_whose_tag_does_not_tell_and_none_for_others(site, tmp_path):
    site.say({"x-amz-checksum-crc32": crc32(BODY)}, match=KEY)
    events = site.fetch(tmp_path)
    assert finished(events) == {
        KEY: (Action.FETCH, CheckMethod.CHECKSUM),
        "small.json": (Action.FETCH, CheckMethod.ETAG_MD5),
    }
    assert site.heads() == [NAME]
    assert tree(tmp_path) == {KEY: BODY, "small.json": SMALL}
    # Known from its receipt now, by which it is verified as well.
    site.proxy.requests.clear()
    assert finished(site.fetch(tmp_path))[KEY] == (Action.KEEP, CheckMethod.CHECKSUM)
    assert site.proxy.requests == []
    assert [e.proof for e in site.verify(tmp_path)] == [CheckMethod.ETAG_MD5, CheckMethod.RECEIPT]


def test_bytes_are_found_damaged_by_the_checksum_alone(site, tmp_path):
    kept = written(anycrc.Model("CRC64-NVME").calc(BODY).to_bytes(8, "big"))
    site.say({"x-amz-checksum-crc64nvme": kept}, match=KEY)
    assert finished(site.fetch(tmp_path / "whole"))[KEY] == (Action.FETCH, CheckMethod.CHECKSUM)
    site.proxy.rules.append(Rule("flip", KEY))
    events = site.fetch(tmp_path / "d")
    assert list(finished(events)) == ["small.json"]
    error = failures(events)[KEY]
    assert error.code == "corrupt"
    assert f"by checksum, expected crc64nvme {kept}, got crc64nvme " in str(error)
    assert tree(tmp_path / "d") == {"small.json": SMALL}


def test_without_a_checksum_only_the_size_is_left(site, tmp_path):
    assert finished(site.fetch(tmp_path))[KEY] == (Action.FETCH, CheckMethod.SIZE)
    site.proxy.requests.clear()
    events = site.fetch(tmp_path / "quick", checking=VerifyMode.SIZE)
    assert finished(events)[KEY] == (Action.FETCH, CheckMethod.SIZE)
    assert site.heads() == []


def test_another_bucket_gets_what_the_checksum_proves(site, bucket, s3):
    target = Bucket(bucket.endpoint, f"{bucket.name}-target")
    site.say({"x-amz-checksum-crc32": crc32(BODY)}, match=f"{bucket.name}/{KEY}")
    events = site.fetch(f"s3://{target.name}/d")
    assert finished(events)[KEY] == (Action.FETCH, CheckMethod.CHECKSUM)
    assert target.files("d/") == {KEY: BODY, "small.json": SMALL}
    assert finished(site.fetch(f"s3://{target.name}/d"))[KEY] == (Action.KEEP, CheckMethod.CHECKSUM)


ENCRYPTED = {"x-amz-server-side-encryption": "aws:kms"}


def test_encrypted_objects_are_compared_by_their_checksum(site, tmp_path):
    # Their tags look like digests, and are none.
    tag = "0" * 32
    site.entries = [
        Entry(path="small.json", key="small.json", size=1000, reason="selected", etag=tag)
    ]
    site.proxy.rules.append(Rule("unbind", "small.json", headers={"ETag": f'"{tag}"'}))
    site.say({**ENCRYPTED, "ETag": f'"{tag}"', "x-amz-checksum-crc32": crc32(SMALL)})
    assert finished(site.fetch(tmp_path)) == {"small.json": (Action.FETCH, CheckMethod.CHECKSUM)}
    assert site.heads() == ["small.json"]
    assert [e.proof for e in site.verify(tmp_path)] == [CheckMethod.RECEIPT]
    (tmp_path / "small.json").write_bytes(bytes(1000))
    assert not any(isinstance(e, Finished) for e in site.verify(tmp_path))
    wrong = crc32(SMALL + b"x")
    said = {"x-amz-checksum-crc32": wrong, "x-amz-checksum-type": "FULL_OBJECT"}
    site.proxy.rules[1].headers.update(said)
    error = failures(site.fetch(tmp_path / "other"))["small.json"]
    assert f"expected crc32 {wrong}, got crc32 {crc32(SMALL)}" in str(error)


def test_a_small_object_of_no_comparable_tag_is_asked_about_before_it_is_read(site, tmp_path):
    site.entries = [
        Entry(path="small.json", key="small.json", size=1000, reason="selected", etag="made-up")
    ]
    site.proxy.rules.append(Rule("unbind", "small.json", headers={"ETag": '"made-up"'}))
    site.say({"ETag": '"made-up"', "x-amz-checksum-crc32": crc32(SMALL)})
    assert finished(site.fetch(tmp_path)) == {"small.json": (Action.FETCH, CheckMethod.CHECKSUM)}
    assert [method for method, _ in site.proxy.requests] == ["HEAD", "GET"]


class Untyped(Site):
    """An object whose tag looks like an MD5 and is none, of which the storage says nothing."""

    def __init__(self, bucket, proxy, transport):
        super().__init__(bucket, proxy, transport)
        tag = "0" * 32
        self.entries = [
            Entry(path="small.json", key="small.json", size=1000, reason="selected", etag=tag)
        ]
        # Not of the destination's object.
        source = f"{bucket.name}/small.json"
        proxy.rules.append(Rule("unbind", source, headers={"ETag": f'"{tag}"'}))
        self.say({"ETag": f'"{tag}"'}, match=source)


@pytest.fixture(params=[Transport.OBSTORE, Transport.FSSPEC])
def untyped(bucket, proxy, request):
    return Untyped(bucket, proxy, request.param)


@pytest.mark.parametrize("place", ["directory", "bucket"])
def test_a_tag_that_may_be_no_md5_never_makes_a_file_corrupt(untyped, bucket, s3, tmp_path, place):
    target = Bucket(bucket.endpoint, f"{bucket.name}-target")
    folder = tmp_path if place == "directory" else f"s3://{target.name}/d"
    error = failures(untyped.fetch(folder))["small.json"]
    assert error.code == "unproved"
    said = f"by etag-md5, expected {'0' * 32}, got {md5(SMALL)}, twice; either the entity tag"
    assert said in str(error)
    assert "'--verify size' accepts the file by its size" in str(error)
    assert not tree(tmp_path)
    events = untyped.fetch(folder, checking=VerifyMode.SIZE)
    assert finished(events) == {"small.json": (Action.FETCH, CheckMethod.SIZE)}
    # What is there is kept, by each way to check, and verified as what it was shown by.
    for mode in VerifyMode:
        events = untyped.fetch(folder, checking=mode)
        assert finished(events) == {"small.json": (Action.KEEP, CheckMethod.SIZE)}
    assert [event.proof for event in untyped.verify(folder)] == [CheckMethod.SIZE]
    # Wherever the endpoint was: no other receipt names this tag.
    assert [event.proof for event in verify(untyped.plan, folder)] == [CheckMethod.SIZE]


def test_a_change_behind_a_tag_that_may_be_no_md5_is_found_by_the_receipt(untyped, tmp_path):
    untyped.fetch(tmp_path, checking=VerifyMode.SIZE)
    (tmp_path / "small.json").write_bytes(bytes(1000))
    [event] = untyped.verify(tmp_path)
    assert (event.error.code, "by receipt, expected" in str(event.error)) == ("corrupt", True)
    [name] = (tmp_path / ".bidsplan/receipts").iterdir()
    name.unlink()
    [event] = untyped.verify(tmp_path)
    assert (event.error.code, "no receipt of it" in str(event.error)) == ("unproved", True)


def test_without_receipts_a_file_is_compared_with_its_source_by_size_only(untyped, tmp_path):
    (tmp_path / "small.json").write_bytes(SMALL)
    events = untyped.fetch(tmp_path, checking=VerifyMode.SIZE)
    assert finished(events) == {"small.json": (Action.KEEP, CheckMethod.SIZE)}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/small.json").write_bytes(bytes(1000))
    error = failures(untyped.fetch(tmp_path / "other", checking=VerifyMode.SIZE))["small.json"]
    assert error.code == "existing"


def test_a_checksum_shows_what_a_tag_does_not(untyped, tmp_path):
    untyped.proxy.rules[1].headers["x-amz-checksum-crc32"] = crc32(SMALL)
    events = untyped.fetch(tmp_path)
    assert finished(events) == {"small.json": (Action.FETCH, CheckMethod.CHECKSUM)}
    assert [event.proof for event in untyped.verify(tmp_path)] == [CheckMethod.RECEIPT]


def test_a_checksum_that_may_be_of_parts_proves_nothing_where_it_differs(site, tmp_path):
    site.say({"x-amz-checksum-crc32": crc32(b"of its parts")}, match=KEY)
    assert finished(site.fetch(tmp_path))[KEY] == (Action.FETCH, CheckMethod.SIZE)
    assert [e.proof for e in site.verify(tmp_path)] == [CheckMethod.ETAG_MD5, CheckMethod.RECEIPT]
    site.proxy.rules[0].headers["x-amz-checksum-type"] = "FULL_OBJECT"
    assert failures(site.fetch(tmp_path / "told"))[KEY].code == "corrupt"


def test_parts_of_a_usual_size_show_what_an_untyped_checksum_does_not(bucket, proxy, tmp_path):
    site = Site(bucket, proxy, Transport.OBSTORE)
    tag = bucket.put_in_parts(KEY, BODY, 5 << 20)
    site.entries = [Entry(path=KEY, key=KEY, size=len(BODY), reason="selected", etag=tag)]
    site.say({"x-amz-checksum-crc32": crc32(b"of its parts")}, match=KEY)
    assert finished(site.fetch(tmp_path)) == {KEY: (Action.FETCH, CheckMethod.MULTIPART)}
