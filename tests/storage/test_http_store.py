"""Files of web servers: each is the whole of one content, or an error."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from bidsplan.cli.main import run
from bidsplan.compile.survey.listing import clean
from bidsplan.errors import NoIndexError, SourceChangedError, StorageError, UnreachableError
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
    "Apache, plain": """<title>Index of /data/ds</title><ul>
        <li><a href="/data/"> Parent Directory</a>
        <li><a href="sub-01/"> sub-01/</a> <li><a href="a%20b&amp;c.txt"> a b&amp;c.txt</a>
        <li><a href="100%25+1.txt"> 100%+1.txt</a></ul>""",
    "nginx, with long names cut": """<pre><a href="../">../</a>
        <a href="sub-01/">sub-..&gt;</a> <a href="a%20b%26c.txt">a b&amp;..&gt;</a>
        <a href="100%25%2B1.txt">100%+..&gt;</a></pre>""",
    "Python": """<title>Directory listing for /data/ds/</title><ul>
        <li><a href="sub-01/">sub-01/</a></li><li><a href="a%20b%26c.txt">a b&amp;c.txt</a></li>
        <li><a href="100%25%2B1.txt">100%+1.txt</a></li></ul>""",
    "base": """<base href="/data/"><a href="ds/sub-01/">x</a><a href="ds/a%20b&amp;c.txt">x</a>
        <A HREF='ds/100%25+1.txt'>x</A><a href="ds/100%25+1.txt">twice</a><a href="up.txt">x</a>""",
    "deep": """<a href="sub-01/anat/deep.txt">x</a><a href="./a%20b&c.txt">x</a>
        <a href="100%25+1.txt">x</a>""",
    "absolute": """<a href="/data/ds/sub-01/">x</a><a href="/data/ds/a%20b&amp;c.txt">x</a>
        <a href="//other.example/data/ds/evil.txt">x</a><a href="http://h:1/data/ds/e.txt">x</a>
        <a href="/data/ds/100%25+1.txt?download">x</a><a href="/data/ds/../up.txt">x</a>
        <a href="/data/ds/sub-01/deep.txt">x</a><a href="%2e%2e/up.txt">x</a>
        <a href="">x</a><a href="#top">x</a><a href="javascript:alert(1)">x</a>
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


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8"])
def test_names_that_no_server_should_leave_unquoted_are_read_as_utf8(site, kind):
    site.pages["/"] = Page('<a href="caf\u00e9.txt">x</a>'.encode(), kind=kind)
    site.pages["/caf\u00e9.txt"] = Page(b"hello")
    assert [item.key for item in opened(site).children().objects] == ["caf\u00e9.txt"]


def test_names_that_are_no_paths_are_refused_by_name_and_not_asked_about(site):
    links = [
        "x%2Fy.txt",
        "nul%00.txt",
        "lat%E9.txt",
        "back%5Cslash.txt",
        "bell%07/",
        "%2e%2e/up.txt",
    ]
    body = "".join(f'<a href="{link}">x</a>' for link in links)
    site.pages["/sub-1/"] = Page(f'{body}<a href="a.txt">x</a>'.encode(), kind="text/html")
    site.pages["/sub-1/a.txt"] = Page(b"hello")
    files, refused = clean(opened(site).list("sub-1/"), "", "web")
    assert list(files) == ["sub-1/a.txt"]
    said = [problem.message.partition(": it has ")[2] for problem in refused]
    assert sorted(said) == [
        "a backslash",
        "an empty segment",
        "the character U+0000",
        "the character U+0007",
        "the character U+DCE9",
    ]
    asked = [(method, path) for method, path, _ in site.requests]
    assert sorted(asked) == [("GET", "/sub-1/"), ("HEAD", "/sub-1/a.txt")]


NO_INDEX = {
    "an application": '<title>OpenData</title><div id="root"></div><script src="/app.js"></script>',
    "a login": '<h1>Sign in</h1><a href="/forgot">Forgot?</a><a href="?lang=de">Deutsch</a>',
    "an error": '<h1>Page not found</h1><a href="/">Home</a><a href="mailto:a@b.c">us</a>',
    "nothing": "",
}


@pytest.mark.parametrize("kind", NO_INDEX)
def test_a_web_page_that_is_no_index_is_never_an_empty_directory(site, kind):
    site.pages["/ds/sub-01/"] = Page(NO_INDEX[kind].encode(), kind="text/html")
    with pytest.raises(NoIndexError, match="a web page, but no index of a directory"):
        list(opened(site).list("ds/sub-01/"))


def test_a_redirect_may_lead_to_an_index_and_to_nothing_else(site):
    site.pages["/ds/"] = Page(status=302, headers={"Location": "/other/"})
    links = '<a href="a.txt">x</a><a href="/ds/b.txt">x</a>'
    site.pages["/other/"] = Page(f"<h1>Sign in</h1>{links}".encode(), kind="text/html")
    site.pages["/ds/a.txt"] = Page(b"hello")
    with pytest.raises(NoIndexError, match="no index of a directory"):
        opened(site).children("ds/")
    site.pages["/other/"] = Page(f"<h1>Index of /other</h1>{links}".encode(), kind="text/html")
    assert [item.key for item in opened(site).children("ds/").objects] == ["ds/a.txt"]


EMPTY = {
    "Apache": '<title>Index of /e</title><a href="?C=N;O=D">Name</a><a href="/">Parent</a>',
    "nginx": '<h1>Index of /e/</h1><a href="../">../</a>',
    "Python": "<h1>Directory listing for /e/</h1><ul></ul>",
    "Caddy": '<title>e</title><a href="?sort=name&order=asc">Name</a><a href="..">Up</a>',
}


@pytest.mark.parametrize("kind", EMPTY)
def test_the_index_of_an_empty_directory_is_one(site, kind):
    site.pages["/e/"] = Page(EMPTY[kind].encode(), kind="text/html")
    assert opened(site).children("e/") == ((), ())


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_shows_no_index_says_so(site, status, tmp_path, capsys):
    site.pages["/ds/"] = Page(status=status)
    site.pages["/ds/dataset_description.json"] = Page(b"{}")
    (tmp_path / "x.yaml").write_text(
        f'manifest_version: 1\nstudy: {{id: x, url: "{site.url}/ds"}}\n'
    )
    assert run(["compile", str(tmp_path / "x.yaml"), "--allow-protocol", "http"]) == 1
    said = capsys.readouterr().err
    assert "the server has files there, and shows no index of them; turn its directory" in said
    # A directory that the index above names is there as well.
    site.pages["/ds/"] = Page(b'<a href="sub-01/">x</a>', kind="text/html")
    site.pages["/ds/sub-01/"] = Page(status=status)
    assert run(["compile", str(tmp_path / "x.yaml"), "--allow-protocol", "http"]) == 1
    assert "ds/sub-01/: the server has files there, and shows no index" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_directory_that_is_linked_without_its_slash_is_one(site):
    site.pages["/"] = Page(b'<a href="sub-01">x</a>', kind="text/html")
    site.pages["/sub-01"] = Page(status=301, headers={"Location": "/sub-01/"})
    site.fill({"sub-01/a.txt": b"hello"})
    assert [item.key for item in opened(site).list()] == ["sub-01/a.txt"]


@pytest.mark.parametrize(
    ("page", "error", "message"),
    [
        (Page(b"{}", kind="application/json"), NoIndexError, "no index page, but 'application"),
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
