"""Files of web servers: each is the whole of one content, or an error."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.events import Action
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access, open_store
from plans import failures, fetch, finished, plan_of, tree
from sites import LONG_AGO, Page, Site

HTTP = frozenset({"http"})
KEY = "sub-1/image.nii.gz"
OLD = random.Random(1).randbytes(12 << 20)
NEW = random.Random(2).randbytes(12 << 20)
NOW = "Thu, 26 Nov 2026 00:00:00 GMT"


@pytest.fixture
def site():
    with Site() as found:
        yield found


def opened(site, **more):
    return open_store(site.url, access=Access(allow_protocols=HTTP, **more))


def brought(site, folder, *, etag=None):
    entries = [Entry(path=KEY, key=KEY, size=len(OLD), reason="selected", etag=etag)]
    plan = plan_of(entries, site.url)
    return fetch(plan, folder, access=Access(allow_protocols=HTTP, timeout=5))


def ranges(site):
    return [asked["Range"] for _, _, asked in site.requests if "Range" in asked]


VALIDATORS = {
    "a strong tag": {"etag": '"v1"'},
    "a time of modification": {"modified": LONG_AGO},
    "a weak tag": {"etag": 'W/"v1"'},
    "nothing": {},
}
REPLACED = {
    "a strong tag": {"etag": '"v2"'},
    "a time of modification": {"modified": NOW},
    "a weak tag": {"etag": 'W/"v2"'},
    "nothing": {},
}


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("kind", VALIDATORS)
def test_a_file_that_is_replaced_in_mid_transfer_is_never_spliced(site, tmp_path, kind, heeds):
    site.heeds = heeds
    site.fill({KEY: OLD}, **VALIDATORS[kind])

    def replace():
        site.fill({KEY: NEW}, **REPLACED[kind])

    site.cut[f"/{KEY}"] = (6 << 20, replace)
    events = brought(site, tmp_path / "d")
    if VALIDATORS[kind] and "weak" not in kind:
        assert isinstance(failures(events)[KEY], SourceChangedError)
        assert tree(tmp_path / "d") == {}
    else:
        # Nothing binds the rest to what came: it is asked for from the start.
        assert ranges(site) == []
        assert finished(events) == {KEY: (Action.FETCH, CheckMethod.SIZE)}
        assert tree(tmp_path / "d") == {KEY: NEW}


@pytest.mark.parametrize("kind", VALIDATORS)
def test_a_file_that_breaks_off_goes_on_where_something_binds_it(site, tmp_path, kind):
    site.fill({KEY: OLD}, **VALIDATORS[kind])
    site.cut[f"/{KEY}"] = (6 << 20, lambda: None)
    events = brought(site, tmp_path / "d")
    assert finished(events) == {KEY: (Action.FETCH, CheckMethod.SIZE)}
    assert tree(tmp_path / "d") == {KEY: OLD}
    bound = VALIDATORS[kind] and "weak" not in kind
    assert ranges(site) == ([f"bytes={6 << 20}-"] if bound else [])


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes 6291456-6291460/12582912", "x", ""])
def test_a_range_that_is_another_one_is_not_taken(site, tmp_path, said):
    site.fill({KEY: OLD}, etag='"v1"')
    site.cut[f"/{KEY}"] = (6 << 20, lambda: None)
    site.range_said = said or "bytes */*"
    events = brought(site, tmp_path / "d")
    assert tree(tmp_path / "d") == {KEY: OLD}
    assert finished(events)


def test_a_server_that_knows_no_ranges_is_asked_for_all_of_it(site, tmp_path):
    site.fill({KEY: OLD}, etag='"v1"')
    site.ranges = False
    site.cut[f"/{KEY}"] = (6 << 20, lambda: None)
    brought(site, tmp_path / "d")
    assert tree(tmp_path / "d") == {KEY: OLD}


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("length", [len(OLD) - 1, len(OLD) + 1, 0])
def test_a_body_of_another_length_than_planned_never_lands(site, tmp_path, chunked, length):
    site.fill({KEY: (OLD + b"x")[:length]}, said=len(OLD))
    site.chunked = chunked
    assert {item.key: item.size for item in opened(site).list()} == {KEY: len(OLD)}
    events = brought(site, tmp_path / "d")
    assert isinstance(failures(events)[KEY], SourceChangedError | UnreachableError)
    assert tree(tmp_path / "d") == {}


def test_a_planned_tag_is_asked_for_and_compared(site, tmp_path):
    site.fill({KEY: OLD}, etag='"v1"')
    assert finished(brought(site, tmp_path / "d", etag="v1"))
    for site.heeds in (True, False):
        site.fill({KEY: OLD}, etag='"v2"')
        events = brought(site, tmp_path / "e", etag="v1")
        assert isinstance(failures(events)[KEY], SourceChangedError)
        assert "now it is v2" in str(failures(events)[KEY])


def test_a_tag_that_looks_like_a_digest_is_not_taken_for_one(site, tmp_path):
    site.fill({KEY: OLD}, etag='"0123456789abcdef0123456789abcdef"')
    events = brought(site, tmp_path / "d", etag="0123456789abcdef0123456789abcdef")
    assert finished(events) == {KEY: (Action.FETCH, CheckMethod.SIZE)}


def test_listings_give_strong_tags_and_exact_sizes(site):
    site.fill({"a.txt": b"hello"}, etag='"v1"')
    site.fill({"b.txt": b"hello!"}, etag='W/"v1"')
    found = {item.key: (item.size, item.etag) for item in opened(site).list()}
    assert found == {"a.txt": (5, "v1"), "b.txt": (6, None)}


INDEXES = {
    "Apache": """<table><tr><th><a href="?C=N;O=D">Name</a></th></tr>
        <tr><td><a href="/data/">Parent Directory</a></td></tr>
        <tr><td><a href="sub-01/">sub-01/</a></td></tr>
        <tr><td><a href="a%20b&amp;c.txt">a b&amp;c.txt</a></td></tr>
        <tr><td><a href="100%25+1.txt#top">100%+1.txt</a></td></tr></table>
        <address>Apache at <a href="mailto:me@example.org">me</a></address>""",
    "nginx": """<h1>Index of /data/ds/</h1><hr><pre><a href="../">../</a>
        <a href="sub-01/">sub-01/</a>  26-Nov-2026 00:00  -
        <a href="a%20b&c.txt">a b&c.txt</a> 26-Nov-2026 00:00 5
        <a href="100%25+1.txt">100%+1.txt</a> 26-Nov-2026 00:00 5</pre>""",
    "lighttpd": """<table><tr class="d"><td class="n"><a href="../">..</a>/</td></tr>
        <tr class="d"><td class="n"><a href="sub-01/">sub-01</a>/</td></tr>
        <tr><td class="n"><a href="a%20b%26c.txt">a b&amp;c.txt</a></td></tr>
        <tr><td class="n"><a href="100%25%2b1.txt">100%+1.txt</a></td></tr></table>""",
    "Caddy": """<a href="/">home</a><a href="./?sort=name&order=desc">Name</a>
        <a href="./sub-01/">sub-01</a><a href="./a%20b&amp;c.txt">x</a>
        <a href="./100%25&#43;1.txt">x</a>""",
    "absolute": """<a href="/data/ds/sub-01/">x</a><a href="/data/ds/a%20b&amp;c.txt">x</a>
        <a href="//other.example/data/ds/evil.txt">x</a><a href="http://h:1/data/ds/e.txt">x</a>
        <a href="/data/ds/100%25+1.txt?download">x</a><a href="/data/ds/../up.txt">x</a>
        <a href="/data/ds/sub-01/deep.txt">x</a><a href="%2e%2e/up.txt">x</a>
        <a href="x%2fy.txt">x</a><a href="">x</a><a href="javascript:alert(1)">x</a>
        <a href="http://[/">x</a><a name="no-link">x</a>""",
}


@pytest.mark.parametrize("kind", INDEXES)
def test_index_pages_are_read_as_each_server_writes_them(site, kind):
    site.pages["/data/ds/"] = Page(INDEXES[kind].encode(), kind="text/html; charset=utf-8")
    site.pages["/data/ds/a b&c.txt"] = site.pages["/data/ds/100%+1.txt"] = Page(b"hello")
    store = open_store(f"{site.url}/data/ds", access=Access(allow_protocols=HTTP))
    found = store.children()
    assert [item.key for item in found.objects] == ["100%+1.txt", "a b&c.txt"]
    assert found.directories == ("sub-01/",)
    assert store.read("100%+1.txt", limit=10) == b"hello"


def test_a_directory_that_is_linked_without_its_slash_is_one(site):
    site.pages["/"] = Page(b'<a href="sub-01">x</a>', kind="text/html")
    site.pages["/sub-01"] = Page(status=301, headers={"Location": "/sub-01/"})
    site.fill({"sub-01/a.txt": b"hello"})
    assert [item.key for item in opened(site).list()] == ["sub-01/a.txt"]


@pytest.mark.parametrize(
    ("page", "error", "message"),
    [
        (Page(b"{}", kind="application/json"), StorageError, "no index page, but 'application"),
        (Page(status=403), PermissionError, "access is denied"),
        (Page(status=302, headers={"Location": "/"}), StorageError, "redirects too often"),
        (Page(b'<a href="a.txt">', kind="text/html"), StorageError, "there is no such object"),
    ],
)
def test_a_listing_that_fails_is_never_an_empty_one(site, page, error, message):
    site.pages["/"] = page
    with pytest.raises(error, match=message):
        opened(site).children()


def test_few_connections_are_enough_for_any_number_of_requests(site, tmp_path):
    site.fill({f"sub-1/{number}.txt": b"hello" for number in range(20)}, etag='"v1"')
    site.pages["/sub-1/0.txt"] = Page(status=404)
    store = opened(site, jobs=2, timeout=2)
    for key in ("sub-1/0.txt", "sub-1/1.txt") * 5:
        with suppress(StorageError):
            store.stream(key, etag="other")
    del site.pages["/sub-1/0.txt"]
    assert len(list(store.list())) == 19
    for number in range(1, 20):
        assert store.read(f"sub-1/{number}.txt", limit=9) == b"hello"
