"""Two destinations of one content cache: what it has is not fetched, and it is never trusted."""

from __future__ import annotations

import hashlib
import os
import random
import stat

import pytest

from bidsplan import CacheLink, CacheOptions
from bidsplan.errors import UsageError
from bidsplan.events import Copied, Failed, Finished, Warned
from bidsplan.plan import Entry, Plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.progress import Counts
from bidsplan.storage import Access
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.verification import verify
from caches import contents, damaged, proved_plan, unfinished
from plans import failures, fetch, finished, leftovers, md5, plan_over, tree
from servers import Bucket, Rule

BIG = random.Random(15).randbytes(33 << 20)
"""So large that it comes by ranges."""

MIDDLE = BIG[: 5 << 20]
PARTS = BIG[: 11 << 20]
FILES = {
    **{f"sub-{n:02}/anat/sub-{n:02}_T1w.json": b"{}" * n for n in range(12)},
    "sub-01/anat/sub-01_T1w.nii.gz": MIDDLE,
    "sub-02/anat/sub-02_T1w.nii.gz": BIG,
    "sub-03/anat/sub-03_T1w.nii.gz": PARTS,
}
LARGE = "sub-03/anat/sub-03_T1w.nii.gz"


@pytest.fixture(scope="module")
def study(moto):
    """Give a plan over a bucket whose one object was uploaded in parts."""
    bucket = Bucket(moto.url, f"study{os.getpid()}")
    bucket.fill({key: data for key, data in FILES.items() if key != LARGE})
    tag = bucket.put_in_parts(LARGE, PARTS, 5 << 20)
    plan = plan_over(f"s3://{bucket.name}", FILES)
    entries = [
        Entry(path=e.path, key=e.key, size=e.size, reason=e.reason, etag=tag)
        if e.path == LARGE
        else e
        for e in plan.entries
    ]
    return Plan.rebuild(plan.header, entries)


@pytest.fixture
def access(proxy):
    return Access(endpoint_url=proxy.url, anonymous=True)


def counts_of(events):
    counts = Counts()
    for event in events:
        counts.add(event)
    return counts


def read(proxy):
    """Name the objects whose content was asked for."""
    return {path.split("?")[0] for method, path in proxy.requests if method == "GET"}


def warnings(events):
    return [str(event.problem) for event in events if isinstance(event, Warned)]


def test_the_second_destination_makes_no_request_for_content(study, proxy, access, tmp_path):
    first = fetch(study, tmp_path / "a", access=access, cache=tmp_path / "cache")
    assert len(read(proxy)) == len(FILES)
    assert counts_of(first).cached == 0
    assert len(contents(tmp_path / "cache")) == len(FILES)
    assert damaged(tmp_path / "cache") == unfinished(tmp_path / "cache") == []
    proxy.requests.clear()
    events = fetch(study, tmp_path / "b", access=access, cache=tmp_path / "cache")
    assert proxy.requests == []
    counts = counts_of(events)
    assert (counts.bytes, counts.cached) == (0, len(FILES))
    assert counts.cached_bytes == counts.reached == sum(map(len, FILES.values()))
    assert counts.proofs == {CheckMethod.ETAG_MD5: 14, CheckMethod.MULTIPART: 1}
    assert tree(tmp_path / "a") == tree(tmp_path / "b") == FILES
    assert leftovers(tmp_path / "b") == []
    assert not failures(verify(study, tmp_path / "b", access=access))
    # Receipts are as of any fetch: a third run looks at nothing but the destination.
    again = fetch(study, tmp_path / "b", access=access, cache=tmp_path / "cache")
    assert counts_of(again).cached == 0
    assert {action.value for action, _ in finished(again).values()} == {"keep"}


def test_without_a_cache_nothing_is_kept(study, access, tmp_path):
    fetch(study, tmp_path / "a", access=access)
    assert not (tmp_path / "cache").exists()


