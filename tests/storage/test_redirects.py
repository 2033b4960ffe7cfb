"""What is signed for one host is sent to no other, whatever the storage answers."""

from __future__ import annotations

import hashlib

import pytest

from bidsplan.errors import BidsplanError
from bidsplan.plan import Entry
from bidsplan.storage import Access, Transport, open_store
from bidsplan.storage.s3.credentials import connect
from plans import failures, fetch, finished, plan_of, tree
from servers import Rule
from sites import Page, Site

TOKEN = "canary-token-0123456789"
SECRET = "canary-secret-0123456789"
DATA = b"hello"
TAG = hashlib.md5(DATA).hexdigest()
TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]
STATUSES = [301, 302, 303, 307, 308]


@pytest.fixture
def signed(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def tokened(signed, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


@pytest.fixture
def storage():
    with Site() as found:
        yield found


@pytest.fixture(params=["127.0.0.1", "127.0.0.2"], ids=["other-port", "other-host"])
def other(request):
    with Site(host=request.param) as found:
        found.fill({"bucket/x/a.txt": DATA}, etag=f'"{TAG}"')
        yield found


def redirects(storage, other, status, paths=("/bucket/x/a.txt", "/bucket")):
    for path in paths:
        place = {"Location": f"{other.url}{path}"}
        storage.pages[path] = Page(status=status, headers=place)


def access(storage, transport, **more):
    return Access(endpoint_url=storage.url, transport=transport, timeout=5, **more)


def brought(storage, folder, transport, *, size=5, **more):
    entries = [Entry(path="a.txt", key="a.txt", size=size, reason="selected", etag=TAG)]
    plan = plan_of(entries, "s3://bucket/x")
    return fetch(plan, folder, access=access(storage, transport, **more))


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("size", [len(DATA), 5 << 20], ids=["small", "large"])
def test_objects_are_not_followed_with_a_token(
    tokened, storage, other, tmp_path, transport, status, size
):
    redirects(storage, other, status)
    events = brought(storage, tmp_path / "d", transport, size=size, anonymous=False)
    assert failures(events)["a.txt"].code == "refused-host"
    assert other.requests == []
    assert tree(tmp_path / "d") == {}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_secret_travels_without_a_token(signed, storage, other, tmp_path, transport):
    redirects(storage, other, 307)
    brought(storage, tmp_path / "d", transport, anonymous=False, requester_pays=True)
    shown = repr(other.requests)
    assert SECRET not in shown
    assert "Signature" not in shown
    assert other.url.startswith("http://127.0.0.1") or other.requests == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_unsigned_requests_do_not_leave_the_host_either(storage, tmp_path, transport):
    with Site(host="127.0.0.2") as other:
        other.fill({"bucket/x/a.txt": DATA}, etag=f'"{TAG}"')
        redirects(storage, other, 307)
        events = brought(storage, tmp_path / "d", transport, anonymous=True)
        assert failures(events)["a.txt"].code == "refused-host"
        assert other.requests == []


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_listings_are_not_followed(tokened, storage, other, transport, status):
    redirects(storage, other, status)
    with (
        pytest.raises(BidsplanError, match="sends the request elsewhere"),
        open_store("s3://bucket/x", access=access(storage, transport, anonymous=False)) as store,
    ):
        store.children()
    assert other.requests == []


def test_uploads_are_not_followed(tokened, storage, other, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.txt").write_bytes(DATA)
    entries = [Entry(path="a.txt", key="a.txt", size=len(DATA), reason="selected")]
    plan = plan_of(entries, str(tmp_path / "s"))
    storage.pages["/bucket"] = Page(LISTING, kind="application/xml")
    for path in ("/bucket/d/a.txt", "/bucket/d/.bidsplan/README"):
        storage.pages[path] = Page(status=307, headers={"Location": f"{other.url}{path}"})
    try:
        events = fetch(plan, "s3://bucket/d", access=access(storage, Transport.AUTO))
    except BidsplanError:
        events = []
    assert not finished(events)
    assert other.requests == []


LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.mark.parametrize("status", [301, 400])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_region_is_followed_by_a_new_request_to_the_same_endpoint(
    tokened, storage, transport, status
):
    storage.pages["/bucket"] = Page(status=status, headers={"x-amz-bucket-region": "eu-west-1"})
    with (
        open_store("s3://bucket/x", access=access(storage, transport, anonymous=False)) as store,
        pytest.raises(BidsplanError),
    ):
        store.children()
    scopes = {asked["Authorization"].split("/")[2] for _, _, asked in storage.requests}
    assert "eu-west-1" in scopes


@pytest.mark.parametrize(
    ("endpoint", "region", "moved"),
    [
        ("https://s3.us-east-1.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        (
            "https://s3.dualstack.us-east-1.amazonaws.com",
            "ap-south-2",
            "https://s3.dualstack.ap-south-2.amazonaws.com",
        ),
        ("https://minio.example.org", "eu-west-1", "https://minio.example.org"),
        ("https://evilamazonaws.com", "eu-west-1", "https://evilamazonaws.com"),
        (
            "http://ec2-1-2-3-4.compute-1.amazonaws.com",
            "eu-west-1",
            "http://ec2-1-2-3-4.compute-1.amazonaws.com",
        ),
        (
            "https://x.us-east-1.elb.amazonaws.com",
            "eu-west-1",
            "https://x.us-east-1.elb.amazonaws.com",
        ),
        ("https://s3.amazonaws.com:8443", "eu-west-1", "https://s3.amazonaws.com:8443"),
        ("https://s3.us-east-1.amazonaws.com", "us-east-1", None),
        ("https://s3.us-east-1.amazonaws.com", "cn-north-1", None),
        ("https://s3.us-east-1.amazonaws.com", "us-gov-west-1", None),
        ("https://s3.us-east-1.amazonaws.com", "evil.example/x?-1", None),
        ("https://s3.us-east-1.amazonaws.com", "evil.example#", None),
        ("https://s3.us-east-1.amazonaws.com", "us-east-1.evil.example", None),
        ("https://minio.example.org", "a/../b", None),
    ],
)
def test_a_region_leads_to_a_host_of_the_same_partition_or_nowhere(endpoint, region, moved):
    connection = connect(Access(endpoint_url=endpoint, region="us-east-1"), anonymous=True)
    found = connection.in_region(region)
    assert (found.endpoint if found else None) == moved


def test_user_information_of_an_endpoint_is_left_out():
    connection = connect(Access(endpoint_url="http://user:pw@127.0.0.1:9/"), anonymous=True)
    assert connection.endpoint == "http://127.0.0.1:9"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_listing_that_trickles_has_a_limit(bucket, proxy, monkeypatch, transport):
    monkeypatch.setattr("bidsplan.storage.retry.PAGE_SECONDS", 0.25)
    bucket.fill({f"x/{number}": b"" for number in range(50)})
    proxy.rules.append(Rule("trickle", "list-type=2"))
    with (
        open_store(
            f"s3://{bucket.name}/x", access=access(proxy, transport), anonymous=True
        ) as store,
        pytest.raises(BidsplanError, match=r"did not all come|can't be reached"),
    ):
        store.children()


OUTPOST = "test-accessp-o0b1d075431d83bebde8xz5w8ijx1qzlbp3i3kuse10--op-s3"


def test_no_bucket_name_leads_to_another_host(tokened, storage):
    reach = access(storage, Transport.FSSPEC, anonymous=False)
    with (
        open_store(f"s3://{OUTPOST}/x", access=reach) as store,
        pytest.raises(BidsplanError, match="leads to another host than the endpoint"),
    ):
        store.stream("a.txt")
    # Only the bucket was looked for, at the endpoint itself.
    assert [method for method, *_ in storage.requests] == ["HEAD"]


def test_credentials_that_get_a_token_later_keep_it(signed, storage, other, tmp_path, monkeypatch):
    redirects(storage, other, 307)
    with open_store(
        "s3://bucket/x", access=access(storage, Transport.AUTO, anonymous=False)
    ) as store:
        credentials = tmp_path / "credentials"
        assert store.abilities.async_reads
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        lines = ("[default]", "aws_access_key_id = A", f"aws_secret_access_key = {SECRET}")
        credentials.write_text("\n".join([*lines, f"aws_session_token = {TOKEN}"]))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
        store.renew()
        assert not store.abilities.async_reads
        with pytest.raises(BidsplanError, match="sends the request elsewhere"):
            store.stream("a.txt")
    assert other.requests == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_redirect_behind_a_proxy_is_not_followed(
    signed, storage, tmp_path, monkeypatch, transport, variable
):
    with Site(host="127.0.0.2") as other, Site() as proxy:
        place = {"Location": f"{other.url}/bucket/x/a.txt"}
        proxy.pages[f"{storage.url}/bucket/x/a.txt"] = Page(status=307, headers=place)
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.2")
        events = brought(storage, tmp_path / "d", transport, anonymous=False)
        assert failures(events)["a.txt"].code == "refused-host"
        assert other.requests == storage.requests == []
        assert proxy.requests


def test_a_proxy_of_another_kind_is_told(storage, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    with pytest.raises(BidsplanError, match="the proxy that the environment names can't be used"):
        open_store("s3://bucket/x", access=access(storage, Transport.AUTO)).children()
