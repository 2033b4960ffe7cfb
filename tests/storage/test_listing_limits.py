"""Listings without end, or with what can't be: bounded in time and memory, and refused by name."""

from __future__ import annotations

import itertools
import random
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bidsplan.compile.compiler import compile_manifest
from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister, clean
from bidsplan.errors import PlanError, StorageError
from bidsplan.manifest import Manifest
from bidsplan.storage import Abilities, Access, Children, Object, Transport, open_store
from stores import Listings, ListingStore

URL = "s3://bucket/study"


class Wide(ListingStore):
    """A root of very many directories, each with objects without end."""

    abilities = Abilities(ordered_listings=True)

    def __init__(self, directories):
        super().__init__(URL, {})
        self.found = Children((), tuple(f"sub-{number:06}/" for number in range(directories)))

    def children(self, prefix=""):
        return self.found

    def list(self, prefix=""):
        return (Object(f"{prefix}x{number:09}", 1) for number in itertools.count())

    def list_after(self, prefix, after):
        return self.list(f"{after[:-1]}/")


def survey(store, **limits):
    with closing(Lister(2, lambda _: None, **limits)) as lister:
        dataset = Dataset(store=store, root=0)
        [found] = lister.list_roots([dataset])
        lister.directories([(dataset, f"sub-{label}") for label in found.subjects])
        return found


# Comparing each with each would take a minute.
@pytest.mark.timeout(8)
def test_a_hundred_thousand_directories_are_surveyed_at_once():
    with closing(Lister(2, lambda _: None)) as lister:
        [found] = lister.list_roots([Dataset(store=Wide(100_000), root=0)])
    assert len(found.subjects) == 100_000


def test_more_directories_than_any_study_has_are_refused():
    with pytest.raises(StorageError, match="has 21 directories, more than 20; check its URL"):
        survey(Wide(21), most_directories=20)


@pytest.mark.parametrize("directories", [1, 40])
def test_a_listing_without_end_ends_at_the_limit(directories):
    with pytest.raises(StorageError, match="more than 9,000 objects and directories are listed"):
        survey(Wide(directories), most=9000)


@contextmanager
def serving(page, transport=Transport.AUTO):
    """Serve pages of a listing, by the continuation token that is asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self):
            asked.append(self.path)
            body = f"<ListBucketResult>{page(len(asked))}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    access = Access(endpoint_url=endpoint, transport=transport)
    with open_store("s3://bucket/x", access=access) as store:
        yield store, asked
    server.shutdown()
    server.server_close()


MORE = "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>"


TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_does_not_go_on_is_not_asked_for_ever(transport):
    item = "<Contents><Key>x/a</Key><Size>1</Size></Contents>"
    with serving(lambda _: MORE.format("same") + item, transport) as (store, asked):
        for listing in (store.children, lambda: list(store.list())):
            asked.clear()
            with pytest.raises(StorageError, match="sends the same page again and again"):
                listing()
            assert len(asked) == 2


def test_empty_pages_without_end_are_not_read_for_ever():
    with (
        serving(MORE.format) as (store, asked),
        pytest.raises(StorageError, match=r"listing s3://bucket/x/: .* empty pages without end"),
    ):
        store.children()
    assert len(asked) <= 1001


ODD = {
    "no size": ("<Contents><Key>x/a</Key></Contents>", [Object("a", 0)]),
    "no key": ("<Contents><Size>1</Size></Contents>", []),
    "no name": ("<CommonPrefixes></CommonPrefixes>", []),
    "a size below zero": ("<Contents><Key>x/a</Key><Size>-1</Size></Contents>", None),
    "a size of no file": (f"<Contents><Key>x/a</Key><Size>{2**63}</Size></Contents>", None),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("item", "expected"), ODD.values(), ids=ODD)
def test_what_an_item_lacks_is_done_without_and_what_can_not_be_is_refused(
    item, expected, transport
):
    with serving(lambda _: f"<IsTruncated>false</IsTruncated>{item}", transport) as (store, _):
        if expected is None:
            with pytest.raises(StorageError, match=r"listing s3://bucket/x/?: an object is said"):
                list(store.list())
        else:
            assert list(store.list()) == expected
            assert list(store.children().objects) == expected


def test_a_listing_that_contradicts_itself_is_refused_alike_in_any_order():
    objects = [Object("a", 1, "x"), Object("b", 2, "y"), Object("b", 3, "z"), Object("c", 1, "x")]
    said = set()
    for seed in range(6):
        random.Random(seed).shuffle(objects)
        with pytest.raises(StorageError) as caught:
            clean(objects, "", "s3://bucket/x")
        said.add(str(caught.value))
    [message] = said
    assert message.startswith("s3://bucket/x: the listing has the key 'b' twice, with 2 bytes")


def test_what_is_only_listed_again_is_there_once():
    objects = [Object("a", 1, "x"), Object("b", 2, "y"), Object("a", 1, "x")]
    files, refused = clean(objects, "", "s3://bucket/x")
    assert (list(files), refused) == (["a", "b"], [])


def test_a_directory_that_is_listed_again_is_there_once():
    store = Wide(0)
    store.found = Children((), ("sub-1/", "sub-1/", "sub-2/"))
    with closing(Lister(2, lambda _: None)) as lister:
        [found] = lister.list_roots([Dataset(store=store, root=0)])
    assert found.directories == ("sub-1", "sub-2")
    assert list(found.subjects) == ["1", "2"]


LONG = {
    "a tag": {"sub-1/anat/sub-1_T1w.nii": (1, "x" * 1025)},
    "a key": {f"sub-1/anat/{'deep/' * 900}sub-1_T1w.nii": (1, None)},
}


@pytest.mark.parametrize("listing", LONG.values(), ids=LONG)
def test_what_is_too_long_for_a_plan_is_refused_when_it_is_made(listing):
    manifest = Manifest.model_validate({"manifest_version": 1, "study": {"id": "x", "url": URL}})
    with pytest.raises(PlanError, match=r"the file 'sub-1/anat/.* can't be in a plan: Expected"):
        compile_manifest(manifest, opener=Listings({URL: (listing, {})}))


def test_sizes_that_no_plan_can_add_up_are_refused_when_it_is_made():
    listing = {f"sub-{number}/anat/sub-{number}_T1w.nii": (2**62, None) for number in (1, 2)}
    manifest = Manifest.model_validate({"manifest_version": 1, "study": {"id": "x", "url": URL}})
    with pytest.raises(PlanError, match=r"9,223,372,036,854,.* in all, more than a plan can say"):
        compile_manifest(manifest, opener=Listings({URL: (listing, {})}))
