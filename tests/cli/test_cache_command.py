"""Which content cache a command uses: by its options, the environment and the configuration."""

from __future__ import annotations

import errno
import json
import os
import pwd

import jsonschema
import pytest

from bidsplan.cli.json_schemas import report_schema
from bidsplan.cli.main import run
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from caches import contents, proved_plan
from plans import md5, plan_of, tree

FILES = {"a.txt": b"hello", "b.txt": b"x" * 5000}


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "p.plan.jsonl"
    write_plan(proved_plan(tmp_path / "source", FILES), path)
    return path


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Write the user's configuration file; gives its path."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "bidsplan" / "config.toml"

    def write(text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_came_from_the_cache_is_said(plan, tmp_path, ask):
    fetch = ["fetch", "--quiet", plan, "--cache", tmp_path / "cache"]
    assert "2 fetched; 5.0 kB; 2 files checked by SHA-256" in ask(*fetch, tmp_path / "a")[1]
    code, out, err = ask(*fetch, tmp_path / "b")
    assert (code, err) == (0, "")
    assert "2 fetched; 2 files (5.0 kB) from the cache; 2 files checked by SHA-256" in out
    code, out, _ = ask(*fetch, tmp_path / "c", "--json")
    *rows, last = map(json.loads, out.splitlines())
    assert [row["cached"] for row in rows] == [True, True]
    assert (last["cached"], last["cached_bytes"], last["bytes"]) == (2, 5005, 0)
    for row in (*rows, last):
        jsonschema.validate(row, report_schema())


def test_a_server_is_named_only_if_it_was_asked(counted, bucket, tmp_path, ask):
    files = {"a.txt": b"hello", "sub-1/x.nii": bytes(5000)}
    bucket.fill({f"x/{key}": data for key, data in files.items()})
    entries = [
        Entry(path=key, key=key, size=len(data), reason="selected", md5=md5(data))
        for key, data in files.items()
    ]
    write_plan(plan_of(entries, f"s3://{bucket.name}/x"), tmp_path / "s.plan.jsonl")
    fetch = ["fetch", "--quiet", tmp_path / "s.plan.jsonl", "--cache", tmp_path / "cache"]
    assert f"from {counted.url}" in ask(*fetch, tmp_path / "a")[1]
    counted.requests.clear()
    out = ask(*fetch, tmp_path / "b")[1]
    assert "2 fetched; 2 files (5.0 kB) from the cache; 2 files checked by MD5" in out
    assert (counted.requests, counted.url in out) == ([], False)


def test_options_come_before_the_environment_and_that_before_the_file(
    plan, tmp_path, ask, monkeypatch, configure
):
    def used(*more):
        name = f"d{len(list(tmp_path.iterdir()))}"
        code, _, err = ask("fetch", "--quiet", plan, tmp_path / name, *more)
        assert (code, err) == (0, "")
        made = {path.name for path in tmp_path.glob("cache-*")}
        for path in tmp_path.glob("cache-*"):
            path.rename(tmp_path / f"old-{path.name}-{name}")
        return made

    assert used() == set()
    configure(f'[cache]\ndirectory = "{tmp_path}/cache-file"\n')
    assert used() == {"cache-file"}
    monkeypatch.setenv("BIDSPLAN_CACHE", str(tmp_path / "cache-env"))
    assert used() == {"cache-env"}
    assert used("--cache", tmp_path / "cache-option") == {"cache-option"}
    assert used("--no-cache") == set()
    # A stranger's plan gets nothing of what is configured for one's own.
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", "1")
    code, _, err = ask("fetch", plan, tmp_path / "stranger")
    assert code == 2
    assert "cache" not in err
    assert not list(tmp_path.glob("cache-*"))
    code, _, err = ask("fetch", plan, tmp_path / "stranger", "--cache", tmp_path / "cache-option")
    assert code == 2
    assert "a content cache is not for strangers' plans" in err


def test_the_file_says_the_size_and_the_kind_of_link(plan, tmp_path, ask, configure):
    configure(f'[cache]\ndirectory = "{tmp_path}/cache"\nsize = "5kB"\nlink = "hard"\n')
    assert ask("fetch", plan, tmp_path / "a")[0] == 0
    assert [path.read_bytes() for path in contents(tmp_path / "cache").values()] == [b"hello"]
    code, out, _ = ask("cache")
    held = "1 different content, 4.1 kB of at most 5.0 kB on disk"
    assert (code, out) == (0, f"{tmp_path}/cache: {held}\n")
    assert ask("fetch", plan, tmp_path / "b", "--cache-size", "1GB")[0] == 0
    assert len(contents(tmp_path / "cache")) == 2
    code, out, _ = ask("cache", "--prune", "--json")
    assert json.loads(out) == {
        "directory": f"{tmp_path}/cache",
        "files": 0,
        "bytes": 0,
        "max_bytes": 5000,
        "removed_files": 2,
        "removed_bytes": 12288,
        "failed": 0,
    }


WRONG = [
    ("[cache\n", ":1: this is not TOML"),
    ("\n[cache]\nsize = 5", ":3: cache.size: got 5; expected a size such as 500GB"),
    ("[cache]\nsize = '0GB'", ":2: cache.size: got '0GB'; expected a size"),
    ("[cache]\nlink = 'soft'", ":2: cache.link: got 'soft'; expected copy or hard"),
    ("[cache]\ndirectory = 'x'", ":2: cache.directory: got 'x'; expected a path that is absolute"),
    ("[cache]\ndirectoy = '/x'", ":2: cache.directoy: there is no 'directoy'; did you mean 'dir"),
    ("x = 1\n[cash]\n", ":1: x: there is no 'x'"),
    ("[cache]\nsize = '5GB'", ":2: cache.size: of no use without cache.directory; add the dir"),
    ("[cash]\n", ":1: cash: there is no 'cash'; did you mean 'cache'?"),
    ("cache = 1", ":1: cache: expected a table; write it as [cache]"),
    ("cache.size = '\x1b'", "this is not TOML"),
    ('cache.size = "\\u001b[2J"', ":1: cache.size: got '\\x1b[2J'; expected a size"),
]


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_a_wrong_file_is_an_error_that_names_each_line(case, plan, tmp_path, ask, configure):
    text, *expected = case
    path = configure(text)
    for command in (["fetch", plan, tmp_path / "d"], ["cache"]):
        code, out, err = ask(*command)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {path}")
        assert all(part in err for part in expected)
    # What needs no cache reads no configuration.
    assert ask("show", plan)[0] == 0
    assert ask("fetch", plan, tmp_path / "d", "--no-cache")[0] == 0


def test_a_file_that_is_none_is_an_error(plan, tmp_path, ask, configure):
    path = configure("")
    assert ask("fetch", plan, tmp_path / "d")[0] == 0
    path.unlink()
    path.mkdir()
    code, _, err = ask("fetch", plan, tmp_path / "d")
    assert code == 2
    assert f"{path}: can't be read: " in err


def test_the_size_is_of_the_configured_directory_only(plan, tmp_path, ask, configure):
    configure(f'[cache]\ndirectory = "{tmp_path}/cache"\nsize = "5kB"\n')
    other = tmp_path / "other"
    assert ask("fetch", plan, tmp_path / "a", "--cache", other)[0] == 0
    assert len(contents(other)) == 2
    assert "no size to be kept within" in ask("cache", "--prune", other)[2]
    assert len(contents(other)) == 2
    (tmp_path / "cache").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    assert ask("fetch", plan, tmp_path / "b", "--cache", tmp_path / "link")[0] == 0
    assert len(contents(tmp_path / "cache")) == 1


def test_who_has_no_home_has_no_configuration(plan, tmp_path, ask, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}["nobody"])
    assert ask("fetch", "--quiet", plan, tmp_path / "a")[::2] == (0, "")
    monkeypatch.setenv("BIDSPLAN_CACHE", "~/cache")
    code, _, err = ask("fetch", plan, tmp_path / "b")
    assert code == 2
    assert "BIDSPLAN_CACHE: ~/cache: there is no such home directory; write the whole path" in err
    assert ask("fetch", plan, tmp_path / "b", "--no-cache")[0] == 0


