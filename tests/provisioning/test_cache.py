"""The cache of datasets: one fetch for all, offline without a request, and no damage unnoticed."""

from __future__ import annotations

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    FetchFailed,
    MissingFileError,
    StalePlanError,
    UnreachableError,
)
from bidsplan.plan.file import default_plan_path, read_plan, write_plan
from bidsplan.provisioning.cache import DatasetCache, is_unavailable
from bidsplan.provisioning.seal import changed_files
from plans import BIG, local_plan, plan_over, tree, write_files
from servers import HOST, Rule, free_port

MANIFEST = "manifest_version: 1\nstudy: {{id: x, url: {url}}}\n{more}"
STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "README": b"hello",
    "sub-1/anat/sub-1_T1w.nii.gz": BIG,
    "sub-2/anat/sub-2_T1w.nii.gz": b"small",
}
IMAGE = "sub-2/anat/sub-2_T1w.nii.gz"


@pytest.fixture
def cache(tmp_path):
    return DatasetCache(tmp_path / "cache")


@pytest.fixture
def offline(tmp_path):
    return DatasetCache(tmp_path / "cache", offline=True)


@pytest.fixture
def study(bucket, counted, tmp_path):
    """Give the manifest of a study in storage, whose requests are counted."""
    bucket.fill({f"x/{key}": data for key, data in STUDY.items()})
    path = tmp_path / "study.yaml"
    path.write_text(MANIFEST.format(url=f"s3://{bucket.name}/x", more=""))
    return path


@pytest.fixture
def plan(bucket, study):
    """Give the path of a plan of the study."""
    path = default_plan_path(study)
    write_plan(plan_over(f"s3://{bucket.name}/x", STUDY), path)
    return path


def keys(proxy):
    """Name the objects that were read, or the listing."""
    found = [path.partition("?") for _, path in proxy.requests]
    proxy.requests.clear()
    return sorted("list" if "list-type" in query else path[1:] for path, _, query in found)


def below(bucket, *paths):
    return sorted(f"{bucket.name}/x/{path}" for path in paths)


def images(paths):
    """Leave out what is read to compile, too."""
    return sorted(path for path in paths if path.endswith(".nii.gz"))


def overwrite(path, data, *, keep_times=True):
    """Write into a file in place, as careless code does."""
    found = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_manifest_without_a_plan_is_compiled_and_fetched_once(cache, study, bucket, counted):
    provided = cache.provide(study)
    assert tree(provided.folder) == STUDY
    assert (provided.files, provided.fetched, provided.notes) == (4, 4, ())
    requests = keys(counted)
    assert images(requests) == below(bucket, *images(STUDY))
    assert "list" in requests
    assert not default_plan_path(study).exists()
    again = cache.provide(study)
    assert (again.folder, again.fetched) == (provided.folder, 0)
    assert keys(counted) == []


def test_a_plan_beside_the_manifest_is_used_and_nothing_is_listed(
    cache, study, bucket, counted, tmp_path
):
    compiled = cache.provide(study)
    [plan] = (tmp_path / "cache" / "sources").rglob("*.jsonl")
    shutil.copy(plan, default_plan_path(study))
    assert cache.provide(study) == cache.provide(default_plan_path(study))
    keys(counted)
    elsewhere = DatasetCache(tmp_path / "other")
    assert tree(elsewhere.provide(study).folder) == tree(compiled.folder)
    assert keys(counted) == below(bucket, *STUDY)


def test_a_plan_that_is_not_the_manifests_is_an_error(cache, study, plan):
    with pytest.raises(StalePlanError, match="bidsplan compile"):
        cache.provide(study)


