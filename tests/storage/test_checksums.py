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
            Checksum("sha256", "b"),
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
            True, Checksum("sha256", value)
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
    site.proxy.rules[1].headers["x-amz-checksum-crc32"] = wrong
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