def test_a_home_that_may_not_be_read_is_passed_over(plan, tmp_path, ask, monkeypatch, configure):
    opens = os.open

    def refuse(path, *arguments, **named):
        if str(path).endswith("config.toml"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opens(path, *arguments, **named)

    path = configure("")
    monkeypatch.setattr(os, "open", refuse)
    # Who names a directory means it.
    code, _, err = ask("fetch", plan, tmp_path / "a")
    assert code == 2
    assert f"{path}: can't be read: Permission denied" in err
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = ask("fetch", "--quiet", plan, tmp_path / "a")
    assert code == 0
    assert err.startswith(f"warning: {tmp_path}/.config/bidsplan/config.toml: can't be read: Perm")
    assert "no configuration is used" in err


def test_a_home_below_a_file_has_no_configuration(plan, tmp_path, ask, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    assert ask("fetch", "--quiet", plan, tmp_path / "a")[::2] == (0, "")


def test_the_command_needs_to_know_which_cache(tmp_path, ask):
    assert "no cache is configured" in ask("cache")[2]
    assert "no size to be kept within" in ask("cache", "--prune", tmp_path)[2]
    fetch = ["fetch", "x.plan.jsonl", "d"]
    assert "of no use without --cache" in ask(*fetch, "--cache-link", "hard")[2]
    none = tmp_path / "none"
    code, _, err = ask("cache", none)
    assert code == 1
    assert err.startswith(f"error: {none}: can't be opened: No such file or directory")


def test_clearing_another_directory_removes_nothing(tmp_path, ask):
    (tmp_path / "home" / "content" / "ab").mkdir(parents=True)
    (tmp_path / "home" / "content" / "ab" / "thesis.tex").write_bytes(b"mine")
    before = tree(tmp_path / "home")
    assert ask("cache", "--clear", tmp_path / "home")[0] == 0
    assert tree(tmp_path / "home") == before


def test_what_can_not_be_removed_is_told(plan, tmp_path, ask, monkeypatch):
    """As in a cache whose directories are other users'."""
    cache = tmp_path / "cache"
    assert ask("fetch", plan, tmp_path / "a", "--cache", cache)[0] == 0
    unlink, opens = os.unlink, os.open
    kept, unread = sorted(contents(cache).values())

    def refused(path, *arguments, dir_fd=None, **named):
        if path in {kept.name, unread.parent.name}:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        call = opens if arguments else unlink
        return call(path, *arguments, dir_fd=dir_fd, **named)

    monkeypatch.setattr(os, "unlink", refused)
    monkeypatch.setattr(os, "open", refused)
    code, out, err = ask("cache", "--clear", cache)
    assert code == 1
    assert "1 different content, 4.1 kB on disk; removed 0 contents, 0 Bytes" in out
    assert err.startswith(
        "error: files or directories of the cache that can't be read or removed: 2"
    )
    code, out, _ = ask("cache", "--json", cache)
    assert (code, json.loads(out)["failed"]) == (1, 1)
    monkeypatch.undo()
    assert ask("cache", "--clear", cache)[0] == 0


def test_a_finished_plan_opens_no_cache(plan, tmp_path):
    assert run(["fetch", str(plan), str(tmp_path / "a")]) == 0
    assert run(["fetch", str(plan), str(tmp_path / "a"), "--cache", str(tmp_path / "cache")]) == 0
    assert not (tmp_path / "cache").exists()
