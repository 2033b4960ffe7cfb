"""A file gets a name only where nothing has it: by one call, by a second link, or by a look."""

from __future__ import annotations

import errno
import os

import pytest

from bidsplan.storage import rename as renaming


@pytest.fixture(params=["one call", "a kernel that can't", "no such call", "no links either"])
def folder(request, tmp_path, monkeypatch):
    """Two directories, and a file in the first."""
    if request.param != "one call":
        refused = refusing if request.param == "a kernel that can't" else None
        monkeypatch.setattr(renaming, "_exclusive_rename", lambda: refused)
    if request.param == "no links either":
        monkeypatch.setattr(os, "link", unlinkable)
    (tmp_path / "above").mkdir()
    (tmp_path / "below").mkdir()
    (tmp_path / "above" / "new").write_bytes(b"new")
    return tmp_path


def refusing(*_):
    """Answer as a file system does that knows no flags."""
    renaming.ctypes.set_errno(errno.EINVAL)
    return -1


def unlinkable(*_, **__):
    """Answer as a file system does that has no hard links."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def rename(folder, name="caf\u00e9.txt", source="new"):
    above, below = (os.open(folder / each, os.O_RDONLY) for each in ("above", "below"))
    try:
        return renaming.rename(source, name, above=above, directory=below, replace=False)
    finally:
        os.close(above)
        os.close(below)


def test_where_nothing_stands_the_file_has_the_name(folder):
    assert rename(folder)
    assert os.listdir(folder / "above") == []
    assert (folder / "below" / "caf\u00e9.txt").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["file", "directory", "link", "link to nothing"])
def test_what_stands_there_stays(folder, kind):
    path, other = folder / "below" / "caf\u00e9.txt", folder / "other"
    other.write_bytes(b"other")
    if kind == "file":
        path.write_bytes(b"old")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(other if kind == "link" else folder / "nowhere")
    before = os.lstat(path)
    assert not rename(folder)
    assert os.lstat(path).st_ino == before.st_ino
    assert (folder / "above" / "new").read_bytes() == b"new"
    assert other.read_bytes() == b"other"


def test_what_goes_wrong_is_an_error_of_the_operating_system(folder):
    with pytest.raises(FileNotFoundError):
        rename(folder, source="none")
    with pytest.raises(OSError, match="too long"):
        rename(folder, "x" * 300)


def test_a_link_that_was_made_though_the_answer_was_lost_is_no_other_file(folder, monkeypatch):
    """As NFS tells it when it repeats a request that had succeeded."""
    link = os.link

    def doubled(*arguments, **options):
        link(*arguments, **options)
        link(*arguments, **options)

    monkeypatch.setattr(renaming, "_exclusive_rename", lambda: None)
    if os.link is not unlinkable:
        monkeypatch.setattr(os, "link", doubled)
    assert rename(folder)
    assert os.listdir(folder / "above") == []


def test_nobody_comes_between_without_the_call(tmp_path, monkeypatch):
    """Another process makes the file just before the last step, whichever that is."""
    monkeypatch.setattr(renaming, "_exclusive_rename", lambda: None)
    for name in ("above", "below"):
        (tmp_path / name).mkdir()
    (tmp_path / "above" / "new").write_bytes(b"new")
    link = os.link

    def late(*arguments, **options):
        (tmp_path / "below" / "x").write_bytes(b"foreign")
        link(*arguments, **options)

    monkeypatch.setattr(os, "link", late)
    assert not rename(tmp_path, "x")
    assert (tmp_path / "below" / "x").read_bytes() == b"foreign"
