"""A file gets a name only where nothing has it, by one step or by two."""

from __future__ import annotations

import errno
import os

import pytest

from bidsplan import renaming
from bidsplan.renaming import rename_new


@pytest.fixture(params=["one step", "a kernel that can't", "no such call"])
def folder(request, tmp_path, monkeypatch):
    """Two directories, and a file in the first."""
    if request.param == "no such call":
        monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    elif request.param == "a kernel that can't":
        monkeypatch.setattr(renaming, "_renameat2", lambda: refusing)
    (tmp_path / "above").mkdir()
    (tmp_path / "below").mkdir()
    (tmp_path / "above" / "new").write_bytes(b"new")
    return tmp_path


def refusing(*_):
    """Answer as a file system does that knows no flags."""
    renaming.ctypes.set_errno(errno.EINVAL)
    return -1


def rename(folder, name="caf\u00e9.txt", source="new"):
    above, below = (os.open(folder / each, os.O_RDONLY) for each in ("above", "below"))
    try:
        return rename_new(source, name, above=above, directory=below)
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
