"""How storage is reached: what is refused, what is tried again, and what an answer may be."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bidsplan.errors import (
    DeniedError,
    SourceMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UrlError,
    UsageError,
)
from bidsplan.storage import Access, Transport, open_store
from bidsplan.urls import parse_url, refused_url
from servers import HOST, Rule, free_port

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "it is empty or has characters that do not print"),
        ("s3://b/x\n", "it is empty or has characters that do not print"),
        ("zip://a.zip::s3://b/x", "chained URLs ('::') are not allowed"),
        ("~/data", "'~' and '${…}' are not expanded; write the path out"),
        ("s3://${HOME}/x", "'~' and '${…}' are not expanded; write the path out"),
        ("https://user@host/x", "it holds a user name or password; credentials come from the "
         "environment"),
        ("s3://b/x?versionId=1", "it has a query string or a fragment"),
        ("s3:///x", "it names no bucket or host"),
    ],
)  # fmt: skip
def test_urls_are_refused_by_their_form(url, reason):
    assert refused_url(url) == reason
    with pytest.raises(UrlError, match="the URL is refused"):
        open_store(url, access=Access())


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest",
        "https://[fe80::1]/x",
        "https://[fd00:ec2::254]/x",
        "https://metadata.google.internal/x",
        "https://2852039166/x",
        "https://0xa9.254.169.254/x",
    ],
)
def test_link_local_hosts_are_always_refused(url):
    # Numbers that not everybody reads alike are refused, whatever they would mean.
    with pytest.raises(UrlError, match=r"link-local|metadata|read in different ways"):
        open_store(url, access=Access())


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://10.1.2.3/x",
        "https://[::1]/x",
        "file:///etc",
        "data",
        "memory://x",
    ],
)
def test_strangers_may_not_name_private_places(url):
    with pytest.raises(UrlError, match="an untrusted manifest may not name"):
        open_store(url, access=Access(untrusted=True))


def test_protocols_are_allowed_one_by_one():
    with pytest.raises(UrlError, match="'github' is not allowed"):
        open_store("github://org/repo", access=Access())
    allowed = Access(allow_protocols=frozenset({"nosuch"}))
    with pytest.raises(UsageError, match="fsspec has no file system 'nosuch' here"):
        open_store("nosuch://x/y", access=allowed)


def test_a_url_is_taken_apart():
    assert parse_url("S3://b/x/y/") == ("s3", "b", "x/y")
    assert parse_url("file:///a/b") == ("file", "", "/a/b")
    assert parse_url("../a") == ("file", "", "../a")


@pytest.fixture
def filled(bucket):
    bucket.fill({"x/a.txt": b"hello", "x/b.txt": b"hello"})
    return bucket


def opened(bucket, url, transport=Transport.OBSTORE, **more):
    access = Access(endpoint_url=url, transport=transport, **more)
    return open_store(f"s3://{bucket.name}/x", access=access)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_listing_is_tried_again_as_long_as_the_storage_asks(filled, proxy, transport):
    proxy.rules.append(
        Rule("status", "list-type=2", times=3, status=503, headers={"Retry-After": "1"})
    )
    assert len(list(opened(filled, proxy.url, transport).list())) == 2
    assert len([path for _, path in proxy.requests if "list-type=2" in path]) == 4


@pytest.mark.timeout(60)
def test_a_listing_is_not_tried_for_ever(filled, proxy):
    proxy.rules.append(Rule("status", "list-type=2", status=500))
    with pytest.raises(UnreachableError, match="the storage failed"):
        list(opened(filled, proxy.url).list())
    assert len(proxy.requests) == 3


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("status", "error"),
    [(403, DeniedError), (404, SourceMissingError), (400, StorageError), (501, StorageError)],
)
def test_a_listing_that_fails_is_never_an_empty_one(filled, proxy, transport, status, error):
    proxy.rules.append(Rule("status", "list-type=2", status=status))
    store = opened(filled, proxy.url, transport)
    with pytest.raises(error):
        store.children()
    with pytest.raises(error):
        list(store.list())
    assert len(proxy.requests) == 2


def test_a_bucket_of_another_region_is_followed_once(filled, proxy):
    there = {"x-amz-bucket-region": "eu-west-1"}
    proxy.rules.append(Rule("status", "list-type=2", times=1, status=301, headers=there))
    assert len(list(opened(filled, proxy.url).list())) == 2
    proxy.rules.append(Rule("status", "list-type=2", status=301, headers=there))
    with pytest.raises(StorageError, match=r"sends the request elsewhere \(301\)"):
        list(opened(filled, proxy.url).list())


def test_a_server_that_asks_to_slow_down_is_throttling(filled, proxy):
    proxy.rules.append(Rule("status", "a.txt", status=429, headers={"Retry-After": "7"}))
    with pytest.raises(ThrottledError, match="asks to slow down"):
        opened(filled, proxy.url).read("a.txt", limit=10)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nobody_there_is_told_within_ten_seconds(bucket, transport):
    url = f"http://{HOST}:{free_port()}"
    with pytest.raises(UnreachableError, match="check the endpoint"):
        opened(bucket, url, transport).children()


HOSTILE = {
    "entities": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    b"<ListBucketResult><Contents><Key>&b;</Key></Contents></ListBucketResult>",
    "entities in UTF-16": '<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult/>'.encode("utf-16"),
    "entities in EBCDIC": '<?xml version="1.0" encoding="cp037"?><!DOCTYPE x [<!ENTITY a "a">]>'
    "<ListBucketResult/>".encode("cp037"),
    "a login page": b"<html><body>Please log in</body></html>",
    "no XML": b"hello",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_that_is_no_listing_is_an_error(body, request):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    request.addfinalizer(server.shutdown)
    access = Access(endpoint_url=f"http://{HOST}:{server.server_address[1]}")
    with pytest.raises(StorageError, match="the answer is no listing"):
        open_store("s3://bucket/x", access=access).children()


def test_secrets_of_the_environment_stand_in_no_message(filled, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token")
    proxy.rules.append(Rule("status", "", status=403))
    for transport in TRANSPORTS:
        access = Access(endpoint_url=proxy.url, transport=transport, anonymous=False)
        store = open_store(f"s3://{filled.name}/x", access=access)
        for call in (store.children, lambda store=store: store.read("a.txt", limit=9)):
            with pytest.raises(DeniedError) as caught:
                call()
            shown = f"{caught.value!r}{caught.value}{store!r}{store.url}".lower()
            assert "canary" not in shown


def test_a_broken_configuration_does_not_matter_where_all_is_given(bucket, monkeypatch):
    bucket.put("x", b"data")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    access = Access(endpoint_url=bucket.endpoint, region="us-east-1")
    with open_store(f"s3://{bucket.name}", access=access) as store:
        assert [item.key for item in store.list()] == ["x"]
