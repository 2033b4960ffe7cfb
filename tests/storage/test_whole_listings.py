"""Listings are whole or an error: pages that are cut, repeated, reordered or of something else."""

from __future__ import annotations

import re
from typing import ClassVar

import obstore
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from obstore.store import MemoryStore

from bidsplan.errors import ListingError
from bidsplan.plan.file import read_plan
from bidsplan.storage import Access, Transport, open_store
from bidsplan.storage.fsspec_store import FsspecStore
from bidsplan.storage.obstore_stores import ObjectStore
from bidsplan.storage.pager import Pager
from bidsplan.storage.s3.listing_xml import Page
from pages import PagedServer, Sent, by_directory

TRANSPORTS = ["obstore", "fsspec"]
SUBJECTS = [f"sub-{number:02}" for number in range(1, 25)]
FILES = {"ds/dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.8.0"}'}
for subject in SUBJECTS:
    for number in range(1, 6):
        FILES[f"ds/{subject}/anat/{subject}_run-{number}_T1w.nii.gz"] = b"%d" % number


def at(pages, number):
    return pages[number] if number < len(pages) else []


def honest(pages, asked):
    return Sent(at(pages, asked), asked + 1 < len(pages), f"t{asked}")


def once(pages, asked, names):
    """Send other names on the second page."""
    return Sent(names, True, "t1") if asked == 1 else honest(pages, asked)


REPEATED = "repeated or out of order"
AGAIN = "sends the same page again and again"
STRAY = "which was not asked for"

FAULTS = {
    "more follows and no token": (
        lambda pages, _: Sent(pages[0], True, ""),
        "not how to request it",
    ),
    "no token on the second page": (
        lambda pages, asked: honest(pages, asked)._replace(token="t" if asked == 0 else ""),
        "not how to request it",
    ),
    "the same token": (lambda pages, asked: honest(pages, asked)._replace(token="t"), AGAIN),
    "the same page and token": (lambda pages, _: Sent(pages[0], True, "t"), AGAIN),
    "tokens in a circle": (
        lambda pages, asked: honest(pages, asked)._replace(token=f"t{asked % 2}", more=True),
        AGAIN,
    ),
    "the same page and another token": (
        lambda pages, asked: Sent(pages[0], True, f"t{asked}"),
        REPEATED,
    ),
    "a page twice": (lambda pages, asked: honest([*pages[:2], *pages[1:]], asked), REPEATED),
    "a name on two pages": (
        lambda pages, asked: once(pages, asked, [pages[0][-1], *pages[1]]),
        REPEATED,
    ),
    "a name twice on a page": (
        lambda pages, asked: once(pages, asked, [pages[1][0], *pages[1]]),
        REPEATED,
    ),
    "pages from last to first": (lambda pages, asked: honest(pages[::-1], asked), REPEATED),
    "pages changed over": (
        lambda pages, asked: honest([pages[1], pages[0], *pages[2:]], asked),
        REPEATED,
    ),
    "names from last to first": (
        lambda pages, asked: honest([names[::-1] for names in pages], asked),
        REPEATED,
    ),
    "keys of another prefix": (
        lambda pages, asked: once(pages, asked, [*pages[1], "dt/stray.txt"]),
        STRAY,
    ),
    "directories of another prefix": (
        lambda pages, asked: once(pages, asked, [*pages[1], "dt/sub-25/"]),
        STRAY,
    ),
    "empty pages without end": (lambda _, asked: Sent([], True, f"t{asked}"), "empty pages"),
}

