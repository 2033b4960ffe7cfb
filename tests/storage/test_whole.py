"""Small objects are read whole on an event loop: by a range where the caller has a digest."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from contextlib import closing, contextmanager

import obstore
import pytest

from bidsplan.errors import StorageError
from bidsplan.storage import Access, Transport, open_store
from bidsplan.storage.objects import FetchRequest
from bidsplan.storage.obstore_reads import NoRangesError, storage_error
from servers import Bucket, Proxy, Rule

FILES = {
    "sub-1/anat/sub-1_T1w.nii.gz": b"x" * 1000,
    "sub-1/empty": b"",
    "odd/with space+plus%25#hash?question&.txt": b"odd",
    "odd/caf\u00e9.txt": b"composed",
    "odd/[brackets]*{}~$'!().txt": b"glob",
}
numbers = itertools.count()
KEY = "sub-1/anat/sub-1_T1w.nii.gz"
TAG = hashlib.md5(FILES[KEY]).hexdigest()


def read(store, key=KEY, size=1000, **more):
    async def ask():
        return await store.whole(FetchRequest(key, size, **more))

    whole = asyncio.run(ask())
    return bytes(whole.data), whole.etag


@contextmanager
def opened(url, name):
    access = Access(transport=Transport.OBSTORE, endpoint_url=url)
    with open_store(f"s3://{name}/pre", access=access, anonymous=True) as store:
        yield store


@pytest.fixture
def site(bucket, proxy):
    bucket.fill({f"pre/{key}": data for key, data in FILES.items()})
    return bucket


@pytest.fixture
def store(site, proxy):
    with opened(proxy.url, site.name) as store:
        yield store


@pytest.fixture
def deaf(rclone):
    """A server that answers a request for a range with the whole object."""
    bucket = Bucket(rclone.url, f"whole{os.getpid()}-{next(numbers)}")
    bucket.fill({f"pre/{key}": data for key, data in FILES.items()})
    proxy = Proxy(rclone.url)
    with opened(proxy.url, bucket.name) as store:
        yield store, proxy
    proxy.stop()


@pytest.mark.parametrize("digested", [True, False])
@pytest.mark.parametrize("key", FILES)
def test_every_object_comes_whole(store, deaf, key, digested):
    data = FILES[key]
    assert read(store, key, len(data), digested=digested)[0] == data
    if digested or not data:
        assert read(deaf[0], key, len(data), digested=digested)[0] == data
    else:
        # Nothing shows there which bytes came; those who stream it look.
        with pytest.raises(NoRangesError):
            read(deaf[0], key, len(data))


@pytest.mark.parametrize("key", FILES)
def test_every_object_can_be_streamed(store, deaf, key):
    for each in (store, deaf[0]):
        with closing(each.stream(key)) as stream:
            assert b"".join(map(bytes, stream)) == FILES[key]


def test_with_a_digest_a_range_is_asked_for_and_without_one_the_tag(store, proxy):
    assert read(store, etag=TAG, digested=True) == (FILES[KEY], None)
    assert proxy.conditions[-1] == ("bytes=0-999", None)
    assert read(store, etag=TAG) == (FILES[KEY], TAG)
    assert proxy.conditions[-1] == ("bytes=0-999", f'"{TAG}"')


def test_a_version_is_asked_for_by_its_name(site, store, proxy):
    site.versioned()
    version = site.put(f"pre/{KEY}", b"y" * 1000)["x-amz-version-id"]
    site.put(f"pre/{KEY}", b"z" * 1000)
    assert read(store, version=version, digested=True)[0] == b"y" * 1000
    assert proxy.requests[-1] == ("GET", f"/{site.name}/pre/{KEY}?versionId={version}")
    assert proxy.conditions[-1][0] is None


def test_a_server_that_ignores_ranges_is_asked_for_one_once(deaf):
    store, proxy = deaf
    for _ in range(3):
        assert read(store, digested=True)[0] == FILES[KEY]
    asked = [wanted for wanted, _ in proxy.conditions]
    assert asked == ["bytes=0-999", None, None, None]


@pytest.mark.parametrize("size", [999, 1001])
def test_an_object_of_another_size_is_no_answer(store, deaf, size):
    with pytest.raises(StorageError, match="another size"):
        read(store, size=size)
    with pytest.raises(StorageError, match="another size"):
        read(deaf[0], size=size, digested=True)


@pytest.mark.parametrize("digested", [True, False])
def test_what_is_refused_is_told_as_that(store, proxy, digested):
    with pytest.raises(StorageError, match="no such object"):
        read(store, "sub-2/none", digested=digested)
    proxy.rules.append(Rule("status", status=403, code="AccessDenied", times=1))
    with pytest.raises(StorageError, match="AccessDenied"):
        read(store, digested=digested)
    # Neither has anything to do with ranges.
    read(store, digested=True)
    assert proxy.conditions[-1] == ("bytes=0-999", None)


def test_a_panic_of_obstore_is_an_error_of_the_storage(store):
    inner = store._reader
    with pytest.raises(BaseException, match="request must be valid") as caught:
        obstore.get(inner, f"pre/{KEY}", options={"if_match": "a\nb"})
    assert not isinstance(caught.value, Exception)
    found = storage_error(caught.value, "s3://bucket/key")
    assert type(found) is StorageError
    assert "s3://bucket/key: obstore can't request it" in str(found)
