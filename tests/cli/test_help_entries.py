"""Each error has an entry of troubleshooting, which quotes it as it is met."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tomllib
import traceback
from pathlib import Path

import pytest

import bidsplan
import wrong_input
import wrong_places
from bidsplan import errors
from bidsplan.cli.help_entries import help_entries
from bidsplan.help_codes import HelpCode
from lab import PROVOKED

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGES = ROOT / "docs" / "troubleshooting" / "errors"
ROW = re.compile(r"^\| \[(\w+)\]\(([\w-]+\.md)#([\w-]+)\) \| `(.*)` \| (.*) \|$", re.M)
HEADING = re.compile(r"^## (BP\d{3}) ([a-z-]+)$", re.M)
HOSTILE = ["\x1b[31m", "\u202e", "a\n::error::b", "\x07\x9b2J", "##[error]"]
PLACEHOLDER = re.compile(r"<[^<>]*>")


assert PROVOKED.keys() == set(HelpCode), (wrong_input, wrong_places)


def quoted(entry):
    """List the messages that an entry quotes."""
    [block] = re.findall(r"^```text\n(.*?)^```", entry.text, re.M | re.S)
    return block.splitlines()


def pattern(message):
    parts = map(re.escape, PLACEHOLDER.split(message))
    return ".*?".join(parts)


@pytest.mark.parametrize("code", HelpCode, ids=lambda code: code.topic)
def test_an_entry_quotes_messages_as_they_are_met(code, lab):
    said = "".join(PROVOKED[code](lab))
    for message in quoted(help_entries()[code]):
        assert re.search(rf"^(?:E +)?{pattern(message)}.*? \[{code}\]$", said, re.M), (
            f"{message}\n\nis not among:\n\n{said}"
        )


def test_codes_are_those_that_were_given_once_and_for_all():
    """A code in a message of an old version must find the same entry in a new one."""
    lines = (FOLDER / "help_codes.txt").read_text(encoding="utf-8").splitlines()
    assert [f"{code} {code.topic}" for code in HelpCode] == lines
    assert len(set(HelpCode)) == len(lines) == len(list(HelpCode.__members__))


def test_each_code_has_one_entry_and_its_row_in_the_index():
    pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES.glob("*.md")}
    headings = [heading for page in pages.values() for heading in HEADING.findall(page)]
    assert sorted(headings) == [(code.value, code.topic) for code in sorted(HelpCode)]
    rows = ROW.findall(pages["index.md"])
    assert [(row[0], row[3], row[4]) for row in rows] == [
        (entry.code, entry.topic, entry.title) for entry in help_entries().values()
    ]
    for code, page, anchor, topic, _ in rows:
        assert anchor == f"{code.lower()}-{topic}"
        assert f"## {code} {topic}\n" in pages[page]


@pytest.mark.parametrize("entry", list(help_entries().values()), ids=lambda entry: entry.topic)
def test_an_entry_says_why_what_to_do_and_how_to_see_that_it_is_solved(entry):
    assert re.match(r"[A-Z].*\.\Z", entry.title)
    assert re.search(r"^Why: ?", entry.text, re.M)
    assert re.search(r"^What to do: ", entry.text, re.M)
    assert re.search(r"^The problem is solved when ", entry.text, re.M)
    assert "<!--" not in entry.text
    assert "**" not in re.sub(r"```.*?```", "", entry.text, flags=re.DOTALL)


def leaves(kind=errors.BidsplanError):
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from leaves(below)


@pytest.mark.parametrize("kind", list(leaves()), ids=lambda kind: kind.__name__)
def test_the_name_of_each_kind_of_error_finds_an_entry(kind, ask):
    code, out, err = ask("help", kind.code)
    assert (code, err) == (0, "")
    assert out.startswith("BP")
    if kind.code not in {above.code for above in kind.__bases__ if hasattr(above, "code")}:
        assert kind.help_code in out


def test_the_name_that_verify_counts_a_failure_by_leads_to_its_code(lab, ask):
    assert f"[{HelpCode.DIFFERS}]" in "".join(PROVOKED[HelpCode.DIFFERS](lab))
    assert "1 failed (corrupt)" in ask("verify", "study.plan.jsonl", "d")[1]
    assert HelpCode.DIFFERS in ask("help", "corrupt")[1]
    assert "counts as 'corrupt'" in " ".join(ask("help", "differs")[1].split())


@pytest.mark.parametrize(
    "name", ["BP503", "bp503", "503", "[BP503]", "source-changed", "Source_Changed"]
)
def test_an_entry_is_found_by_its_number_and_by_its_name(name, ask):
    code, out, err = ask("help", name)
    assert (code, err) == (0, "")
    assert out.startswith("BP503 source-changed\n\nThe object in storage has changed since")
    assert "\n    bidsplan compile study.yaml\n" in out
    assert "```" not in out


def test_links_are_named_by_their_pages(ask):
    assert "Security (docs/explanation/security.md)" in " ".join(ask("help", "BP205")[1].split())


def test_several_codes_are_explained_at_once(ask):
    out = ask("help", "BP503", "BP701")[1]
    assert re.findall(r"^BP\d{3} ", out, re.M) == ["BP503 ", "BP701 "]
    rows = ask("help", "--json", "BP503", "BP701")[1].splitlines()
    assert [json.loads(row)["topic"] for row in rows] == ["source-changed", "existing"]


def test_all_codes_are_listed_with_a_line_each(ask):
    code, out, _ = ask("help")
    assert code == 0
    assert out.splitlines() == [f"{entry.code}  {entry.title}" for entry in help_entries().values()]


def test_a_command_is_explained_as_by_itself(ask):
    assert ask("help", "fetch")[1] == ask("fetch", "--help")[1]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sorce-changed", "source-changed"), ("BP5003", "BP503"), ("fetsh", "fetch")],
)
def test_a_name_that_is_none_is_answered_by_the_nearest(name, hint, ask):
    code, out, err = ask("help", name)
    assert (code, out) == (2, "")
    assert f"did you mean '{hint}'?" in err


def test_json_has_the_code_of_each_failure_and_the_sum_has_them_all(lab, ask):
    list(PROVOKED[HelpCode.EXISTING](lab))
    code, out, err = ask("fetch", "study.plan.jsonl", "d", "--json")
    *_, total = rows = [json.loads(line) for line in out.splitlines()]
    [failed] = [row for row in rows if "error" in row]
    assert (code, failed["error"], failed["help_code"]) == (1, "existing", "BP701")
    assert total["help_codes"] == ["BP701"]
    assert err.splitlines()[-1] == "for help: bidsplan help BP701"


def test_python_is_told_by_the_error_and_its_traceback_not_by_its_text(lab):
    lab.manifest("files: {sufixes: [T1w]}\npassword: x")
    with pytest.raises(errors.ManifestError) as caught:
        bidsplan.fetch("study.yaml", "d")
    error = caught.value
    assert [problem.help_code for problem in error.problems] == ["BP203", "BP204"]
    assert error.help_code == "BP203"
    assert "BP2" not in str(error)
    assert "for help: bidsplan help BP203 BP204" in traceback.format_exception(error)[-1]
    copy = pickle.loads(pickle.dumps(errors.DeniedError("x", help_code=HelpCode.REGION)))
    assert (copy.help_code, copy.__notes__) == ("BP512", ["for help: bidsplan help BP512"])


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_printed_drives_no_terminal(text, lab, ask):
    lab.manifest(f"files: {{{json.dumps(text + 'x')}: [T1w]}}")
    for arguments in (("validate", "study.yaml"), ("help", text + "x"), ("compile", "study.yaml")):
        code, out, err = ask(*arguments)
        assert code == 2
        assert all(line.isprintable() for line in (out + err).splitlines())
        assert re.search(r"\[BP\d{3}\]\nfor help: bidsplan help BP\d{3}\n\Z", err)


def test_an_installed_package_has_the_entries_with_it(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    shutil.copytree(ROOT / "src" / "bidsplan", tmp_path / "bidsplan")
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, tmp_path / target)
    done = subprocess.run(
        [sys.executable, "-m", "bidsplan", "help", "BP503"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[:20]) == (0, "BP503 source-changed")
