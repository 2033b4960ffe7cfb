"""Completion in real shells: what appears after a press of the tab key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]

# (typed, what the line is after the tab key)
CASES = [
    ("bidsplan val", "bidsplan validate"),
    ("bidsplan fetch --lo", "bidsplan fetch --locked"),
    ("bidsplan fetch --existing rep", "bidsplan fetch --existing replace"),
    ("bidsplan fetch stu", "bidsplan fetch study.yaml"),
    ("bidsplan verify study.yaml dest", "bidsplan verify study.yaml destination"),
    ("bidsplan schema rep", "bidsplan schema report"),
]

INTERACTIVE = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
PAGE = (ROOT / "docs" / "how-to" / "completion.md").read_text(encoding="utf-8")
# Of each shell the first block; another one of bash writes a file.
SHOWN = dict(reversed(re.findall(r"^```(bash|zsh|fish)\n(\S.*)\n```$", PAGE, re.M)))
SET_UP = {
    "bash": f'PS1="ready> "; bind "set enable-bracketed-paste off"; {SHOWN["bash"]}; clear\n',
    "zsh": f'PS1="ready> "; autoload -U compinit; compinit -u -D; {SHOWN["zsh"]}; clear\n',
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder that has a manifest and a destination, with the command on the path."""
    (tmp_path / "study.yaml").touch()
    (tmp_path / "destination").mkdir()
    (tmp_path / "destined.txt").touch()
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("shell", INTERACTIVE)
def test_the_tab_key_completes_commands_options_choices_and_paths(shell, folder):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    terminal = Terminal(INTERACTIVE[shell], rows=50)
    terminal.press(SET_UP[shell].encode())
    terminal.wait_for(lambda lines: lines and lines[-1].strip() == "ready>")
    for typed, completed in CASES:
        terminal.press(typed.encode() + b"\t")
        terminal.wait_for(lambda lines, line=f"ready> {completed}": lines[-1].rstrip("/ ") == line)
        terminal.press(b"\x15\f")  # forget the line, and clear the screen
        terminal.wait_for(lambda lines: len(lines) == 1 and lines[-1].strip() == "ready>")
    terminal.press(b"exit\n")
    terminal.wait()


def test_fish_completes_them_too(folder):
    if shutil.which("fish") is None:
        pytest.skip("there is no fish")
    asked = "; ".join(f"complete -C '{typed}'" for typed, _ in CASES)
    script = f"{SHOWN['fish']}; {asked}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True
    )
    found = [line.split("\t")[0].rstrip("/") for line in done.stdout.splitlines()]
    assert found == [completed.rpartition(" ")[2] for _, completed in CASES]


def test_an_unknown_command_completes_to_nothing_and_says_nothing(folder):
    asked = {"_BIDSPLAN_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    done = subprocess.run(
        ["bidsplan"],
        env={**os.environ, **asked, "COMP_WORDS": "bidsplan fecth stu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_every_command_is_offered_without_importing_any(folder):
    code = (
        "import sys; from bidsplan.cli.main import run\n"
        "try: run([])\n"
        "except SystemExit: print([name for name in sys.modules if 'cli.commands.' in name])"
    )
    environment = {
        "_BIDSPLAN_COMPLETE": "zsh_complete",
        "COMP_WORDS": "bidsplan ",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\nfetch\nFetch a plan's files to a destination.\n" in done.stdout
    assert done.stdout.endswith("[]\n")
