"""Workflow commands of GitHub Actions: wanted ones at their lines, and no others.

The runner that reads the output is written here as its source has it, in ActionCommand.cs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bidsplan.cli.console import Console
from bidsplan.cli.workflow_commands import annotation, harmless, harmless_json
from bidsplan.paths import printable

COMMANDS = {
    "error",
    "warning",
    "notice",
    "debug",
    "add-mask",
    "stop-commands",
    "set-output",
    "group",
}
DATA = [("%0D", "\r"), ("%0A", "\n"), ("%25", "%")]
PROPERTY = [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")]
HOSTILE = "::error::x\n  ::set-output name=a::b\r::debug::c\u0085##[error]d ::%0A::group::e"


def unescaped(text, pairs):
    for escaped, plain in pairs:
        text = text.replace(escaped, plain)
    return text


def command_of(line):
    """Return a line's command, properties and data as the runner reads them, or None."""
    text = line.lstrip()
    if text.startswith("::") and (end := text.find("::", 2)) >= 0:
        name, _, rest = text[2:end].partition(" ")
        if name in COMMANDS:
            pairs = [pair.split("=", 1) for pair in rest.strip().split(",") if "=" in pair]
            properties = {key: unescaped(value, PROPERTY) for key, value in pairs}
            return name, properties, unescaped(text[end + 2 :], DATA)
    start = line.find("##[")
    if start >= 0 and (end := line.find("]", start)) >= 0:
        name = line[start + 3 : end].partition(" ")[0]
        return (name, {}, line[end + 1 :]) if name in COMMANDS else None
    return None


def commands_in(text):
    found = [command_of(line) for line in re.split("[\r\n]", text)]
    return [command for command in found if command]


@pytest.fixture
def workflow(monkeypatch, tmp_path):
    """Work in a folder of a workflow's checkout."""
    folder = tmp_path / "checkout" / "studies"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "checkout"))
    monkeypatch.chdir(folder)
    return folder


MANIFEST = "manifest_version: 1\nstudy: {id: x, url: s3://b/x}\nfiles: {%s: [dwi]}\n"


def test_problems_are_shown_at_their_lines(workflow, ask):
    Path("x.yaml").write_text(MANIFEST % "sufixes")
    code, out, err = ask("validate", "x.yaml", "--json")
    assert code == 2
    assert json.loads(out)["valid"] is False
    assert commands_in(err) == [
        (
            "error",
            {"file": "studies/x.yaml", "line": "3", "title": "bidsplan: files.sufixes"},
            "x.yaml:3: files.sufixes: unknown field 'sufixes'; did you mean 'suffixes'? [BP203]",
        )
    ]
    assert err.splitlines()[1:] == ["for help: bidsplan help BP203"]


def test_warnings_are_shown_at_their_lines(workflow, ask):
    Path("x.yaml").write_text(MANIFEST.replace("dwi", "dwj") % "suffixes")
    code, _, err = ask("validate", "x.yaml")
    [(label, properties, _)] = commands_in(err)
    assert (code, label, properties["line"]) == (0, "warning", "3")


def test_elsewhere_they_are_plain_lines(workflow, ask, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS")
    Path("x.yaml").write_text(MANIFEST % "sufixes")
    assert ask("validate", "x.yaml")[2].startswith("error: x.yaml:3: files.sufixes: ")


def test_a_manifest_outside_of_the_checkout_keeps_its_path(workflow, ask, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(MANIFEST % "sufixes")
    [(_, properties, _)] = commands_in(ask("validate", path)[2])
    assert properties["file"] == str(path)


def test_what_ends_a_command_is_shown_without_a_place(workflow, ask):
    code, _, err = ask("verify", "x.jsonl", "data")
    assert code == 2
    assert commands_in(err) == [
        (
            "error",
            {"title": "bidsplan"},
            "x.jsonl: can't be read: No such file or directory [BP405]",
        )
    ]


def test_wrong_usage_is_shown_without_a_place(workflow, ask):
    code, _, err = ask("validate", "--strikt", "x.yaml")
    [(label, properties, data)] = commands_in(err)
    assert (code, label, properties) == (2, "error", {"title": "bidsplan"})
    assert data.startswith("No such option '--strikt'")


@pytest.mark.parametrize("key", [HOSTILE, "a,line=1::b", "##[error]x", "\u3164::error::x"])
def test_a_hostile_field_is_one_command(key, workflow, ask):
    Path("x.yaml").write_text(MANIFEST % json.dumps(key))
    code, out, err = ask("validate", "x.yaml")
    assert (code, commands_in(out)) == (2, [])
    [(label, properties, data)] = commands_in(err)
    assert (label, set(properties)) == ("error", {"file", "line", "title"})
    assert (properties["file"], properties["line"]) == ("studies/x.yaml", "3")
    assert properties["title"].startswith("bidsplan: files.")
    assert len(err.splitlines()) == 2
    assert "\n" not in data


def test_a_hostile_file_name_is_one_command(workflow, ask):
    folder = Path("a\n::error::b,c")
    folder.mkdir()
    (folder / "x.yaml").write_text(MANIFEST % "sufixes")
    code, out, err = ask("validate", folder / "x.yaml")
    assert (code, commands_in(out), len(commands_in(err))) == (2, [], 1)


@pytest.mark.parametrize("enabled", ["true", ""])
def test_no_name_in_any_message_is_a_command(enabled, workflow, capsys, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", enabled)
    console = Console(json=True)
    console.say(HOSTILE)
    console.error(HOSTILE)
    console.record({HOSTILE: [HOSTILE]})
    Console().result(HOSTILE, {})
    captured = capsys.readouterr()
    assert commands_in(captured.out) == commands_in(captured.err) == []
    assert json.loads(captured.out.split("\n")[0]) == {HOSTILE: [HOSTILE]}


WORDS = st.lists(
    st.sampled_from(
        ["::", ":", "##[", "error", " ", "\n", "\r", "%", "%25", ",", "=", "]", "é", "x"]
    )
    | st.text(max_size=2)
).map("".join)


@given(WORDS)
@example("\u00a0::error::x")
@example("\ufe0f::error::x")
def test_text_that_was_made_harmless_holds_no_command(text):
    shown = harmless("\n".join(map(printable, text.split("\n"))))
    assert commands_in(shown) == []
    # Characters without a width may be skipped too; only what can be seen counts.
    for line in shown.split("\n"):
        seen = "".join(character for character in line if "!" <= character <= "~")
        assert not seen.startswith("::")


@given(WORDS)
def test_json_that_was_made_harmless_means_the_same(text):
    document = json.dumps({text: text}, ensure_ascii=False)
    assert json.loads(harmless_json(document)) == {text: text}
    assert commands_in(harmless_json(document)) == []


@given(WORDS, WORDS, WORDS)
def test_the_runner_reads_what_was_written(text, file, title):
    # The runner drops blanks at both ends of the properties.
    line = annotation("error", text, file=file + ".", line=7, title=title + ".")
    assert command_of(line) == (
        "error",
        {"file": file + ".", "line": "7", "title": title + "."},
        text,
    )
