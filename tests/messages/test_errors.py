"""Messages stay short, whatever they are made of."""

from __future__ import annotations

import json
import re

import pytest

from bidsplan.cli.main import run
from bidsplan.errors import BidsplanError, Problem, SelectionError, StorageError
from bidsplan.messages import clipped

LONG = {
    "plain": "x" * 1_500_000,
    "NUL": "\0" * 1_500_000,
    "wide": "\U0001f9e0" * 400_000,
    "surrogates": "\udce9" * 400_000,
    "lines": "line\n" * 300_000,
}


def printed(text):
    """Count the bytes that text takes when it is printed."""
    shown = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    return len(shown)


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_message_has_more_than_two_kilobytes(text):
    problem = Problem(message=text, at=("a", text), expected=text, hint=text, file=text, line=1)
    assert printed(str(problem)) <= 2000
    for part in (problem.message, problem.expected, problem.hint):
        assert printed(part) <= 800
    assert printed(str(BidsplanError(text))) <= 2000
    assert printed(str(StorageError(f"start {text} end"))) <= 2000
    assert str(StorageError(f"start {text} end")).startswith("start ")
    assert str(StorageError(f"start {text} end")).endswith(" end")


def test_a_message_of_many_problems_says_how_many_more_there_are():
    problems = [Problem(message=f"there is no subject 'S{n:05}'") for n in range(10_000)]
    error = SelectionError(problems=problems)
    assert [str(problem) for problem in error.problems] == [str(problem) for problem in problems]
    *lines, last = str(error).split("\n")
    assert lines == [str(problem) for problem in problems[: len(lines)]]
    assert last == f"and {10_000 - len(lines):,} more problems"
    assert len(lines) > 40
    assert printed(str(error)) <= 2000


def test_short_messages_are_left_as_they_are():
    problem = Problem(message="is wrong", at=("files", 0), expected="one of a, b", hint="say a")
    assert str(problem) == "files[0]: is wrong; expected one of a, b; say a"
    assert str(SelectionError(problems=[problem, problem])) == f"{problem}\n{problem}"
    assert clipped("x" * 2000) == "x" * 2000
    assert re.fullmatch(r"x+ \[… [0-9,]+ characters …\] x+", clipped("x" * 2001))


def test_a_table_filled_with_nul_bytes_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study/sub-01/anat").mkdir(parents=True)
    (tmp_path / "study/sub-01/anat/sub-01_T1w.nii").write_bytes(b"x")
    (tmp_path / "study/participants.tsv").write_bytes(b"\0" * 1_500_000)
    (tmp_path / "m.yaml").write_text(
        "manifest_version: 1\nstudy: {id: s, url: study}\nsubjects: {from: both}\n"
    )
    assert run(["compile", "m.yaml", "--json"]) == 1
    captured = capsys.readouterr()
    assert len(captured.err) < 2000
    data = json.loads(captured.out)
    assert "it has NUL bytes" in data["message"]
    assert [set(problem) for problem in data["problems"]] == [
        {"message", "file", "line", "at", "hint", "help_code"}
    ]
