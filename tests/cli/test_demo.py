"""The demo that comes with the package: it is written whole, and nothing of others is touched."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest


def tree(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_demo_leads_from_a_plan_to_a_report_of_what_is_missing(ask_here):
    code, out, err = ask_here("demo", "try")
    assert (code, err) == (0, "")
    first, *steps = out.splitlines()
    assert first == "wrote try/study.yaml and its study: 174 files, 88.8 kB"
    entered, *commands = [step.removeprefix("next:").strip() for step in steps]
    assert entered == "cd try"
    os.chdir("try")
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "bidsplan"
        assert ask_here(*arguments)[0] == 0, command
    assert Path("data/dataset_description.json").is_file()
    assert "sub-2" in Path("study.report.html").read_text(encoding="utf-8")
    manifest = Path("study.yaml").read_text(encoding="utf-8")
    Path("study.yaml").write_text(manifest.replace("count: 3", "count: 4"), encoding="utf-8")
    code, out, err = ask_here("diff", "study.yaml")
    assert (code, out.splitlines()[1]) == (1, "subjects added: 10")
    assert "derivatives.afq: 1 of 4 selected subjects has no file" in err


def test_the_demo_is_written_once(ask_here):
    ask_here("demo", "d")
    before = {path: path.stat().st_mtime_ns for path in Path("d").rglob("*")}
    code, out, _ = ask_here("demo", "--json", "d")
    assert (code, json.loads(out)["written"]) == (0, 0)
    assert ask_here("demo", "d")[1].startswith("already there: d/study.yaml and its study: ")
    assert {path: path.stat().st_mtime_ns for path in Path("d").rglob("*")} == before


def test_what_is_missing_of_the_demo_is_written_again(ask_here):
    ask_here("demo", "d")
    whole = tree(Path("d"))
    shutil.rmtree("d/study/sub-1")
    Path("d/notes.txt").write_text("mine")
    assert ask_here("demo", "d")[0] == 0
    assert tree(Path("d")) == {**whole, Path("d/notes.txt"): b"mine"}


@pytest.mark.parametrize("kind", ["file", "directory", "pipe", "link"])
def test_other_files_are_kept_and_nothing_is_written(ask_here, kind):
    Path("d").mkdir()
    manifest = Path("d/study.yaml")
    if kind == "file":
        manifest.write_text("mine")
    elif kind == "directory":
        manifest.mkdir()
    elif kind == "pipe":
        os.mkfifo(manifest)
    else:
        Path("other").write_text("mine")
        manifest.symlink_to("../other")
    code, out, err = ask_here("demo", "d")
    assert (code, out) == (1, "")
    assert err.startswith(
        "error: d: there are other files than the demo's: study.yaml; nothing was written; remove "
        "them, or choose another directory [BP706]\n"
    )
    assert list(Path("d").iterdir()) == [manifest]


def test_a_directory_that_can_not_be_written_is_named(ask_here):
    Path("file").write_text("mine")
    code, _, err = ask_here("demo", "file/d")
    assert (code, err.startswith("error: file/d")) == (1, True)
    assert "Not a directory" in err
    assert "choose another directory" in err


@pytest.mark.parametrize("name", ["it's $(touch pwned)", "-d", "two\nlines\x1b[31m"])
def test_the_next_command_takes_any_name(ask_here, name):
    code, out, _ = ask_here("demo", "--", name)
    assert code == 0
    assert re.search("[\x00-\x09\x0b-\x1f]", out) is None
    [entered] = re.findall("^next: (.*)$", out, re.M)
    if name.isprintable():
        assert Path(shlex.split(entered)[-1]) == Path(name)
        assert not shlex.split(entered)[-1].startswith("-")
    assert Path(name, "study.yaml").is_file()
