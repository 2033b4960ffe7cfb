"""What a content cache holds, and in which order it is removed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidsplan.destination.cache_options import CacheOptions
from bidsplan.destination.content_files import ContentFiles, ContentKey, content_keys, room_of
from bidsplan.destination.content_space import CacheTask, manage_cache, reduce_to
from bidsplan.destination.directory import write_all
from bidsplan.errors import DestinationError
from bidsplan.plan import Entry
from bidsplan.plan.integrity import Checker
from caches import contents, tag_of_parts, unfinished

MD5, SHA256 = "a" * 32, "b" * 64


def key_of(data):
    return ContentKey("sha256", hashlib.sha256(data).hexdigest(), len(data))


def add(files, data):
    return files.add(key_of(data), lambda descriptor: write_all(descriptor, data) or True)


@pytest.fixture
def files(tmp_path):
    with closing(ContentFiles(str(tmp_path / "cache"), create=True)) as made:
        yield made


@pytest.mark.parametrize(
    ("known", "kinds"),
    [
        ({}, []),
        ({"etag": "abc"}, []),
        ({"etag": MD5}, ["md5"]),
        ({"etag": f"{MD5}-2"}, ["parts"]),
        ({"etag": f"{MD5}-9999"}, []),
        ({"md5": MD5}, ["md5"]),
        ({"md5": MD5, "etag": MD5}, ["md5"]),
        ({"sha256": SHA256, "md5": MD5, "etag": f"{MD5}-2"}, ["sha256", "md5", "parts"]),
        ({"content": "text"}, []),
        ({"content": "text", "sha256": SHA256}, []),
    ],
)
def test_only_digests_of_the_plan_are_keys(known, kinds):
    entry = Entry(path="a", size=9 << 20, reason="selected", **known)
    assert [key.kind for key in content_keys(entry)] == kinds
    assert {key.size for key in content_keys(entry)} <= {9 << 20}


@pytest.mark.parametrize("size", [0, 1, 6 << 20])
def test_what_a_key_names_is_checked_by_its_own_digest(size):
    data = b"x" * size
    keys = [key_of(data), ContentKey("md5", hashlib.md5(data).hexdigest(), size)]
    if size > 5 << 20:
        keys.append(ContentKey("parts", tag_of_parts(data, 5 << 20), size))
    for key in keys:
        for bytes_, holds in ((data, True), (data[:-1] + b"?", False)):
            checker = Checker(key.entry())
            checker.update(bytes_)
            verdict = checker.verdict()
            shown = verdict.holds and verdict.proof.value != "size"
            assert shown is holds


def test_a_content_is_added_once_and_read_by_who_has_it_open(files, tmp_path):
    assert add(files, b"hello")
    assert not add(files, b"hello")
    descriptor = files.open(key_of(b"hello"))
    files.discard(key_of(b"hello"))
    assert files.open(key_of(b"hello")) is None
    # Who reads it while it is removed reads all of it.
    assert os.read(descriptor, 9) == b"hello"
    os.close(descriptor)
    assert unfinished(tmp_path / "cache") == []


def test_what_is_not_wanted_or_fails_leaves_nothing(files, tmp_path):
    assert not files.add(key_of(b"x"), lambda _: False)
    with pytest.raises(ZeroDivisionError):
        files.add(key_of(b"x"), lambda _: 1 / 0)
    assert contents(tmp_path / "cache") == {}
    assert unfinished(tmp_path / "cache") == []


def test_the_masks_of_users_and_the_groups_of_directories_are_heeded(tmp_path):
    root = tmp_path / "lab"
    root.mkdir()
    root.chmod(0o2775)
    before = os.umask(0o002)
    try:
        with closing(ContentFiles(str(root), create=True)) as files:
            add(files, b"hello")
    finally:
        os.umask(before)
    (path,) = contents(root).values()
    assert path.stat().st_mode & 0o777 == 0o664
    assert path.parent.stat().st_mode & 0o7777 == 0o2775
    assert (root / "content").stat().st_mode & 0o7777 == 0o2775


def test_backups_are_told_of_the_contents_and_of_nothing_else(files, tmp_path):
    assert not list((tmp_path / "cache").rglob("CACHEDIR.TAG"))
    add(files, b"hello")
    (tag,) = (tmp_path / "cache").rglob("CACHEDIR.TAG")
    assert tag.parent.name == "content"
    assert tag.read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


USES = st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 2_000_000_000)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(uses=USES, most=st.integers(1, 80_000))
def test_what_was_used_last_stays_and_no_more_goes_than_must(uses, most):
    """Any sizes, and times of use in nanoseconds of which many are in one second."""
    with tempfile.TemporaryDirectory() as folder:
        held = []
        with closing(ContentFiles(folder, create=True)) as files:
            for number, (size, used) in enumerate(uses):
                data = bytes([number]) * (size + 1)
                add(files, data)
                key = key_of(data)
                os.utime(f"{folder}/{key.place}/{key.name}", ns=(used, used // 2))
                held.append((used, key.name, room_of(len(data))))
            done = reduce_to(files, most)
        left = set(contents(Path(folder)))
    held.sort()
    total = sum(room for *_, room in held)
    gone = 0
    if total > most:
        while held and total > int(most * 0.9):
            total -= held.pop(0)[2]
            gone += 1
    assert left == {name for _, name, _ in held}
    assert (done.files, done.files_left, done.bytes_left) == (gone, len(held), total)


def test_the_estimate_is_exact_after_a_count_and_many_notes_become_one(files, tmp_path):
    for number in range(300):
        files.note_added(number)
    assert files.estimate() == sum(range(300))
    assert len(list((tmp_path / "cache" / "added").iterdir())) == 1
    add(files, b"hello")
    reduce_to(files, 1 << 20)
    assert files.estimate() == 4096
    (tmp_path / "cache" / "added" / "0000-nonsense").write_bytes(b"")
    (tmp_path / "cache" / "added" / f"{'0' * 16}-{'9' * 99}").write_bytes(b"")
    assert files.estimate() == 4096


def test_one_run_counts_at_a_time(files, tmp_path):
    add(files, b"hello")
    other = os.open(tmp_path / "cache", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert reduce_to(files, 1) is None
    os.close(other)
    assert reduce_to(files, 1).files == 1


def test_a_cache_is_cleared_of_its_contents_only(files, tmp_path):
    cache = tmp_path / "cache"
    for data in (b"", b"hello", b"x" * 9000):
        add(files, data)
    (cache / "content" / "notes.txt").write_bytes(b"mine")
    (cache / "content" / "ab").mkdir(exist_ok=True)
    (cache / "content" / "ab" / "notes.txt").write_bytes(b"mine")
    (cache / "notes.txt").write_bytes(b"mine")
    options = CacheOptions(directory=cache, max_bytes=15_000)
    assert manage_cache(options, CacheTask.COUNT)[2:] == (3, 20480, 0)
    assert manage_cache(options, CacheTask.PRUNE).files_left == 1
    assert manage_cache(options, CacheTask.CLEAR) == (1, 12288, 0, 0, 0)
    assert contents(cache).keys() == {"notes.txt"}
    assert len(list(cache.rglob("notes.txt"))) == 3
    with pytest.raises(DestinationError, match="can't be opened"):
        manage_cache(CacheOptions(directory=tmp_path / "none"), CacheTask.COUNT)
