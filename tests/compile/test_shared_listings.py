"""Manifests of one root share its listing: it is requested once, and gives the same plans."""

from __future__ import annotations

import json
import tempfile

import pytest

import bidsplan
from bidsplan.compile.survey import shared
from bidsplan.errors import SelectionError
from bidsplan.manifest import Manifest
from bidsplan.storage import Abilities, Access, Object
from bidsplan.storage.objects import ArchivedObject
from servers import Rule
from stores import ListingStore

FILES = {
    **{
        f"sub-{number:02}/{kind}/sub-{number:02}_{name}": b"x" * number
        for number in range(1, 31)
        for kind, name in (("anat", "T1w.nii.gz"), ("func", "task-x_bold.nii.gz"))
    },
    "derivatives/mriqc/sub-01/anat/sub-01_mask.nii.gz": b"m",
    "README": b"read me",
}
ANAT = {"files": {"datatypes": ["anat"]}}
FUNC = {"files": {"datatypes": ["func"]}, "derivatives": {"mriqc": {}}}


def manifest(url, rest):
    study = {"manifest_version": 1, "study": {"id": "x", "url": url}}
    return Manifest.model_validate({**study, **rest})


def listing_requests(proxy):
    return [path for method, path in proxy.requests if method == "GET" and "list-type=2" in path]


@pytest.fixture
def filled(bucket, proxy, monkeypatch):
    bucket.fill(FILES)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    return f"s3://{bucket.name}"


def test_two_manifests_of_one_root_list_it_once(filled, proxy):
    first, second = manifest(filled, ANAT), manifest(f"{filled}/", FUNC)
    alone = [bidsplan.compile_manifest(each).plan for each in (first, second)]
    separately = len(listing_requests(proxy))
    proxy.requests.clear()
    with bidsplan.SharedListings() as listings:
        one = bidsplan.compile_manifest(first, listings=listings).plan
        after_one = len(listing_requests(proxy))
        two = bidsplan.compile_manifest(second, listings=listings).plan
    assert [one, two] == alone
    # The pipeline's root, and its subject, are all that the second one lists.
    pipeline = [path for path in listing_requests(proxy)[after_one:] if "mriqc" not in path]
    assert pipeline == []
    assert len(listing_requests(proxy)) < separately
    assert len(set(listing_requests(proxy))) == len(listing_requests(proxy))


def test_the_command_lists_a_root_once_for_all_manifests(filled, proxy, ask, tmp_path):
    for name, rest in (("a", ANAT), ("b", ANAT | {"subjects": ["01"]}), ("c", ANAT)):
        text = json.dumps({"manifest_version": 1, "study": {"id": name, "url": filled}, **rest})
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    assert ask("compile", str(tmp_path / "a.yaml"))[0] == 0
    once = len(listing_requests(proxy))
    proxy.requests.clear()
    files = [str(tmp_path / f"{name}.yaml") for name in "abc"]
    code, out, _ = ask("compile", *files)
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == [
        f"wrote {tmp_path}/{name}.plan.jsonl" for name in "abc"
    ]
    assert len(listing_requests(proxy)) == once
    proxy.requests.clear()
    assert ask("compile", "--check", *files)[0] == 0
    assert len(listing_requests(proxy)) == once
    proxy.requests.clear()
    # Each subject is in one of them alone, and both have the same listing.
    assert ask("diff", files[0], files[1])[0] == 1
    assert len(listing_requests(proxy)) == once


def test_requirements_and_selections_list_a_root_once(filled, proxy):
    bidsplan.compile_manifest(manifest(filled, ANAT))
    once = len(listing_requests(proxy))
    proxy.requests.clear()
    require = ANAT | {"subjects": {"require": [{"datatypes": ["func"]}]}}
    assert len(bidsplan.compile_manifest(manifest(filled, require)).plan.header.subjects) == 30
    assert len(listing_requests(proxy)) == once


def test_other_credentials_do_not_see_what_is_shared(filled, proxy):
    with bidsplan.SharedListings() as listings:
        model = manifest(filled, ANAT)
        bidsplan.compile_manifest(model, listings=listings)
        proxy.rules.append(Rule("status", "list-type=2", status=403, code="AccessDenied"))
        bidsplan.compile_manifest(model, listings=listings)
        with pytest.raises(bidsplan.StorageError):
            bidsplan.compile_manifest(model, access=Access(anonymous=False), listings=listings)


class Archive(ListingStore):
    """Has objects of every kind, and keys that can't become files."""

    def __init__(self):
        super().__init__("s3://bucket/x", {})
        self._objects = [
            ArchivedObject("sub-1/anat/sub-1_T1w.nii.gz", 5, "tag"),
            Object("sub-1/anat/sub-1_T2w.nii.gz", 6, None, "version"),
            Object("sub-1/a\\b", 7, "x"),
            Object("sub-1/é/“”", 2**62, "y"),
        ]


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_what_is_shared_is_all_of_what_was_listed(monkeypatch, memory):
    monkeypatch.setattr(shared, "_IN_MEMORY", memory)
    store = Archive()
    model = manifest(store.url, {"files": {"include": ["**/*"]}})
    alone = bidsplan.compile_manifest(model, opener=lambda *_, **__: store)

    def opener(*_, **__):
        return store

    with bidsplan.SharedListings() as listings:
        both = [
            bidsplan.compile_manifest(model, opener=opener, listings=listings) for _ in range(2)
        ]
    assert [found.plan for found in both] == [alone.plan] * 2
    assert [found.warnings for found in both] == [alone.warnings] * 2
    assert any("archived" in str(problem) for problem in alone.warnings)
    assert any("backslash" in str(problem) for problem in alone.warnings)


def test_several_manifests_have_no_output_of_their_own(ask, tmp_path):
    code, _, err = ask("compile", "a.yaml", "b.yaml", "-o", str(tmp_path / "x.jsonl"))
    assert code == 2
    assert "-o names the plan of one manifest, and there are 2" in err


def test_the_others_are_compiled_if_one_fails(filled, ask, tmp_path):
    for name, rest in (("bad", {"subjects": ["nobody"]}), ("good", ANAT)):
        text = json.dumps({"manifest_version": 1, "study": {"id": name, "url": filled}, **rest})
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    code, out, err = ask("compile", *(str(tmp_path / f"{name}.yaml") for name in ("bad", "good")))
    assert code == SelectionError.exit_code
    assert "bad.yaml" in err
    assert "nobody" in err
    assert out.startswith(f"wrote {tmp_path}/good.plan.jsonl")
    assert not (tmp_path / "bad.plan.jsonl").exists()


class Ordered(ListingStore):
    """Lists from behind a key on, and counts the objects that it has given."""

    abilities = Abilities(ordered_listings=True)
    given = 0

    def list(self, prefix=""):
        for item in super().list(prefix):
            self.given += 1
            yield item

    def list_after(self, prefix, after):
        for item in super().list(prefix):
            if item.key > after:
                self.given += 1
                yield item


def test_temporary_files_are_gone_afterwards(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shared, "_IN_MEMORY", 1)
    store = Ordered("s3://bucket/x", {key: (len(data), None) for key, data in FILES.items()})
    with bidsplan.SharedListings() as listings:
        model = manifest(store.url, ANAT)
        bidsplan.compile_manifest(model, opener=lambda *_, **__: store, listings=listings)
    assert list(tmp_path.iterdir()) == []