def spoil(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def spoil_secretly(path):
    before = path.stat()
    spoil(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"?")


def link_elsewhere(path):
    moved = path.parents[3] / "moved"
    path.replace(moved)
    path.symlink_to(moved)


def link_nowhere(path):
    path.unlink()
    path.symlink_to("/nowhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def directory(path):
    path.unlink()
    path.mkdir()


POISONS = [spoil, spoil_secretly, cut, lengthen, link_elsewhere, link_nowhere, pipe, directory]


CASES = [(poison, "sub-02/anat/sub-02_T1w.json") for poison in POISONS]
CASES += [(poison, LARGE) for poison in (spoil_secretly, lengthen, pipe)]


@pytest.mark.parametrize(("poison", "path"), CASES)
def test_a_poisoned_file_is_noticed_removed_and_fetched(
    study, proxy, access, tmp_path, poison, path
):
    part = Plan.rebuild(study.header, [e for e in study.entries if e.path.startswith(path[:6])])
    wanted = {e.path: FILES[e.path] for e in part.entries}
    entry = next(e for e in part.entries if e.path == path)
    cache = tmp_path / "cache"
    fetch(part, tmp_path / "a", access=access, cache=cache)
    found = next(file for name, file in contents(cache).items() if entry.etag in name)
    poison(found)
    proxy.requests.clear()
    events = fetch(part, tmp_path / "b", access=access, cache=cache)
    assert not failures(events)
    assert tree(tmp_path / "b") == wanted
    assert {each.rpartition("/")[2] for each in read(proxy)} == {path.rpartition("/")[2]}
    counts = counts_of(events)
    assert counts.cached == len(wanted) - 1
    assert counts.reached == sum(map(len, wanted.values()))
    (told,) = warnings(events)
    assert "damaged files were found and not used" in told
    assert found.name in told
    # What was fetched instead is kept.
    assert found.is_file()
    assert not found.is_symlink()
    assert damaged(cache) == []


def test_directories_that_are_links_are_not_followed(study, access, tmp_path):
    part = Plan.rebuild(study.header, [e for e in study.entries if e.size < 100])
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    elsewhere.mkdir()
    cache.mkdir()
    (cache / "content").symlink_to(elsewhere)
    events = fetch(part, tmp_path / "a", access=access, cache=cache)
    assert not failures(events)
    assert list(elsewhere.iterdir()) == []
    (told,) = warnings(events)
    assert "fetched and checked without it" in told


@pytest.mark.parametrize("kind", ["file", "above", "missing"])
def test_a_cache_that_can_not_be_used_is_no_failure(study, access, tmp_path, kind):
    part = Plan.rebuild(study.header, [e for e in study.entries if e.size < 100])
    cache = {
        "file": tmp_path / "file",
        "above": tmp_path / "file" / "cache",
        "missing": CacheOptions(directory=tmp_path / "cache", create=False),
    }[kind]
    (tmp_path / "file").write_bytes(b"")
    events = fetch(part, tmp_path / "a", access=access, cache=cache)
    assert not failures(events)
    assert len(finished(events)) == part.header.files
    (told,) = warnings(events)
    assert "can't be opened" in told or "expected a directory" in told
    assert not (tmp_path / "cache").exists()


def test_a_pinned_plan_finds_what_was_fetched_by_its_md5(tmp_path):
    files = {"a.txt": b"hello"}
    proved_plan(tmp_path / "source", files)
    tagged = plan_over(str(tmp_path / "source"), files, tags=False, md5=md5(b"hello"))
    fetch(tagged, tmp_path / "a", cache=tmp_path / "cache")
    assert [name.split("-")[0] for name in contents(tmp_path / "cache")] == ["md5"]
    pinned = proved_plan(tmp_path / "source", files, md5=md5(b"hello"))
    events = fetch(pinned, tmp_path / "b", cache=tmp_path / "cache")
    assert counts_of(events).cached == 1
    assert finished(events)["a.txt"][1] is CheckMethod.SHA256


def test_a_plan_that_contradicts_itself_removes_nothing_from_the_cache(tmp_path):
    tagged = plan_over(str(tmp_path / "source"), {"a.txt": b"hello"}, tags=False, md5=md5(b"hello"))
    plain = proved_plan(tmp_path / "source", {"a.txt": b"hello"})
    fetch(tagged, tmp_path / "a", cache=tmp_path / "cache")
    wrong = {"sha256": hashlib.sha256(b"other").hexdigest(), "md5": md5(b"hello")}
    for size in (5, 6):
        entry = Entry(path="a.txt", key="a.txt", size=size, reason="selected", **wrong)
        hostile = Plan.rebuild(plain.header, [entry])
        events = fetch(hostile, tmp_path / f"b{size}", cache=tmp_path / "cache")
        assert list(failures(events)) == ["a.txt"]
        assert warnings(events) == []
        assert tree(tmp_path / f"b{size}") == {}
    assert len(contents(tmp_path / "cache")) == 1
    assert damaged(tmp_path / "cache") == []


def test_what_only_its_size_shows_is_never_cached(tmp_path):
    plan = proved_plan(tmp_path / "source", {"a.txt": b"hello"})
    bare = [Entry(path=e.path, key=e.key, size=e.size, reason=e.reason) for e in plan.entries]
    events = fetch(Plan.rebuild(plan.header, bare), tmp_path / "a", cache=tmp_path / "cache")
    assert finished(events)["a.txt"][1] is CheckMethod.SIZE
    # Nor is what was not digested, though it could have been.
    fetch(plan, tmp_path / "b", cache=tmp_path / "cache", checking="size")
    assert contents(tmp_path / "cache") == {}


def test_cached_files_are_digested_whatever_is_asked_for(tmp_path):
    plan = proved_plan(tmp_path / "source", {"a.txt": b"hello"})
    fetch(plan, tmp_path / "a", cache=tmp_path / "cache")
    events = fetch(plan, tmp_path / "b", cache=tmp_path / "cache", checking="size")
    assert finished(events)["a.txt"][1] is CheckMethod.SHA256
    (path,) = contents(tmp_path / "cache").values()
    spoil_secretly(path)
    events = fetch(plan, tmp_path / "c", cache=tmp_path / "cache", checking="size")
    assert "damaged" in warnings(events)[0]
    assert tree(tmp_path / "c") == {"a.txt": b"hello"}


def test_a_source_that_is_gone_is_not_needed(study, proxy, access, tmp_path):
    fetch(study, tmp_path / "a", access=access, cache=tmp_path / "cache")
    proxy.rules.append(Rule("status", status=404))
    assert not failures(fetch(study, tmp_path / "b", access=access, cache=tmp_path / "cache"))
    assert tree(tmp_path / "b") == FILES


def test_a_checksum_of_the_storage_does_not_keep_parts_from_being_cached(
    study, proxy, access, tmp_path
):
    part = Plan.rebuild(study.header, [e for e in study.entries if e.path == LARGE])
    checksum = {
        "x-amz-checksum-sha256": _base64(hashlib.sha256(PARTS).digest()),
        "x-amz-checksum-type": "FULL_OBJECT",
    }
    proxy.rules.append(Rule("say", method="HEAD", headers=checksum))
    events = fetch(part, tmp_path / "a", access=access, cache=tmp_path / "cache")
    assert finished(events)[LARGE][1] is CheckMethod.CHECKSUM
    proxy.requests.clear()
    events = fetch(part, tmp_path / "b", access=access, cache=tmp_path / "cache")
    assert proxy.requests == []
    assert finished(events)[LARGE][1] is CheckMethod.MULTIPART


def _base64(data):
    import base64

    return base64.b64encode(data).decode()


def test_an_interrupted_file_comes_from_the_cache_and_leaves_nothing(
    study, proxy, access, tmp_path
):
    part = Plan.rebuild(study.header, [e for e in study.entries if e.size == len(BIG)])
    (entry,) = part.entries
    proxy.rules.append(Rule("cut", match=entry.key))
    assert list(failures(fetch(part, tmp_path / "b", access=access))) == [entry.path]
    assert leftovers(tmp_path / "b") != []
    proxy.rules.clear()
    fetch(part, tmp_path / "a", access=access, cache=tmp_path / "cache")
    proxy.requests.clear()
    events = fetch(part, tmp_path / "b", access=access, cache=tmp_path / "cache")
    assert proxy.requests == []
    assert sum(event.bytes for event in events if isinstance(event, Copied)) == len(BIG)
    assert tree(tmp_path / "b") == {entry.path: BIG}
    assert leftovers(tmp_path / "b") == []


def test_a_destination_in_storage_is_written_from_the_cache(
    study, proxy, access, tmp_path, memory, bucket, s3
):
    fetch(study, tmp_path / "a", access=access, cache=tmp_path / "cache")
    proxy.requests.clear()
    events = fetch(study, "memory://copy", access=access, cache=tmp_path / "cache")
    assert counts_of(events).cached == len(FILES)
    assert proxy.requests == []
    assert memory.cat("/copy/" + LARGE) == PARTS
    events = fetch(
        study,
        f"s3://{bucket.name}/copy",
        access=Access(endpoint_url=proxy.url, dest_endpoint_url=bucket.endpoint),
        cache=tmp_path / "cache",
    )
    assert counts_of(events).cached == len(FILES)
    assert read(proxy) == set()
    assert bucket.get(f"/copy/{LARGE}") == PARTS
    # Nothing is added from there, and what the cache has not is fetched.
    options = CacheOptions(directory=tmp_path / "other")
    events = fetch(study, "memory://more", access=access, cache=options)
    assert counts_of(events).cached == 0
    assert contents(tmp_path / "other") == {}


def test_hard_links_may_only_be_read_and_an_edit_is_noticed(study, proxy, access, tmp_path):
    cache = CacheOptions(directory=tmp_path / "cache", link=CacheLink.HARD)
    for name in ("a", "b"):
        fetch(study, tmp_path / name, access=access, cache=cache)
    files = [tmp_path / name / LARGE for name in ("a", "b")]
    assert files[0].samefile(files[1])
    assert files[0].stat().st_nlink == 3
    assert stat.S_IMODE(files[0].stat().st_mode) & 0o222 == 0
    # Small ones are copies, which may be written.
    small = [tmp_path / name / "sub-01/anat/sub-01_T1w.json" for name in ("a", "b")]
    assert not small[0].samefile(small[1])
    assert small[0].stat().st_mode & stat.S_IWUSR
    # A user who edits the file all the same changes the cache, and both destinations.
    files[0].chmod(0o644)
    with files[0].open("r+b") as file:
        file.write(b"edited")
    assert list(failures(verify(study, tmp_path / "b", access=access))) == [LARGE]
    proxy.requests.clear()
    events = fetch(study, tmp_path / "c", access=access, cache=cache)
    assert "damaged" in warnings(events)[0]
    assert len(read(proxy)) == 1
    assert tree(tmp_path / "c") == FILES
    assert files[0].read_bytes()[:6] == b"edited"


def test_hard_links_across_file_systems_are_copies(study, access, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(18, os.strerror(18))

    cache = CacheOptions(directory=tmp_path / "cache", link="hard")
    monkeypatch.setattr(os, "link", refused)
    for name in ("a", "b"):
        events = fetch(study, tmp_path / name, access=access, cache=cache)
        assert not failures(events)
        assert tree(tmp_path / name) == FILES
    assert counts_of(events).cached == len(FILES)
    assert counts_of(events).reached == sum(map(len, FILES.values()))
    for name in ("a", "b"):
        found = (tmp_path / name / LARGE).stat()
        assert (found.st_nlink, found.st_mode & 0o200) == (1, 0o200)


def test_a_file_that_is_there_is_compared_with_the_cached_content(study, access, tmp_path):
    fetch(study, tmp_path / "a", access=access, cache=tmp_path / "cache")
    (tmp_path / "b" / LARGE).parent.mkdir(parents=True)
    (tmp_path / "b" / LARGE).write_bytes(b"mine")
    events = fetch(study, tmp_path / "b", access=access, cache=tmp_path / "cache")
    assert list(failures(events)) == [LARGE]
    assert (tmp_path / "b" / LARGE).read_bytes() == b"mine"
    events = fetch(
        study, tmp_path / "b", access=access, cache=tmp_path / "cache", existing="replace"
    )
    assert counts_of(events).cached == 1
    assert tree(tmp_path / "b") == FILES


def test_the_least_recently_used_makes_room(tmp_path):
    """Of ten files of which six fit, the first is used again and stays."""
    files = {f"{number}.bin": bytes([number]) * 8000 for number in range(10)}
    plan = proved_plan(tmp_path / "source", files)
    cache = CacheOptions(directory=tmp_path / "cache", max_bytes=6 * 8192)
    entries = {entry.path: entry for entry in plan.entries}

    def one(name, to):
        events = fetch(Plan.rebuild(plan.header, [entries[name]]), tmp_path / to, cache=cache)
        for number, path in enumerate(sorted(contents(tmp_path / "cache").values(), key=_used)):
            # As long ago as their order says, so that each use is a later one.
            os.utime(path, ns=(10**18 + number, 10**18 + number))
        return counts_of(events).cached

    for number in range(5):
        assert one(f"{number}.bin", f"first-{number}") == 0
    assert one("0.bin", "again") == 1
    for number in range(5, 7):
        assert one(f"{number}.bin", f"first-{number}") == 0
    there = {path.read_bytes()[0] for path in contents(tmp_path / "cache").values()}
    assert there == {3, 4, 0, 5, 6}
    assert sum(map(len, files.values())) > 6 * 8192


def _used(path):
    found = path.stat()
    return max(found.st_atime_ns, found.st_mtime_ns)


def test_what_is_larger_than_the_cache_is_not_added(tmp_path):
    plan = proved_plan(tmp_path / "source", {"a": b"x" * 9000, "b": b"y"})
    cache = CacheOptions(directory=tmp_path / "cache", max_bytes=8192)
    events = fetch(plan, tmp_path / "a", cache=cache)
    assert warnings(events) == []
    assert [path.read_bytes() for path in contents(tmp_path / "cache").values()] == [b"y"]


def test_who_may_not_use_one_is_told_at_once(tmp_path):
    plan = proved_plan(tmp_path / "source", {"a": b"x"})
    with pytest.raises(UsageError, match="local directory, not a URL"):
        materialise(plan, tmp_path / "d", cache="s3://bucket/cache")
    with pytest.raises(UsageError, match="in the content cache"):
        materialise(plan, tmp_path / "c" / "d", cache=tmp_path / "c")
    with pytest.raises(UsageError, match="strangers' plans"):
        materialise(plan, tmp_path / "d", cache=tmp_path / "c", access=Access(untrusted=True))
    with pytest.raises(UsageError, match="expected one of 'copy', 'hard'"):
        CacheOptions(directory=tmp_path / "c", link="soft")
    with pytest.raises(UsageError, match="holds nothing"):
        CacheOptions(directory=tmp_path / "c", max_bytes=0)
    for size in ("500GB", 5e9, True):
        with pytest.raises(UsageError, match="is a number of bytes, got"):
            CacheOptions(directory=tmp_path / "c", max_bytes=size)
    with pytest.raises(UsageError, match="is True or False, got 'no'"):
        CacheOptions(directory=tmp_path / "c", create="no")
    for inside in ("d/c", "d/sourcedata/c", "d/.bidsplan", "d/.bidsplan/partial/.c"):
        with pytest.raises(UsageError, match="would be a part of the dataset"):
            materialise(plan, tmp_path / "d", cache=tmp_path / inside)
    for inside in ("d/.c", "d/.c/d", "d/sourcedata/.c", "dc"):
        assert list(materialise(plan, tmp_path / "d", cache=tmp_path / inside, dry_run=True))
    assert list(materialise(plan, tmp_path / "d", cache=tmp_path / "c", dry_run=True))
    assert not (tmp_path / "c").exists()


def test_parts_of_a_plan_and_closed_runs_use_it_too(study, access, tmp_path):
    run = materialise(study, tmp_path / "a", access=access, cache=tmp_path / "cache")
    for event in run:
        if isinstance(event, Finished):
            run.close()
    assert damaged(tmp_path / "cache") == unfinished(tmp_path / "cache") == []
    events = fetch(study, tmp_path / "a", access=access, cache=tmp_path / "cache")
    assert not [event for event in events if isinstance(event, Failed)]
    assert tree(tmp_path / "a") == FILES
