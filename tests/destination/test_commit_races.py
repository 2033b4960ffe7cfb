"""A file that appears just before the commit is never replaced, whatever its size and its way."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from bidsplan.destination.local import LocalDestination
from bidsplan.errors import ExistingFileError
from bidsplan.events import Action
from bidsplan.storage import Access, Transport
from bidsplan.storage.fsspec_writable import FsspecWritable
from bidsplan.transfer.decide import Existing
from plans import failures, fetch, finished, leftovers, local_plan, plan_over, tree, write_files

PATH = "sub-1/anat/image.nii.gz"
PARENT = PATH.rpartition("/")[0]
SIZES = {"whole": 10_000, "threaded": 700_000, "streamed": (4 << 20) + 1}
WAYS = [
    ("obstore", "whole"),
    ("obstore", "streamed"),
    ("fsspec", "whole"),
    ("fsspec", "streamed"),
    ("local", "threaded"),
    ("local", "streamed"),
]


class Racing(LocalDestination):
    """A directory in which another process makes a file as the last step begins."""

    foreign: bytes

    def directory(self, path, *, create=False):
        if create and path == PARENT and not (Path(self.root) / PATH).exists():
            write_files(Path(self.root), {PATH: self.foreign})
        return super().directory(path, create=create)


@pytest.fixture(params=WAYS, ids=[f"{way}-{size}" for way, size in WAYS])
def made(request, tmp_path):
    """Give a plan of one file, how it is reached, and its bytes."""
    way, size = request.param
    files = {PATH: bytes(range(256)) * (SIZES[size] // 256 + 1)}
    if way == "local":
        return local_plan(tmp_path, files), Access(), files[PATH]
    bucket = request.getfixturevalue("bucket")
    bucket.fill(files)
    access = Access(endpoint_url=bucket.endpoint, transport=Transport(way))
    return plan_over(f"s3://{bucket.name}", files), access, files[PATH]


@pytest.mark.parametrize("existing", list(Existing))
@pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
def test_what_appears_just_before_the_commit_is_not_replaced(
    made, tmp_path, monkeypatch, existing, same
):
    plan, access, data = made
    folder = tmp_path / "d"
    monkeypatch.setattr(Racing, "foreign", data if same else b"mine", raising=False)
    monkeypatch.setattr(
        importlib.import_module("bidsplan.destination.local"), "LocalDestination", Racing
    )
    events = fetch(plan, folder, access=access, existing=existing)
    if same:
        assert finished(events)[PATH][0] is Action.KEEP
    elif existing is Existing.REPLACE:
        assert finished(events)[PATH][0] is Action.REPLACE
    else:
        assert {path: error.code for path, error in failures(events).items()} == {PATH: "existing"}
    replaced = same or existing is Existing.REPLACE
    assert tree(folder) == {PATH: data if replaced else b"mine"}
    assert leftovers(folder) == []


class LateLocal(LocalFileSystem):
    """Local files, among which another process makes one as soon as it was looked for."""

    protocol = "late-local"

    def info(self, path, **options):
        try:
            return super().info(path, **options)
        except FileNotFoundError:
            if path.endswith("/x.nii"):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(b"mine")
            raise


class LateMemory(MemoryFileSystem):
    """Memory, in which another thread makes a file as soon as it was looked for."""

    protocol = "late-memory"

    def info(self, path, **options):
        try:
            return super().info(path, **options)
        except FileNotFoundError:
            if path.endswith("/x.nii"):
                self.pipe_file(path, b"mine")
            raise


@pytest.mark.parametrize("kind", [LateLocal, LateMemory])
@pytest.mark.parametrize("replace", [True, False], ids=["replace", "keep"])
def test_what_appears_after_the_last_look_is_left_by_fsspec(memory, tmp_path, kind, replace):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)
    sink = FsspecWritable(kind.protocol, str(tmp_path / "sink"), {})
    sink.fs.makedirs(str(tmp_path / "sink"), exist_ok=True)
    with sink.upload("sub-1/x.nii", 5, replace=replace) as upload:
        upload.write(b"other")
        if replace:
            assert upload.commit("").size == 5
        else:
            with pytest.raises(ExistingFileError, match="a file already exists there"):
                upload.commit("")
    assert sink.fs.cat_file(sink.path("sub-1/x.nii")) == (b"other" if replace else b"mine")
    assert [item.key for item in sink.list_objects() if "/partial/" in item.key] == []


def test_many_threads_that_commit_one_path_leave_one_file(tmp_path):
    folder = LocalDestination(str(tmp_path), create=False)
    landed, ready = [], threading.Barrier(8)

    def commit(number):
        with folder.partial() as partial:
            partial_data = bytes([number]) * 10
            with open(partial.descriptor, "wb", closefd=False) as file:
                file.write(partial_data)
            ready.wait(10)
            if folder.rename_into_place(partial, "a/x", replace=False) is not None:
                landed.append(partial_data)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    folder.close()
    assert len(landed) == 1
    assert tree(tmp_path) == {"a/x": landed[0]}
