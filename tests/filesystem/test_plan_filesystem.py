"""A plan is listed without a request, read by its paths, and never written to."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

import bidsplan
from bidsplan import Access
from bidsplan.errors import (
    ArgumentTypeError,
    IntegrityError,
    PlanError,
    RootMissingError,
    SourceChangedError,
    SourceMissingError,
    StalePlanError,
    UsageError,
)
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from plans import local_plan, plan_of, plan_over, write_files

BIG = random.Random(1).randbytes(700_001)
FILES = {
    "README": b"hello\nworld\n",
    "sub-1/anat/sub-1_T1w.nii.gz": BIG,
    "sub-1/anat/sub-1_T1w.json": b"{}",
    "sub-1/sub-1_scans.tsv": b"",
    "sub-10/anat/sub-10_T1w.json": b'{"a": 1}',
}
DIRECTORIES = {"sub-1", "sub-1/anat", "sub-10", "sub-10/anat"}
IMAGE = "sub-1/anat/sub-1_T1w.nii.gz"


def entry(path, **fields):
    return Entry(**{"path": path, "key": path, "size": 1, "reason": "selected", **fields})


@pytest.fixture
def fs(tmp_path):
    return bidsplan.filesystem(local_plan(tmp_path, FILES))


@pytest.fixture
def stored(tmp_path):
    """Give the path of a plan whose URL is relative to it."""
    write_files(tmp_path / "source", FILES)
    write_plan(plan_over("source", FILES, tags=False), tmp_path / "x.plan.jsonl")
    return tmp_path / "x.plan.jsonl"


def test_directories_are_listed(fs):
    assert fs.ls("", detail=False) == ["README", "sub-1", "sub-10"]
    assert fs.ls("/sub-1/", detail=False) == ["sub-1/anat", "sub-1/sub-1_scans.tsv"]
    assert fs.ls(IMAGE, detail=False) == [IMAGE]
    assert fs.find("") == sorted(FILES)
    assert set(fs.find("", withdirs=True)) == {*FILES, *DIRECTORIES}
    assert fs.glob("sub-1/**/*.json") == ["sub-1/anat/sub-1_T1w.json"]
    assert fs.glob("sub-1*") == ["sub-1", "sub-10"]
    assert [found[0] for found in fs.walk("sub-1")] == ["sub-1", "sub-1/anat"]
    assert fs.du("") == sum(map(len, FILES.values()))
    assert all(fs.isfile(path) for path in FILES)
    assert all(fs.isdir(path) for path in ("", "/", *DIRECTORIES))
    assert not any(fs.exists(path) for path in ("sub-", "sub-1/a", "README/x", "sub-2"))


def test_what_the_plan_says_is_in_info():
    digest = {"md5": "0" * 32, "sha256": "1" * 64, "etag": "e", "version": "v"}
    made = entry("a/b.json", key="x/y", reason="inherited", size=3, **digest)
    generated = entry("c.json", key="", content="{}", size=2, reason="dataset")
    fs = bidsplan.filesystem(plan_of([made, generated], "s3://bucket/study"))
    assert fs.info("a/b.json") == {
        "name": "a/b.json",
        "type": "file",
        "size": 3,
        "reason": "inherited",
        "key": "x/y",
        "url": "s3://bucket/study",
        **digest,
    }
    assert fs.info("c.json")["url"] is None
    assert fs.info("a") == {"name": "a", "type": "directory", "size": 0}
    assert fs.ls("a") == [fs.info("a/b.json")]
    assert fs.checksum("a/b.json") != fs.checksum("c.json")


SEGMENT = st.sampled_from(["a", "b", "a-", "a0", "a.b", "A", "é", "a b", "~"])
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)


def without_clashes(paths):
    """Leave out files that are also directories."""
    return sorted({p for p in paths if not any(q.startswith(f"{p}/") for q in paths)})


@settings(deadline=None, max_examples=150)
@given(PATHS, SEGMENT | st.just(""), st.none() | st.integers(1, 4), st.booleans())
def test_files_are_found_as_fsspec_finds_them(paths, below, maxdepth, withdirs):
    paths = without_clashes(paths)
    fs = bidsplan.filesystem(plan_of(map(entry, paths), "memory://x"))
    walked = AbstractFileSystem.find(fs, below, maxdepth=maxdepth, withdirs=withdirs, detail=True)
    walked = {name: info or fs.info(name) for name, info in walked.items()}
    assert fs.find(below, maxdepth=maxdepth, withdirs=withdirs, detail=True) == walked
    below_all = [path for path in paths if not below or path.startswith(f"{below}/")]
    if not maxdepth and not withdirs and below not in paths:
        assert list(walked) == below_all
    if fs.isdir(below):
        skip = len(below) + 1 if below else 0
        assert fs.ls(below, detail=False) == sorted(
            {path[:skip] + path[skip:].partition("/")[0] for path in below_all}
        )


@pytest.mark.parametrize(
    ("path", "kind", "number"),
    [
        ("nope", FileNotFoundError, errno.ENOENT),
        ("sub-1/anat/nope", FileNotFoundError, errno.ENOENT),
        ("sub-1/anat", IsADirectoryError, errno.EISDIR),
        ("", IsADirectoryError, errno.EISDIR),
        ("README/below", NotADirectoryError, errno.ENOTDIR),
    ],
)
def test_wrong_paths_raise_what_files_raise(fs, path, kind, number):
    for call in (fs.open, fs.cat_file):
        with pytest.raises(kind) as found:
            call(path)
        assert (found.value.errno, found.value.filename) == (number, path)


def test_hostile_paths_are_read_and_reported_safely(tmp_path):
    names = ["<script>.txt", "a'\"b", "*", "[x]", "a::b", "=cmd()", "--help", "a%2Fb", "é", "x?y"]
    fs = bidsplan.filesystem(local_plan(tmp_path, {name: name.encode() for name in names}))
    assert sorted(fs.ls("", detail=False)) == sorted(names)
    assert {name: fs.cat_file(name).decode() for name in names} == {name: name for name in names}
    with pytest.raises(FileNotFoundError) as found:
        fs.open("a\x1b[2J\n\u202ex")
    assert str(found.value).isprintable()


WRITES = {
    "open": lambda fs, _: fs.open("new", "wb"),
    "open_text": lambda fs, _: fs.open("README", "w"),
    "append": lambda fs, _: fs.open("README", "ab"),
    "update": lambda fs, _: fs.open("README", "r+b"),
    "exclusive": lambda fs, _: fs.open("new", "xb"),
    "mkdir": lambda fs, _: fs.mkdir("new"),
    "makedirs": lambda fs, _: fs.makedirs("new/new", exist_ok=True),
    "rmdir": lambda fs, _: fs.rmdir("sub-1"),
    "rm": lambda fs, _: fs.rm("sub-1", recursive=True),
    "rm_file": lambda fs, _: fs.rm_file("README"),
    "touch": lambda fs, _: fs.touch("README", truncate=False),
    "pipe": lambda fs, _: fs.pipe("new", b"x"),
    "pipe_file": lambda fs, _: fs.pipe_file("new", b"x"),
    "write_text": lambda fs, _: fs.write_text("new", "x"),
    "copy": lambda fs, _: fs.copy("README", "new"),
    "mv": lambda fs, _: fs.mv("README", "new"),
    "put": lambda fs, local: fs.put(str(local), "new"),
    "put_file": lambda fs, local: fs.put_file(str(local), "new"),
    "upload": lambda fs, local: fs.upload(str(local), "new"),
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_is_refused(fs, tmp_path, name):
    local = tmp_path / "local"
    local.write_bytes(b"x")
    with pytest.raises(OSError, match="read-only; fetch it") as found:
        WRITES[name](fs, local)
    assert found.value.errno == errno.EROFS
    assert fs.find("") == sorted(FILES)
    assert (tmp_path / "source" / "README").read_bytes() == FILES["README"]


@pytest.mark.parametrize("start", [None, 0, 5, -5, 700_000, 800_000])
@pytest.mark.parametrize("end", [None, 0, 6, -3, 700_001, 800_000])
def test_ranges_are_those_of_slices(fs, start, end):
    assert fs.cat_file(IMAGE, start, end) == BIG[start:end]


def test_several_ranges(fs):
    paths = [IMAGE, "README", "nope"]
    *read, error = fs.cat_ranges(paths, [1, 0, 0], [4, 5, 1])
    assert read == [BIG[1:4], b"hello"]
    assert isinstance(error, FileNotFoundError)
    assert fs.cat_ranges(paths[:2], 0, 2) == [BIG[:2], b"he"]
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, 0, 1, on_error="raise")
    with pytest.raises(ValueError, match="one length"):
        fs.cat_ranges(paths, [0], [1])


MOVES = st.lists(st.tuples(st.integers(0, 700_100), st.integers(0, 400_000)), max_size=6)


@pytest.mark.parametrize("cache", [None, "readahead", "bytes", "blockcache", "none"])
def test_a_file_reads_like_any_other(fs, cache):
    options = {"cache_type": cache} if cache else {}

    @settings(deadline=None, max_examples=15)
    @given(MOVES)
    def check(moves):
        plain = io.BytesIO(BIG)
        with fs.open(IMAGE, **options) as file:
            for at, length in moves:
                assert file.seek(at) == plain.seek(at)
                assert file.read(length) == plain.read(length)
            assert file.seek(-3, 2) == plain.seek(-3, 2)
            assert file.read() == plain.read() == BIG[-3:]

    check()


def test_text_and_lines(fs):
    with fs.open("README", "r", encoding="utf-8") as file:
        assert list(file) == ["hello\n", "world\n"]
    with fs.open("README") as file:
        assert file.readlines() == [b"hello\n", b"world\n"]
    assert fs.read_text("README") == "hello\nworld\n"
    assert fs.head("README", 2) == b"he"
    assert fs.tail("README", 2) == b"d\n"
    assert fs.cat_file("sub-1/sub-1_scans.tsv") == b""


def test_generated_files_are_read_from_the_plan():
    text = '{"Name": "x"}'
    made = entry("d.json", key="", content=text, size=len(text), reason="dataset")
    fs = bidsplan.filesystem(plan_of([made], "s3://no-such-host.invalid"))
    assert json.loads(fs.read_text("d.json")) == {"Name": "x"}
    assert fs.cat_file("d.json", 1, 7) == b'"Name"'


def test_memory_and_other_storage_without_tags(memory):
    memory.pipe({f"/study/{path}": data for path, data in FILES.items()})
    fs = bidsplan.filesystem(plan_over("memory://study", FILES, tags=False))
    with fs.open(IMAGE) as file:
        file.seek(300_000)
        assert file.read(10) == BIG[300_000:300_010]
        # All of it is of one content, so what comes later is of the same.
        memory.pipe(f"/study/{IMAGE}", bytes(len(BIG)))
        file.seek(600_000)
        assert file.read(10) == BIG[600_000:600_010]


def test_a_local_file_that_changed_is_an_error(fs, tmp_path):
    path = tmp_path / "source" / IMAGE
    with fs.open(IMAGE) as file:
        file.read(10)
        path.write_bytes(bytes(len(BIG)))
        file.seek(500_000)
        with pytest.raises(SourceChangedError):
            file.read(10)
    path.write_bytes(b"short")
    with pytest.raises(SourceChangedError, match="has 5 bytes now"):
        fs.cat_file(IMAGE, 0, 3)
    path.unlink()
    with pytest.raises(SourceMissingError):
        fs.cat_file(IMAGE, 0, 3)


def test_a_whole_file_is_compared_with_its_digest(tmp_path):
    plan = local_plan(tmp_path, FILES)
    entries = [each for each in plan.entries if each.path != "README"]
    entries.append(entry("README", size=12, sha256="0" * 64, reason="dataset"))
    fs = bidsplan.filesystem(plan_of(entries, str(tmp_path / "source")))
    for call in (fs.cat_file, fs.read_text):
        with pytest.raises(IntegrityError):
            call("README")
    with pytest.raises(IntegrityError):
        fs.get("README", str(tmp_path / "got"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_copies_go_to_files_and_to_file_objects(fs, tmp_path):
    fs.get(IMAGE, str(tmp_path / "new" / "image"))
    assert (tmp_path / "new" / "image").read_bytes() == BIG
    target = io.BytesIO(b"kept")
    target.seek(4)
    fs.get_file("README", target)
    assert target.getvalue() == b"kept" + FILES["README"]


def test_urls_name_a_plan_in_the_path_or_as_an_option(stored, monkeypatch):
    with fsspec.open("bidsplan://README", plan=str(stored)) as file:
        assert file.read() == FILES["README"]
    with fsspec.open(f"bidsplan://{stored}/README") as file:
        assert file.read() == FILES["README"]
    monkeypatch.chdir(stored.parent)
    fs, path = fsspec.url_to_fs("bidsplan://x.plan.jsonl/sub-1")
    assert fs.ls(path, detail=False) == [f"{path}/anat", f"{path}/sub-1_scans.tsv"]
    assert fs.info("x.plan.jsonl") == {"name": "x.plan.jsonl", "size": 0, "type": "directory"}
    assert fs.find("x.plan.jsonl") == [f"x.plan.jsonl/{name}" for name in sorted(FILES)]
    assert fs.cat_file(f"{path}/anat/sub-1_T1w.json") == b"{}"


@pytest.mark.parametrize("url", ["bidsplan://README", "bidsplan://", "bidsplan:///no.plan.jsonl/x"])
def test_a_url_without_a_plan_says_how_to_name_one(url):
    fs, path = fsspec.url_to_fs(url)
    with pytest.raises(FileNotFoundError, match="no plan at the start of the path"):
        fs.ls(path)


def test_wrong_plans_are_refused(tmp_path):
    with pytest.raises(PlanError, match="No such file"):
        bidsplan.filesystem(tmp_path / "no.plan.jsonl")
    (tmp_path / "x.plan.jsonl").write_text("{}\n")
    with pytest.raises(PlanError):
        bidsplan.filesystem(tmp_path / "x.plan.jsonl")
    with pytest.raises(ArgumentTypeError):
        bidsplan.filesystem(3)


def test_a_plan_that_is_written_anew_is_read_anew(stored):
    url = f"bidsplan://{stored}"
    before, path = fsspec.url_to_fs(url)
    assert before.exists(f"{path}/README")
    write_plan(plan_over("source", {"new": b"x"}, tags=False), stored)
    assert before.ls(path, detail=False) == [f"{path}/new"]
    assert bidsplan.filesystem(stored).ls("", detail=False) == ["new"]


def test_a_source_that_comes_back_is_read(stored):
    source = stored.parent / "source"
    source.rename(stored.parent / "elsewhere")
    fs = bidsplan.filesystem(stored)
    with pytest.raises(RootMissingError):
        fs.cat_file("README")
    (stored.parent / "elsewhere").rename(source)
    assert fs.cat_file("README") == FILES["README"]


def test_pickles_reopen_the_plan_and_hold_no_secret(stored, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-secret")
    monkeypatch.chdir(stored.parent)
    access = Access(profile="lab", allow_protocols=frozenset({"ftp", "sftp"}))
    fs = bidsplan.filesystem("x.plan.jsonl", access=access)
    assert fs.cat_file("README") == FILES["README"]
    file = fs.open(IMAGE)
    file.seek(7)
    data = pickle.dumps((fs, file))
    assert b"secret" not in data
    assert len(data) < 2000
    monkeypatch.chdir("/")
    again, opened = pickle.loads(data)
    assert again == fs
    assert hash(again) == hash(fs)
    assert opened.read(5) == BIG[7:12]
    write_plan(plan_over("source", {"README": b""}, tags=False), stored)
    with pytest.raises(StalePlanError, match="expected the plan with entries_sha256"):
        pickle.loads(data)


def test_an_endpoint_with_a_password_is_not_pickled(stored):
    access = Access(endpoint_url="https://me:secret@host")
    with pytest.raises(UsageError, match="can't be pickled") as found:
        pickle.dumps(bidsplan.filesystem(stored, access=access))
    assert "secret" not in str(found.value)


def test_a_plan_in_memory_is_pickled_whole(tmp_path, monkeypatch):
    write_files(tmp_path / "source", FILES)
    monkeypatch.chdir(tmp_path)
    fs = bidsplan.filesystem(plan_over("source", FILES, tags=False))
    data = pickle.dumps(fs)
    monkeypatch.chdir("/")
    again = pickle.loads(data)
    assert again == fs
    assert again.find("") == sorted(FILES)
    assert again.cat_file("README") == FILES["README"]
    assert fs != bidsplan.filesystem(plan_of([entry("a")], "memory://x"))


def test_another_process_reads_by_the_pickle(stored):
    data = pickle.dumps(bidsplan.filesystem(stored))
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).cat_file('README'))"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == repr(FILES["README"])


def test_a_child_process_reads_what_its_parent_opened(fs):
    assert fs.cat_file("README") == FILES["README"]
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, fs.cat_file("README"))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == FILES["README"]


def test_many_threads_share_it(fs):
    def read(number):
        with fs.open(IMAGE) as file:
            file.seek(number * 1000)
            return file.read(1000) == BIG[number * 1000 : (number + 1) * 1000]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))


def test_importing_loads_no_more_than_is_needed():
    code = (
        "import sys, bidsplan; print({'fsspec', 'upath'} & set(sys.modules));"
        "bidsplan.filesystem; print({'s3fs', 'obstore', 'upath', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "set()"]
