"""What the pages tell a reader to type can be typed, and does what they show."""

from __future__ import annotations

import os
import re
import shlex
import sys

import click
import pytest

from bidsplan.cli.main import bidsplan
from reader import Reader
from setups import ROOT, SETUPS

sys.path.insert(0, str(ROOT / "docs" / "site"))

from snippets import read_page

PAGES = {
    str(path.relative_to(ROOT)): read_page(path)
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
RUN = {name: page for name, page in PAGES.items() if page.runnable}
BY_ENTRY = ("entries",)
"""Set-up of the pages of errors, which tests/cli/test_entries_followed.py runs entry by entry."""
PROGRAMS = {"bidsplan", ".venv/bin/bidsplan"}


def commands(block):
    """Yield the words of each call of bidsplan in a block of shell."""
    typed = [command for command, _ in block.calls()] or [block.text]
    for line in "\n".join(typed).replace("\\\n", " ").splitlines():
        for part in re.split(r" && | \| ", line.strip().removeprefix("$ ")):
            if "bidsplan " not in part or part.startswith("#"):
                continue
            words = shlex.split(part.partition(" > ")[0], comments=True)
            if words and words[0] in PROGRAMS:
                yield words[1:]


SHOWN = [
    pytest.param(words, id=f"{name}: {shlex.join(words)[:60]}")
    for name, page in PAGES.items()
    for block in page.blocks
    if block.kind == "shell"
    for words in commands(block)
]


def test_the_documents_show_commands():
    assert len(SHOWN) > 25


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_that_is_shown_can_be_parsed(words):
    # What a shell would fill in is a number or a name.
    name, *arguments = [re.sub(r"\$\w+", "1", word) for word in words]
    context = click.Context(bidsplan)
    command = bidsplan.get_command(context, name)
    assert command is not None
    command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("name", RUN)
def test_a_page_says_where_its_blocks_run(name):
    page = RUN[name]
    left = [block.line for block in page.runnable if not block.skipped]
    assert page.setups is not None, "<!-- page: … --> is missing; see docs/site/snippets.py"
    assert page.setups == BY_ENTRY or set(page.setups) <= set(SETUPS)
    assert bool(left) == bool(page.setups), f"blocks at lines {left}, and {page.setups}"


@pytest.mark.timeout(240)  # seconds where nothing else runs
@pytest.mark.parametrize(
    "name", [name for name, page in RUN.items() if page.setups not in {(), BY_ENTRY}]
)
def test_the_blocks_of_a_page_do_what_it_shows(name, moto, tmp_path, monkeypatch):
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "A")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
    variables = {}
    for setup in RUN[name].setups:
        variables |= SETUPS[setup](folder, moto.url)
    with Reader(folder, home, variables) as reader:
        for block in RUN[name].runnable:
            if not block.skipped:
                reader.do(block)
