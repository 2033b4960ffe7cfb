"""Directories listed together have the same content as directories listed one by one."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister
from bidsplan.storage import Abilities, Access, open_store
from servers import Bucket
from stores import ListingStore

# Neighbours in every sense: prefixes of one another, with files and other directories between.
FILES = {
    "root/README": b"x",
    "root/code/sub-1/x.py": b"x",
    "root/sub-1.html": b"x",
    "root/sub-1/anat/sub-1_T1w.nii.gz": b"1",
    "root/sub-1/anat/sub-1_T1w.json": b"{}",
    "root/sub-1+a/sub-1+a_T1w.json": b"{}",
    "root/sub-10/sub-10_T1w.json": b"{}",
    "root/sub-10.html": b"x",
    "root/sub-10_T1w.html": b"x",
    "root/sub-2/sub-2_scans.tsv": b"x",
    "root/sub-20/deep/er/sub-20_T1w.json": b"{}",
    "root/sub-3/sub-3_T1w.json": b"{}",
    "root/sub-9/sub-9_T1w.json": b"{}",
    "rooted/sub-1/no.json": b"{}",
}


class Ordered(ListingStore):
    """Lists from behind a key on, as S3 does."""

    abilities = Abilities(ordered_listings=True)

    def list_after(self, prefix, after):
        return (item for item in self.list(prefix) if item.key > after)


class Forgetful(ListingStore):
    """Claims to list from behind a key on, and begins at the start."""

    abilities = Abilities(ordered_listings=True)

    def list_after(self, prefix, after):
        return self.list(prefix)


class Disorderly(Forgetful):
    """Claims to keep order, and does not."""

    def list_after(self, prefix, after):
        found = [item for item in self.list(prefix) if item.key > after]
        random.Random(len(found)).shuffle(found)
        return iter(found)


def found(store, jobs, wanted=None):
    """List a dataset's subjects, or some of its directories."""
    dataset = Dataset(store=store, root=0, prefix="root/")
    with closing(Lister(jobs, lambda _: None)) as lister:
        [survey] = lister.list_roots([dataset])
        names = wanted or [f"sub-{label}" for label in survey.subjects]
        listed = lister.directories([(dataset, name) for name in names])
    return {name: sorted(files) for name, files in zip(names, listed, strict=True)}


def expected(files, names):
    return {
        name: sorted(key.removeprefix("root/") for key in files if key.startswith(f"root/{name}/"))
        for name in names
    }


SUBJECTS = ["sub-1", "sub-1+a", "sub-10", "sub-2", "sub-20", "sub-3", "sub-9"]


@pytest.mark.parametrize("jobs", [1, 2, 3, 16])
@pytest.mark.parametrize("kind", [Ordered, Forgetful, Disorderly, ListingStore])
def test_any_storage_lists_each_directory(kind, jobs):
    store = kind("s3://x", {key: (len(data), None) for key, data in FILES.items()})
    assert found(store, jobs) == expected(FILES, SUBJECTS)


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_servers_get_fewer_requests_than_there_are_directories(bucket, proxy, request, server):
    if server == "moto":
        bucket.fill(FILES)
        access, name = Access(endpoint_url=proxy.url), bucket.name
    else:
        rclone = request.getfixturevalue("rclone")
        # Not written to its folder directly, whose listing it may cache.
        Bucket(rclone.url, "neighbours").fill(FILES)
        access, name = Access(endpoint_url=rclone.url), "neighbours"
    with open_store(f"s3://{name}", access=access) as store:
        assert found(store, 2) == expected(FILES, SUBJECTS)
    if server == "moto":
        # One for the root, and one for each of two runs.
        assert len([path for _, path in proxy.requests if "list-type=2" in path]) == 3


names = st.from_regex(r"sub-[ab+]{1,2}", fullmatch=True)


@given(
    st.dictionaries(names, st.sets(st.from_regex(r"[ab.]/?[ab]", fullmatch=True)), min_size=1),
    st.sets(st.from_regex(r"(sub-)?[ab+]{1,2}\.[ab]", fullmatch=True)),
    st.integers(1, 3),
    st.data(),
)
def test_some_of_many_directories_are_listed_correctly(directories, beside, jobs, data):
    keys = [f"root/{name}/{path}" for name, paths in directories.items() for path in paths]
    keys += [f"root/{name}" for name in beside]
    wanted = data.draw(st.lists(st.sampled_from(sorted(directories)), min_size=1, unique=True))
    store = Ordered("s3://x", dict.fromkeys(keys, (1, None)))
    safe = [key for key in keys if "/./" not in key]
    both = {key for key in safe if any(other.startswith(f"{key}/") for other in safe)}
    assert found(store, jobs, wanted) == expected(set(safe) - both, wanted)