LISTINGS = {
    "children": (lambda store: store.children("ds/"), lambda query: "delimiter" in query),
    "list": (lambda store: list(store.list("ds/")), lambda _: True),
    "list after": (lambda store: list(store.list_after("ds/", "ds/sub-01.")), lambda _: True),
    "versions": (lambda store: list(store.versions("ds/sub-01/anat/")), lambda _: True),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_listing_is_taken_for_whole_that_is_not(fault, listing, transport):
    change, message = FAULTS[fault]
    call, of = LISTINGS[listing]
    with PagedServer(FILES, change, of=of) as server:
        access = Access(endpoint_url=server.url, transport=Transport(transport))
        with (
            open_store("s3://b", access=access) as store,
            pytest.raises(ListingError, match=message) as caught,
        ):
            call(store)
    assert str(caught.value).startswith("listing s3://b/ds/")
    assert server.url in str(caught.value)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("listing", LISTINGS)
def test_pages_that_are_whole_pass(listing, transport):
    call, _ = LISTINGS[listing]
    with PagedServer(FILES, honest) as server:
        access = Access(endpoint_url=server.url, transport=Transport(transport))
        with open_store("s3://b", access=access) as store:
            found = call(store)
    keys = sorted(FILES)
    if listing == "children":
        assert [item.key for item in found.objects] == keys[:1]
        assert list(found.directories) == [f"ds/{subject}/" for subject in SUBJECTS]
    else:
        wanted = {"list": keys, "list after": keys[1:], "versions": keys[1:6]}[listing]
        assert [item.key for item in found] == wanted


def manifest(folder, study="s3://b/ds", more=""):
    (folder / "m.yaml").write_text(
        f"manifest_version: 1\nstudy: {{id: x, url: '{study}'}}\n{more}", encoding="utf-8"
    )


def compiled(ask, folder, server, *options):
    """Compile a manifest; gives the exit code, the planned paths or None, and the messages."""
    code, _, said = ask("compile", "m.yaml", "--endpoint-url", server.url, *options)
    path = folder / "m.plan.jsonl"
    return code, sorted(e.path for e in read_plan(path).entries) if path.exists() else None, said


DERIVED = {
    **FILES,
    "ds/derivatives/p/dataset_description.json": b'{"Name": "p", "BIDSVersion": "1.8.0"}',
    **{
        f"ds/derivatives/p/{subject}/anat/{subject}_desc-{number}_T1w.nii.gz": b"d"
        for subject in SUBJECTS
        for number in range(4)
    },
}
LOOPS = {
    "the study's root": ("", lambda q: q["prefix"] == "ds/" and "delimiter" in q),
    "a subject": ("", lambda q: q["prefix"].startswith("ds/sub-") and "versions" not in q),
    "subjects listed together": ("", lambda q: q["prefix"] == "ds/" and "delimiter" not in q),
    "a derivative's root": (
        "derivatives: {p: {}}\n",
        lambda q: q["prefix"] == "ds/derivatives/p/" and "delimiter" in q,
    ),
    "a derivative's subject": (
        "derivatives: {p: {}}\n",
        lambda q: q["prefix"].startswith("ds/derivatives/p/") and "delimiter" not in q,
    ),
    "versions": ("pinned", lambda q: "versions" in q),
}
BROKEN = ["more follows and no token", "the same token", "pages changed over", "a page twice"]


# Both transports list by the same code.
CASES = [
    *((fault, "obstore") for fault in [*BROKEN, "keys of another prefix"]),
    ("a page twice", "fsspec"),
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("fault", "transport"), CASES)
def test_no_plan_is_made_of_a_listing_that_is_not_whole(fault, loop, transport, ask_here, tmp_path):
    change, message = FAULTS[fault]
    more, of = LOOPS[loop]
    manifest(tmp_path, more=more if more != "pinned" else "")
    if more == "pinned":
        path = tmp_path / "m.yaml"
        path.write_text(path.read_text().replace("id: x", "id: x, versions: pinned"))
    with PagedServer(DERIVED, change, of=of) as server:
        # One connection at a time lists many directories together.
        code, paths, said = compiled(
            ask_here, tmp_path, server, "--transport", transport, "--jobs", "1"
        )
        assert any(map(of, server.queries))
    assert (code, paths) == (1, None)
    place = r"m\.yaml:\d: [\w.]+"
    assert re.search(rf"error: {place}: listing s3://b/ds/.*{message}.*{server.url}", said)


BESIDE = FILES | {f"ds/{subject}.html": b"report" for subject in SUBJECTS}
PLANNED = sorted(key.removeprefix("ds/") for key in FILES)
OLD = {
    "it answers as it knows": {"knows": 1},
    "it names no marker": {"knows": 1, "next_marker": False},
    "it refuses the request": {"knows": "NotImplemented"},
    "it refuses an argument": {"knows": "InvalidArgument", "next_marker": False},
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("server", OLD.values(), ids=OLD)
def test_a_server_that_knows_only_version_1_is_listed_by_it(server, transport, ask_here, tmp_path):
    manifest(tmp_path)
    options = ("--transport", transport, "--jobs", "1", "--debug")
    with PagedServer(BESIDE, **server) as served:
        code, paths, said = compiled(ask_here, tmp_path, served, *options)
        modern = [query for query in served.queries if "list-type" in query]
    assert (code, paths) == (0, PLANNED)
    assert len(modern) == 1
    [line] = [line for line in said.splitlines() if line.startswith("debug: listing s3://b/ds/")]
    assert re.search(rf"{served.url} .* ListObjectsV2.*; ListObjects is used", line)


def test_a_server_of_version_1_that_begins_again_is_an_error(ask_here, tmp_path):
    manifest(tmp_path)
    with PagedServer(FILES, lambda pages, _: Sent(pages[0], True, "t"), knows=1) as server:
        code, paths, said = compiled(ask_here, tmp_path, server)
    assert (code, paths) == (1, None)
    assert AGAIN in said


@pytest.mark.parametrize("jobs", ["1", "256"])
@pytest.mark.parametrize("files", [FILES, BESIDE], ids=["alone", "beside"])
@pytest.mark.parametrize(
    "server", [{"order": by_directory}, {"heeds_start": False}, {"order": by_directory, "page": 7}]
)
def test_whatever_order_a_server_has_no_file_is_lost(server, files, jobs, ask_here, tmp_path):
    manifest(tmp_path)
    with PagedServer(files, **server) as served:
        code, paths, _ = compiled(ask_here, tmp_path, served, "--jobs", jobs)
    assert (code, paths) == (0, PLANNED)


RECEIPTS = {f"ds/.bidsplan/receipts/{number}.jsonl": b"" for number in range(6)}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize(
    ("command", "listed"),
    [
        (["fetch"], "ds/"),
        (["fetch", "--transport", "fsspec"], "ds/"),
        (["prune", "--yes", "--all"], "ds/"),
        (["prune", "--yes"], "ds/.bidsplan/receipts/"),
        (["verify"], "ds/.bidsplan/receipts/"),
    ],
)
def test_a_destination_whose_listing_is_not_whole_is_an_error(
    command, listed, fault, s3, ask_here, tmp_path
):
    change, message = FAULTS[fault]
    for key, data in FILES.items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest(tmp_path, "ds")
    assert ask_here("compile", "m.yaml")[0] == 0
    there = FILES | RECEIPTS | {"ds/other.txt": b"not planned"}
    with PagedServer(there, change, of=lambda query: query["prefix"] == listed) as server:
        asked = [*command, "m.plan.jsonl", "s3://b/ds", "--dest-endpoint-url", server.url]
        code, _, said = ask_here(*asked)
    assert code == 1
    assert re.search(rf"error: listing s3://b/{listed}: .*{message}.*{server.url}", said)
    assert not [key for _, key in server.written if not key.startswith("ds/.bidsplan/")]


class Faulty(MemoryFileSystem):
    """Lists what is not there, or the same again."""

    cachable = False
    more: ClassVar[list[str]] = []

    def ls(self, path, detail=True, **_):
        names = [each.format(path=f"/{path.strip('/')}") for each in self.more]
        found = super().ls(path) if self.exists(path) else []
        kind = [{"name": name, "size": 0, "type": "directory"} for name in names]
        return [*found, *kind]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["/other/stray"], "'other/stray' was not asked for"),
        (["{path}/sub-1"], "'ds/sub-1' is listed 2 times"),
        (["{path}/further"], "directories in directories without end"),
    ],
)
def test_what_other_file_systems_list_is_checked_too(more, message, memory):
    memory.pipe("/ds/sub-1/a", b"1")
    files = Faulty()
    files.more = more
    store = FsspecStore("memory", "/ds", "memory://ds", files)
    with pytest.raises(ListingError, match=message):
        list(store.list())


def test_a_file_system_is_listed_from_its_root(memory):
    memory.pipe("/sub-1/anat/a", b"1")
    store = FsspecStore("memory", "memory://", "memory://", memory)
    assert [item.key for item in store.list("sub-1/")] == ["sub-1/anat/a"]


def test_markers_of_directories_are_no_fault_of_a_listing():
    inner = MemoryStore()
    for key in ("ds/sub-1", "ds/sub-1/anat/a", "ds/sub-2/b", "ds/x"):
        obstore.put(inner, key, b"1")
    store = ObjectStore("gs://b/ds", "ds", inner, inner, anonymous=True)
    assert [item.key for item in store.list("sub-2/")] == ["sub-2/b"]
    assert store.children().directories == ("sub-1/", "sub-2/")
    assert sorted(item.key for item in store.children().objects) == ["sub-1", "x"]


def test_a_marker_that_is_listed_as_an_object_too_is_no_repeated_name():
    data = (
        b"<ListBucketResult><Contents><Key>ds/sub-1/</Key><Size>0</Size></Contents>"
        b"<CommonPrefixes><Prefix>ds/sub-1/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    page = Page(data, "listing s3://b/ds/")
    Pager("listing", "ds/", "a server", delimited=True).check(page.names, 2, None)
