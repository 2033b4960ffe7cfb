"""Listings are whole or an error: pages that are cut, repeated, reordered or of something else."""

from __future__ import annotations

import re

import pytest

from bidsplan.errors import ListingError
from bidsplan.plan.file import read_plan
from bidsplan.storage import Access, Transport, open_store
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
    "more follows and no token": (lambda pages, _: Sent(pages[0], True, ""), "not from where on"),
    "no token on the second page": (
        lambda pages, asked: honest(pages, asked)._replace(token="t" if asked == 0 else ""),
        "not from where on",
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


@pytest.mark.timeout(10)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("fault", [*BROKEN, "keys of another prefix"])
def test_no_plan_is_made_of_a_listing_that_is_not_whole(
    fault, loop, transport, ask_here, tmp_path
):
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
    assert re.search(rf"error: listing s3://b/ds/.*{message}.*{server.url}", said)
