"""Entries in a temporary file are those that were added, in the order of their paths."""

from __future__ import annotations

import copy
import gc
import pickle
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bidsplan
from bidsplan.compile.survey import shared
from bidsplan.errors import DestinationError
from bidsplan.manifest import Manifest
from bidsplan.plan import Entry, Plan, clashes, spool
from bidsplan.plan.file import read_plan, write_plan
from bidsplan.plan.split import split_by_subject
from bidsplan.plan.spool import EntrySorter, SpooledEntries, collect
from stores import Listings

HEADER = {"manifest_sha256": "0" * 64, "study": "x", "roots": [], "subjects": []}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 5)
    monkeypatch.setattr(spool, "BLOCK", 3)


def made(path, size=1):
    return Entry(path=path, size=size, reason="selected", content="x" * size)


def many(number):
    return [made(f"sub-{index:03}/T1w.json") for index in range(number)]


names = st.lists(st.sampled_from(["a", "b", "b/c", "b.c", "é", "sub-1/x", "sub-10/x"]), max_size=40)


@given(names, st.integers(1, 7), st.booleans())
def test_entries_are_sorted_and_equal_paths_keep_their_order(paths, together, spooled):
    entries = [made(path, number) for number, path in enumerate(paths)]
    sorter = EntrySorter(spool=spooled)
    for start in range(0, len(entries), together):
        sorter.add(entries[start : start + together])
    found = [entry for some in sorter.sorted() for entry in some]
    assert found == sorted(entries, key=lambda entry: entry.path)


@pytest.mark.parametrize("number", [0, 1, 5, 6, 9, 20])
def test_they_are_a_sequence_wherever_they_are(number):
    entries = many(number)
    found = collect(iter(entries), spool=True)
    assert isinstance(found, SpooledEntries) == (number > 5)
    assert (len(found), list(found)) == (number, entries)
    assert [found[index] for index in range(-number, number)] == entries * 2
    assert list(found[1:9:2]) == entries[1:9:2]
    with pytest.raises(IndexError):
        found[number]


def test_plans_are_equal_wherever_their_entries_are():
    entries, fewer = many(20), many(19)
    memory, spooled, again = (
        Plan.build(some, **HEADER)
        for some in (entries, collect(entries, spool=True), collect(entries, spool=True))
    )
    assert memory == spooled == again == memory
    assert collect(entries, spool=True) != collect(fewer, spool=True)
    assert collect(entries, spool=True) != tuple(entries[:-1] + fewer[:1])
    assert hash(spooled) == hash(memory)
    for made_again in (copy.deepcopy(spooled), pickle.loads(pickle.dumps(spooled))):
        assert made_again == spooled
        assert isinstance(made_again.entries, tuple)


def test_they_are_read_from_many_threads_at_once():
    entries = many(300)
    found = collect(entries, spool=True)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(found.__getitem__, [*range(300)] * 5)) == entries * 5
        assert all(some == entries for some in pool.map(list, [found] * 20))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_plan_is_written_alike_wherever_its_entries_are(tmp_path, suffix):
    entries = many(500)
    plans = [Plan.build(some, **HEADER) for some in (entries, collect(entries, spool=True))]
    paths = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for plan, path in zip(plans, paths, strict=True):
        write_plan(plan, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [list(plan.lines()) for plan in plans[1:]] == [list(plans[0].lines())]
    assert read_plan(paths[1]) == plans[0]


def test_the_file_is_gone_with_the_entries(monkeypatch, tmp_path, recwarn):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = collect(many(100), spool=True)
    assert len(list(found)) == 100
    del found
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert not recwarn.list


LITTLE = 50


@contextmanager
def full_disk():
    """Have no file become larger than a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_said_once_and_with_what_to_do(tmp_path):
    header = {**HEADER, "subjects": ["001", "002"]}
    plan = Plan.build(many(5), **header)
    manifest = Manifest.model_validate(
        {"manifest_version": 1, "study": {"id": "x", "url": "s3://b/x"}}
    )
    listing = {f"sub-{number}/anat/sub-{number}_T1w.nii": (1, None) for number in range(9)}, {}

    def share_listings():
        with bidsplan.SharedListings() as listings:
            opener = Listings({"s3://b/x": listing})
            bidsplan.compile_manifest(manifest, opener=opener, listings=listings)

    def split():
        list(split_by_subject(plan, tmp_path / "parts", source=tmp_path / "x.plan.jsonl"))

    with full_disk(), mock.patch.object(shared, "_IN_MEMORY", 1):
        for work in (share_listings, split, lambda: collect(many(20), spool=True)):
            with pytest.raises(DestinationError, match=r"temporary file can't be .*TMPDIR"):
                work()
            gc.collect()


def test_a_directory_without_room_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(DestinationError, match=r"a temporary file can't be written.*TMPDIR"):
        collect(many(100), spool=True)


@given(st.lists(st.sampled_from("aA/bBéÉß"), max_size=6, unique=True))
def test_clashes_are_those_of_each_pair(paths):
    entries = [made(path) for path in sorted(paths)]
    first_of = {}
    expected = []
    for entry in entries:
        first = first_of.setdefault(entry.path.casefold(), entry)
        if first is not entry:
            expected.append((first, entry))
    assert list(clashes(entries)) == expected