def test_a_changed_manifest_is_compiled_anew(cache, study, bucket):
    whole = cache.provide(study)
    study.write_text(study.read_text() + 'subjects: ["2"]\n')
    part = cache.provide(study)
    assert part.folder != whole.folder
    assert set(STUDY) - set(tree(part.folder)) == {"sub-1/anat/sub-1_T1w.nii.gz"}
    assert tree(whole.folder) == STUDY


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: overwrite(path, b"SMALL"),
        lambda path: overwrite(path, b"SMALL", keep_times=False),
        lambda path: overwrite(path, b"sm"),
        lambda path: path.unlink(),
        lambda path: shutil.rmtree(path.parent),
    ],
    ids=["other bytes of the same time", "other bytes", "truncated", "deleted", "no directory"],
)
def test_a_damaged_file_is_noticed_and_fetched_again(cache, offline, plan, bucket, counted, damage):
    provided = cache.provide(plan)
    keys(counted)
    damage(provided.folder / IMAGE)
    assert changed_files(provided.folder) == [IMAGE]
    with pytest.raises(MissingFileError, match=f"1 of 4 files .* {IMAGE}"):
        offline.provide(plan)
    assert keys(counted) == []
    restored = cache.provide(plan)
    assert (restored.fetched, restored.notes) == (1, (f"restored {IMAGE}",))
    assert set(keys(counted)) == set(below(bucket, IMAGE))
    assert tree(provided.folder) == STUDY
    assert cache.provide(plan).notes == ()
    assert keys(counted) == []


def test_what_is_not_planned_is_removed(cache, offline, plan, counted, tmp_path):
    folder = cache.provide(plan).folder
    keys(counted)
    outside = tmp_path / "outside"
    write_files(outside, {"mine": b"mine"})
    write_files(folder, {"sub-1/new\x1b[31m": b"new"})
    (folder / "link").symlink_to(outside)
    assert changed_files(folder) == ["link", "sub-1/new\\x1b[31m"]
    removed = ("removed link, sub-1/new\\x1b[31m, not in the plan",)
    assert offline.provide(plan).notes == removed
    assert tree(folder) == STUDY
    assert (outside / "mine").read_bytes() == b"mine"
    assert keys(counted) == []


def test_hidden_files_and_empty_directories_are_removed_too(cache, offline, plan):
    folder = cache.provide(plan).folder
    write_files(folder, {".bidsignore": b"*", "sub-99/.cache/x": b"x"})
    (folder / "sub-98" / "anat").mkdir(parents=True)
    [note] = offline.provide(plan).notes
    assert all(name in note for name in (".bidsignore", "sub-98", "sub-99"))
    assert not [name for name in (".bidsignore", "sub-98", "sub-99") if (folder / name).exists()]
    assert offline.provide(plan).notes == ()


def test_files_are_read_only_and_a_copy_can_be_written(cache, plan, tmp_path):
    folder = cache.provide(plan).folder
    modes = {stat.S_IMODE((folder / path).stat().st_mode) & 0o222 for path in STUDY}
    assert modes == {0}
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert (copy / IMAGE).stat().st_mode & 0o200


def test_a_cache_that_was_copied_is_read_once_and_not_fetched(
    cache, offline, plan, counted, tmp_path
):
    folder = cache.provide(plan).folder
    keys(counted)
    shutil.copytree(tmp_path / "cache", tmp_path / "copy")
    shutil.rmtree(tmp_path / "cache")
    shutil.move(tmp_path / "copy", tmp_path / "cache")
    assert changed_files(folder) == sorted(STUDY)
    provided = offline.provide(plan)
    assert (provided.fetched, provided.notes) == (0, ())
    assert changed_files(folder) == []
    assert keys(counted) == []


def test_offline_a_cache_that_lacks_all_says_what_to_do(offline, study, plan, counted):
    with pytest.raises(MissingFileError, match=r"4 of 4 files .*; run once with a network"):
        offline.provide(plan)
    plan.unlink()
    with pytest.raises(MissingFileError, match="there is no plan, and the cache has none"):
        offline.provide(study)
    assert keys(counted) == []


def test_many_at_once_fetch_once(study, bucket, counted, tmp_path):
    caches = [DatasetCache(tmp_path / "cache") for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda cache: cache.provide(study), caches))
    assert len({provided.folder for provided in found}) == 1
    assert sorted(provided.fetched for provided in found) == [0, 0, 0, 4]
    assert images(keys(counted)) == below(bucket, *images(STUDY))


