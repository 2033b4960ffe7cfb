"""Bytes of two answers are joined only where both say that they are of the same object."""

from __future__ import annotations

import gzip
import importlib

import pytest

from bidsplan.errors import RefusedHostError, SourceChangedError, StorageError
from bidsplan.plan import Entry
from bidsplan.storage import Access, Transport, open_store
from plans import failures, fetch, finished, plan_of, tree
from scripted import EMPTY, Scripted, answer, range_of

SIZE = 5 << 20
HALF = SIZE // 2
TAG = "some-tag"
LONG_AGO = "Thu, 01 Jan 2026 00:00:00 GMT"
NOW = "Thu, 26 Nov 2026 00:00:00 GMT"
S3 = ["obstore", "fsspec", "plain"]


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries: how long is another matter than how often."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


@pytest.fixture(params=["web", *S3])
def transport(request, monkeypatch):
    return made(request.param, monkeypatch)


@pytest.fixture(params=S3)
def on_s3(request, monkeypatch):
    return made(request.param, monkeypatch)


def made(name, monkeypatch):
    if name == "plain":
        # Requests with a session token are not obstore's to send over plain HTTP.
        for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(each, "x")
    return name


def brought(server, transport, folder, *, size=SIZE, **fields):
    """Fetch one object; give its bytes, or the error."""
    url, more = server.url, {"allow_protocols": frozenset({"http"})}
    if transport != "web":
        kind = Transport.FSSPEC if transport == "fsspec" else Transport.OBSTORE
        url, more = "s3://bucket", {"endpoint_url": server.url, "transport": kind}
        more["anonymous"] = transport != "plain"
    entry = Entry(path="a.bin", key="a.bin", size=size, reason="selected", **fields)
    access = Access(timeout=5, jobs=4, **more)
    events = fetch(plan_of([entry], url), folder, access=access)
    if finished(events):
        return tree(folder)["a.bin"]
    assert tree(folder) == {}
    return failures(events)["a.bin"]


def serving(first, rest):
    """Give one object whose first answer breaks off, and another one to every later request."""
    state = {"first": True}

    def script(method, _path, asked):
        start, _ = range_of(asked)
        body, headers = (b"A", first) if state["first"] and not start else (b"B", rest)
        if method == "HEAD":
            return answer(length=SIZE, **headers)
        ranged = {}
        if "range" in asked:
            ranged = {"status": 206, "Content_Range": f"bytes {start}-{SIZE - 1}/{SIZE}"}
        sent = body * (HALF if state["first"] else SIZE - start)
        state["first"] = False
        return answer(body=sent, length=SIZE - start, **ranged, **headers)

    return script


def tagged(tag, **more):
    return {"ETag": tag, **more}


SPLICES = {
    "unnamed, then as planned": ({}, tagged(f'"{TAG}"'), TAG),
    "as planned, then unnamed": (tagged(f'"{TAG}"'), {}, TAG),
    "weak and the same": (tagged('W/"x"'), tagged('W/"x"'), None),
    "weak and as planned": (tagged('W/"x"'), tagged('W/"x"'), "x"),
    "without quotes": (tagged("x"), tagged("x"), None),
    "strong and another": (tagged('"x"'), tagged('"y"'), None),
    "dated, then as planned": (
        {"Last_Modified": LONG_AGO, "Date": NOW},
        tagged(f'"{TAG}"'),
        TAG,
    ),
}


@pytest.mark.parametrize("case", SPLICES)
def test_no_answer_goes_on_with_what_another_one_was_of(transport, tmp_path, case):
    first, rest, etag = SPLICES[case]
    with Scripted(serving(first, rest)) as server:
        found = brought(server, transport, tmp_path / "d", etag=etag)
    assert isinstance(found, StorageError) or len(set(found)) == 1


@pytest.mark.parametrize("name", ["web", "fsspec", "plain"])
def test_of_two_tags_neither_is_the_objects(monkeypatch, tmp_path, name):
    # obstore shows the first one only.
    both = tagged(['"x"', '"y"'])
    with Scripted(serving(both, both)) as server:
        found = brought(server, made(name, monkeypatch), tmp_path / "d")
    assert isinstance(found, StorageError) or len(set(found)) == 1


