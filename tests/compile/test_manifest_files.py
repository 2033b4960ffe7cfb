"""A file that a manifest names is read only from inside the manifest's repository."""

from __future__ import annotations

import os
import socket

import pytest

from bidsplan.compile.survey.participants import LARGEST_TABLE, read_beside
from bidsplan.errors import SelectionError

CONTENT = b"participant_id\n01\n"
# A FIFO or a device that is opened in the wrong way waits for ever.
pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def folder(tmp_path):
    """Create a manifest's folder in a repository, beside a file outside of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/cohort.tsv").write_bytes(CONTENT)
    (tmp_path / "repository/studies/hbn").mkdir(parents=True)
    (tmp_path / "repository/shared").mkdir()
    (tmp_path / "repository/shared/cohort.tsv").write_bytes(CONTENT)
    annexed = tmp_path / "repository/.git/annex/objects/aa/bb/KEY"
    annexed.mkdir(parents=True)
    (annexed / "KEY").write_bytes(CONTENT)
    (tmp_path / "repository/.git/config").write_bytes(CONTENT)
    return tmp_path / "repository/studies/hbn"


def refusal(folder, name="cohort.tsv", **more):
    with pytest.raises(SelectionError) as caught:
        read_beside(name, "table", folder, **more)
    [problem] = caught.value.problems
    assert problem.at == ("subjects", "table", "file")
    return str(problem)


LINKS_INSIDE = {
    "beside": "other.tsv",
    "above": "../../shared/cohort.tsv",
    "through a directory": "linked/cohort.tsv",
    "annexed": "../../.git/annex/objects/aa/bb/KEY/KEY",
    "up and down": "../hbn/../../studies/./hbn//other.tsv",
}


@pytest.mark.parametrize("target", LINKS_INSIDE.values(), ids=LINKS_INSIDE)
def test_links_inside_the_repository_are_followed_unless_untrusted(folder, target):
    (folder / "other.tsv").write_bytes(CONTENT)
    (folder / "linked").symlink_to("../../shared")
    (folder / "cohort.tsv").symlink_to(target)
    assert read_beside("cohort.tsv", "table", folder) == CONTENT
    assert read_beside("other.tsv", "table", folder, untrusted=True) == CONTENT
    said = refusal(folder, untrusted=True)
    assert "no link is followed for an untrusted manifest" in said
    assert "replace the link by the file" in said


def test_absolute_links_and_chains_that_stay_inside_are_followed(folder):
    (folder / "absolute.tsv").symlink_to(folder / "../../shared/cohort.tsv")
    (folder / "cohort.tsv").symlink_to("absolute.tsv")
    assert read_beside("cohort.tsv", "table", folder) == CONTENT


LINKS_OUTSIDE = {
    "relative": "../../../outside/cohort.tsv",
    "absolute": "{top}/outside/cohort.tsv",
    "inside by its text": "{top}/repository/../outside/cohort.tsv",
    "a directory": "elsewhere/cohort.tsv",
    "a chain": "chained.tsv",
    "out and in again": "../../../repository/shared/cohort.tsv",
    "the environment": "../../../../../../../../../../../../proc/self/environ",
    "the environment, absolute": "/proc/self/environ",
    "the environment, by a directory": "self/environ",
}


@pytest.mark.parametrize("target", LINKS_OUTSIDE.values(), ids=LINKS_OUTSIDE)
@pytest.mark.parametrize("untrusted", [False, True])
def test_links_that_lead_out_are_refused(folder, tmp_path, target, untrusted):
    (folder / "elsewhere").symlink_to("../../../outside")
    (folder / "self").symlink_to("/proc/self")
    (folder / "chained.tsv").symlink_to("elsewhere/cohort.tsv")
    (folder / "cohort.tsv").symlink_to(target.format(top=tmp_path))
    assert "symbolic link" in refusal(folder, untrusted=untrusted)


def test_a_linked_directory_that_the_manifest_names_is_a_link_too(folder):
    (folder / "tables").symlink_to("../../../outside")
    assert "leads out of" in refusal(folder, "tables/cohort.tsv")
    (folder / "self").symlink_to("/proc/self")
    assert "leads out of" in refusal(folder, "self/environ")


def test_without_a_repository_the_manifests_folder_is_the_fence(tmp_path):
    base = tmp_path / "study"
    base.mkdir()
    (tmp_path / "cohort.tsv").write_bytes(CONTENT)
    (base / "cohort.tsv").symlink_to("../cohort.tsv")
    assert "leads out of" in refusal(base)
    # A worktree and a submodule have a file where others have a directory.
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    assert read_beside("cohort.tsv", "table", base) == CONTENT


def test_a_home_that_is_a_repository_is_no_fence(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".git").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / ".netrc").write_bytes(CONTENT)
    (tmp_path / "study/cohort.tsv").symlink_to("../.netrc")
    assert "leads out of" in refusal(tmp_path / "study")


@pytest.mark.parametrize(
    "target", ["../../.git/config", "../../.git/annex/../config", "../../.git/annex/other"]
)
def test_gits_own_files_are_refused(folder, target):
    (folder / "../../.git/annex/other").write_bytes(CONTENT)
    (folder / "cohort.tsv").symlink_to(target)
    assert "leads into .git" in refusal(folder)


def test_gits_own_files_are_refused_under_any_name(tmp_path):
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    # As on a file system that folds case.
    (tmp_path / ".GIT").hardlink_to(tmp_path / ".git")
    assert "leads into .git" in refusal(tmp_path, ".GIT")


def test_the_file_of_a_worktrees_git_is_refused(tmp_path):
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    assert "leads into .git" in refusal(tmp_path, ".git")


def test_a_manifests_folder_may_be_reached_by_a_link(folder, tmp_path):
    (folder / "cohort.tsv").symlink_to("../../shared/cohort.tsv")
    (tmp_path / "linked").symlink_to(folder)
    assert read_beside("cohort.tsv", "table", tmp_path / "linked") == CONTENT
    (tmp_path / "kernel").symlink_to("/proc/self")
    assert "is not a file on disk" in refusal(tmp_path / "kernel", "environ")


def test_a_file_of_the_kernel_is_refused_from_wherever_it_is_reached():
    assert "is not a file on disk" in refusal("/", "proc/self/environ")
    assert "is not a file on disk" in refusal("/proc", "self/environ")


def test_endless_links_are_refused(folder):
    (folder / "cohort.tsv").symlink_to("again.tsv")
    (folder / "again.tsv").symlink_to("cohort.tsv")
    assert "more than 40 symbolic links" in refusal(folder)


def test_only_regular_files_are_opened(folder):
    os.mkfifo(folder / "fifo.tsv")
    (folder / "null.tsv").symlink_to("/dev/null")
    (folder / "directory.tsv").mkdir()
    server = socket.socket(socket.AF_UNIX)
    here = os.open(folder, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{here}/socket.tsv")
    os.close(here)
    assert "is not a regular file" in refusal(folder, "fifo.tsv")
    assert "is not a regular file" in refusal(folder, "socket.tsv")
    assert "is a directory" in refusal(folder, "directory.tsv")
    assert "leads out of" in refusal(folder, "null.tsv")
    assert "is below a file" in refusal(folder, "../../shared/cohort.tsv/x")
    server.close()


def test_a_file_that_is_too_large_or_missing_is_reported(folder):
    with (folder / "cohort.tsv").open("wb") as file:
        file.truncate(LARGEST_TABLE + 1)
    assert "has 67,108,865 bytes; at most 67,108,864 are read" in refusal(folder)
    assert "can't read 'x.tsv': No such file or directory" in refusal(folder, "x.tsv")