def test_a_failure_is_not_met_again_by_others_of_the_same_run(plan, counted, tmp_path):
    counted.rules.append(Rule("status", IMAGE, status=403))
    with pytest.raises(FetchFailed) as first:
        DatasetCache(tmp_path / "cache", run="a").provide(plan)
    assert IMAGE in str(first.value)
    keys(counted)
    with pytest.raises(BidsplanError) as second:
        DatasetCache(tmp_path / "cache", run="a").provide(plan)
    assert str(second.value) == str(first.value)
    assert keys(counted) == []
    counted.rules.clear()
    assert DatasetCache(tmp_path / "cache", run="b").provide(plan).fetched == 1


def test_only_what_a_network_would_bring_is_unavailable(cache, study, plan, counted, monkeypatch):
    counted.rules.append(Rule("status", IMAGE, status=403))
    with pytest.raises(FetchFailed) as failed:
        cache.provide(plan)
    assert not is_unavailable(failed.value)
    counted.rules.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{HOST}:{free_port()}")
    with pytest.raises(FetchFailed) as failed:
        cache.provide(plan)
    assert is_unavailable(failed.value)
    plan.unlink()
    with pytest.raises(UnreachableError) as failed:
        cache.provide(study)
    assert is_unavailable(failed.value)


def test_studies_with_the_same_names_and_sizes_do_not_mix(cache, tmp_path):
    found = []
    for name, content in (("one", b"hello"), ("two", b"HELLO")):
        write_plan(local_plan(tmp_path / name, {"a.txt": content}), tmp_path / name / "p.jsonl")
        found.append(cache.provide(tmp_path / name / "p.jsonl").folder / "a.txt")
    assert [path.read_bytes() for path in found] == [b"hello", b"HELLO"]
    headers = [read_plan(tmp_path / name / "p.jsonl").header for name in ("one", "two")]
    assert headers[0].entries_sha256 == headers[1].entries_sha256


def test_a_local_source_that_changed_is_copied_again(cache, tmp_path):
    write_plan(local_plan(tmp_path, {"a.txt": b"hello"}), tmp_path / "p.jsonl")
    folder = cache.provide(tmp_path / "p.jsonl").folder
    (tmp_path / "source" / "a.txt").write_bytes(b"HELLO")
    assert cache.provide(tmp_path / "p.jsonl").folder == folder
    assert tree(folder) == {"a.txt": b"HELLO"}


def test_what_is_not_valid_in_the_cache_counts_as_nothing(cache, study, tmp_path, counted):
    folder = cache.provide(study).folder
    [slot] = (tmp_path / "cache" / "sources").iterdir()
    (slot / "failure.json").write_bytes(b"\xff{")
    (slot / "study.plan.jsonl").write_bytes(b"{}\n")
    folder.with_name("files.json").write_bytes(b"[" * 9999)
    keys(counted)
    provided = DatasetCache(tmp_path / "cache", run="a").provide(study)
    assert (provided.folder, provided.fetched) == (folder, 0)
    assert images(keys(counted)) == []


def test_a_cache_that_can_not_be_written_is_a_clear_error(cache, plan, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DestinationError, match="cache"):
        cache.provide(plan)


def test_offline_a_cache_that_can_not_be_written_is_read(cache, offline, plan, counted, tmp_path):
    folder = cache.provide(plan).folder
    shutil.rmtree(tmp_path / "cache" / "sources")
    (tmp_path / "cache" / "sources").write_text("no directory")
    folder.with_name("files.json").unlink()
    keys(counted)
    assert offline.provide(plan).folder == folder
    assert keys(counted) == []


@pytest.mark.parametrize(
    "made", [lambda path: path.mkdir(), lambda path: path.symlink_to("README")]
)
def test_what_can_not_be_replaced_is_named(cache, plan, made):
    folder = cache.provide(plan).folder
    (folder / IMAGE).unlink()
    made(folder / IMAGE)
    with pytest.raises(FetchFailed, match=f"{IMAGE}: a link or a directory exists there"):
        cache.provide(plan)