@pytest.mark.parametrize("case", ["no tags", "another tag", "another version", "planned tag"])
def test_a_version_binds_nothing_by_its_name_alone(on_s3, tmp_path, case):
    first, rest, etag = {
        "no tags": ({}, {}, None),
        "another tag": (tagged('"x"'), tagged('"y"'), None),
        "another version": (
            tagged('"x"', x_amz_version_id="v1"),
            tagged('"x"', x_amz_version_id="v2"),
            None,
        ),
        "planned tag": (tagged('"x"'), tagged('"y"'), TAG),
    }[case]
    with Scripted(serving(first, rest)) as server:
        found = brought(server, on_s3, tmp_path / "d", version="v1", etag=etag)
    assert isinstance(found, StorageError) or len(set(found)) == 1


def test_another_version_than_the_planned_one_is_refused(on_s3, tmp_path):
    def script(_method, _path, asked):
        ranged = {"status": 206, "Content_Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
        more = ranged if "range" in asked else {}
        return answer(body=bytes(SIZE), ETag='"x"', x_amz_version_id="v2", **more)

    with Scripted(script) as server:
        assert isinstance(brought(server, on_s3, tmp_path / "d", version="v1"), SourceChangedError)


@pytest.mark.parametrize("tags", [{"ETag": '"same"'}, {"Last_Modified": LONG_AGO, "Date": NOW}])
@pytest.mark.parametrize("other", [True, False])
def test_the_rest_comes_from_the_mirror_that_the_first_bytes_came_from(tmp_path, tags, other):
    with (
        Scripted(serving(tags, tags)) as first,
        Scripted(serving(tags, tags)) as second,
        Scripted(None) as server,
    ):
        targets = [first, second if other else first] + [second] * 8
        server.script = lambda *_: answer(302, Location=f"{targets.pop(0).url}/a.bin?signed=1")
        second.script("HEAD", "/", {})
        second.script("GET", "/", {})
        found = brought(server, "web", tmp_path / "d")
        resumed = [each for each in first.gets() + second.gets() if "range" in each]
    if other:
        assert set(found) == {ord("B")}
    else:
        # The same server under the same tag; that it serves two files is beyond what shows.
        assert found == b"A" * HALF + b"B" * (SIZE - HALF)
    assert len(resumed) == 1


def other_size(whole, **headers):
    """Say that the object has more bytes than are planned, and break off at those."""

    def script(method, _path, asked):
        if method == "HEAD":
            return answer(length=SIZE, **headers)
        ranged = {}
        if "range" in asked:
            ranged = {"status": 206, "Content_Range": f"bytes 0-{whole - 1}/{whole}"}
        return answer(body=bytes(SIZE), length=whole, **ranged, **headers)

    return script


@pytest.mark.parametrize(
    ("headers", "planned"),
    [({}, {"etag": TAG}), (tagged(f'"{TAG}"'), {"etag": TAG}), ({}, {"version": "v1"})],
    ids=str,
)
def test_an_answer_of_another_size_never_lands(transport, tmp_path, headers, planned):
    if transport == "web" and "version" in planned:
        pytest.skip("web servers know no versions")
    with Scripted(other_size(2 * SIZE, **headers)) as server:
        assert isinstance(brought(server, transport, tmp_path / "d", **planned), StorageError)


@pytest.mark.parametrize(
    ("status", "etag", "size"), [(203, None, SIZE), (206, TAG, SIZE), (206, None, 1000)]
)
def test_only_an_answer_of_the_whole_object_is_taken_for_one(
    transport, tmp_path, status, etag, size
):
    headers = {} if etag is None else tagged(f'"{etag}"')

    def script(method, _path, _asked):
        # The second half of something, whatever was asked for.
        said = {"Content_Range": f"bytes {size}-{2 * size - 1}/{2 * size}"}
        if method == "HEAD":
            return answer(length=size, **headers)
        return answer(status, bytes(size), **(said if status == 206 else {}), **headers)

    with Scripted(script) as server:
        found = brought(server, transport, tmp_path / "d", size=size, etag=etag)
        assert isinstance(found, StorageError)


@pytest.mark.parametrize(
    "said",
    [
        f"bytes {HALF}-{SIZE - 2}/{SIZE}",
        f"bytes {HALF}-{SIZE - 1}/{2 * SIZE}",
    ],
)
def test_a_range_goes_on_only_to_the_end_of_the_planned_object(transport, tmp_path, said):
    whole = serving(tagged(f'"{TAG}"'), tagged(f'"{TAG}"'))

    def script(method, path, asked):
        found = whole(method, path, asked)
        if not range_of(asked)[0]:
            return found
        kept = f"bytes {range_of(asked)[0]}-{SIZE - 1}/{SIZE}"
        return found.replace(
            kept.encode(), said.replace(f"{HALF}", f"{range_of(asked)[0]}").encode()
        )

    with Scripted(script) as server:
        found = brought(server, transport, tmp_path / "d", etag=TAG)
    assert isinstance(found, StorageError) or len(set(found)) == 1


def packed(method, _path, asked):
    body = gzip.compress(b"x").ljust(SIZE, b"\0")
    ranged = {}
    if "range" in asked:
        ranged = {"status": 206, "Content_Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
    more = {} if method == "HEAD" else {"Content_Encoding": "gzip"}
    return answer(body=b"" if method == "HEAD" else body, length=SIZE, **more, **ranged)


def test_what_a_web_server_packs_is_not_taken_for_the_file(tmp_path):
    with Scripted(packed) as server:
        found = brought(server, "web", tmp_path / "d")
    assert isinstance(found, StorageError)
    assert "gzip" in str(found)


def test_what_is_stored_packed_comes_as_it_is_stored(on_s3, tmp_path):
    with Scripted(packed) as server:
        assert len(brought(server, on_s3, tmp_path / "d")) == SIZE


@pytest.mark.parametrize("text", ["abc", "0x5"])
def test_a_length_that_is_no_number_is_no_length(transport, tmp_path, text):
    def script(method, _path, _asked):
        return answer(body=b"" if method == "HEAD" else b"hello", length=text, ETag=f'"{TAG}"')

    with Scripted(script) as server:
        found = brought(server, transport, tmp_path / "d", size=5, etag=TAG)
    assert found == b"hello" or isinstance(found, StorageError)


def test_an_empty_object_comes_by_every_transport(transport, tmp_path):
    def script(_method, path, asked):
        if "list-type" in path:
            return answer(body=EMPTY)
        return answer(416) if "range" in asked else answer(ETag=f'"{TAG}"')

    with Scripted(script) as server:
        assert brought(server, transport, tmp_path / "d", size=0, etag=TAG) == b""


@pytest.mark.parametrize("tag", ["a\r\nX: y", "a\x7fb"])
def test_a_tag_that_no_header_can_hold_is_an_error(on_s3, tmp_path, tag):
    with Scripted(lambda *_: answer(body=b"hello")) as server:
        found = brought(server, on_s3, tmp_path / "d", size=5, etag=tag)
    assert isinstance(found, StorageError)


LISTED = {
    '"a&#13;&#10;X: y"': None,
    '"a&#x7f;b"': None,
    '"a"b"': None,
    'W/"a"': None,
    "bare": "bare",
    '"usual-1"': "usual-1",
}


@pytest.mark.parametrize("kind", [Transport.OBSTORE, Transport.FSSPEC])
def test_listings_give_only_tags_that_requests_can_name(kind):
    page = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>{said}</ETag></Contents>"
        for key, said in enumerate(LISTED)
    )
    body = EMPTY.replace(b"</List", page.encode() + b"</List")
    with Scripted(lambda *_: answer(body=body)) as server:
        access = Access(transport=kind, endpoint_url=server.url, anonymous=True)
        with open_store("s3://bucket", access=access) as store:
            assert [item.etag for item in store.list()] == list(LISTED.values())


@pytest.mark.parametrize("target", ["https://[", "http://[::1", "http://]"])
def test_a_redirect_to_what_is_no_url_is_refused(tmp_path, target):
    with Scripted(lambda *_: answer(302, Location=target)) as server:
        found = brought(server, "web", tmp_path / "d")
    assert isinstance(found, RefusedHostError)


def test_a_base_that_is_no_url_is_the_page_itself():
    page = b"<html><base href='http://['><a href='a.bin'>x</a></html>"
    access = Access(allow_protocols=frozenset({"http"}))

    def script(method, *_):
        return answer(body=page if method == "GET" else b"", Content_Type="text/html")

    with (
        Scripted(script) as server,
        open_store(server.url, access=access) as store,
    ):
        assert [item.key for item in store.list()] == ["a.bin"]
