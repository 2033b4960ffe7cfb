"""Runs the blocks of a page as its reader does: one shell and one Python, in order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

_END = "\0"
_SHELL = """set -a
. "$READER_STATE"
trap '{ export -p; printf "cd %q\\n" "$PWD"; } >"$READER_STATE"' EXIT
"""
_PYTHON = """
import json, os, sys
names = {"__name__": "__main__"}
for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    exec(compile(asked["code"], asked["name"], "exec"), names)
    print(end="\\0", flush=True)
"""


class Reader:
    """A person at a terminal, who types what a page shows.

    What one block of shell exports, and where it goes, holds for the next ones; what a block of
    Python defines, too.

    Parameters
    ----------
    folder : Path
        Where the first block is typed.
    home : Path
        The person's home directory, which is empty.
    variables : dict of str to str
        What the environment has beside the test's own. By any other text than a variable's name:
        what is meant where a page has that text, such as a server of the test for one that a
        page makes up.
    """

    def __init__(self, folder: Path, home: Path, variables) -> None:
        self._folder, self._home, self._state = folder, home, home / "state"
        self._meant = {name: text for name, text in variables.items() if not name.isidentifier()}
        variables = {name: text for name, text in variables.items() if name.isidentifier()}
        self._state.write_text("")
        program = home / "bin" / "bidsplan"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bidsplan "$@"\n')
        program.chmod(0o755)
        self._environment = {
            **os.environ,
            **variables,
            "HOME": str(home),
            "PATH": os.pathsep.join(
                [str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "READER_STATE": str(self._state),
        }
        self._python = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._python is not None:
            self._python.stdin.close()
            self._python.stdout.close()
            self._python.wait(timeout=30)

    def do(self, block) -> None:
        """Type a block, or write the file that it shows; fail if it does not do what it shows."""
        block = replace(
            block,
            text=self._translated(block.text),
            prints=block.prints and self._translated(block.prints),
        )
        if block.kind == "file":
            own = block.title.startswith("~/")
            path = self._home / block.title[2:] if own else self._here() / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            self._type_python(block)
        elif calls := list(block.calls()):
            self._type_session(block, calls)
        else:
            done = self.shell(f"set -euo pipefail\n{block.text}")
            assert done.returncode == 0, f"line {block.line}: {block.text}\n{done.stdout}"
            self._compare(block, done.stdout)

    def _translated(self, text: str) -> str:
        for shown, meant in self._meant.items():
            text = text.replace(shown, meant)
        return text

    def _here(self) -> Path:
        found = re.search(r"^cd (.*)$", self._state.read_text(), re.M)
        return Path(self._shell_word(found[1])) if found else self._folder

    def _shell_word(self, word):
        return subprocess.run(
            ["bash", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True
        ).stdout

    def shell(self, script):
        """Run commands in the reader's shell; gives the process, with all that it printed."""
        return subprocess.run(
            ["bash", "-c", f"{_SHELL}{script}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=200,
        )

    def _type_session(self, block, calls) -> None:
        """Run each command, whatever its exit code, and compare what it prints."""
        done = self.shell("".join(f"{command}\nprintf '\\0'\n" for command, _ in calls))
        printed = done.stdout.split(_END)[: len(calls)]
        got = "".join(
            f"$ {command}\n{text}" for (command, _), text in zip(calls, printed, strict=True)
        )
        assert shows(block.text, got), f"line {block.line}: the commands print\n\n{got}"

    def _type_python(self, block) -> None:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", _PYTHON],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        exported = self.shell("env -0").stdout.split(_END)
        asked = {
            "code": block.text,
            "name": f"line {block.line}",
            "folder": str(self._here()),
            "environment": dict(line.split("=", 1) for line in exported if "=" in line),
        }
        print(json.dumps(asked), file=self._python.stdin, flush=True)
        printed = ""
        while not printed.endswith(_END):
            read = self._python.stdout.read(1)
            assert read, f"line {block.line}: {printed}"
            printed += read
        self._compare(block, printed.removesuffix(_END))

    @staticmethod
    def _compare(block, printed) -> None:
        if block.prints is not None:
            assert shows(block.prints, printed), f"line {block.line} prints\n\n{printed}"


def shows(shown: str, got: str) -> bool:
    """Tell whether a page shows what was printed; ``…`` stands for anything, also of many lines."""
    pattern = ".*".join(re.escape(part) for part in shown.rstrip("\n").split("…"))
    return re.fullmatch(pattern, got.rstrip("\n"), re.S) is not None
