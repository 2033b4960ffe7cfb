"""Runs the commands of a page as a reader would, and writes the page with what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)(?: title=\"(.*?)\")?\n(.*?)^```$", re.M | re.S)
_MARK = "\036"


def _commands(block: str) -> list[str]:
    """Return the commands of a block, each with the lines that continue it."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif found and found[-1].endswith("\\"):
            found[-1] += f"\n{line}"
    return found


def _script(text: str) -> str:
    """Make a shell script of all commands of a page, and of the files that it shows."""
    lines = []
    for kind, title, block in _BLOCK.findall(text):
        if kind == "console":
            lines += [f"printf '{_MARK}'\n{command}" for command in _commands(block)]
        elif title:
            path = shlex.quote(title) if title[0] != "~" else f'"$HOME{title[1:]}"'
            lines.append(f"mkdir -p \"$(dirname {path})\"\ncat > {path} <<'END'\n{block}END")
    return "\n".join([*lines, ""])


def _program(folder: Path) -> Path:
    """Write the command ``bidsplan`` that is tested, and return its folder."""
    program = folder / "bidsplan"
    folder.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bidsplan "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder


def play(page: Path, home: Path, *, real: dict[str, str] | None = None, **environment: str) -> str:
    """Run a page's console blocks in one shell, and return the page with their output.

    Parameters
    ----------
    page : Path
        A block with a title is written to that file.
    home : Path
        The shell's home, in whose folder ``work`` it starts.
    real : dict of str to str, optional
        What stands for a text of the page where it runs: a server on the loopback for another one.
    **environment
    """
    text = page.read_text(encoding="utf-8")
    script, names = _script(text), {}
    for shown, meant in (real or {}).items():
        script = script.replace(shown, meant)
        names[meant] = shown
    (home / "work").mkdir(exist_ok=True)
    path = [_program(home / ".bin"), Path(sys.executable).parent, os.environ["PATH"]]
    inherited = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home / "work",
        env={
            **inherited,
            "HOME": str(home),
            "PATH": os.pathsep.join(map(str, path)),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    printed = done.stdout
    for meant, shown in names.items():
        printed = printed.replace(meant, shown)
    before, *outputs = printed.split(_MARK)
    assert before == ""
    remaining = iter(outputs)

    def played(match: re.Match[str]) -> str:
        if match[1] != "console":
            return match[0]
        lines = [f"$ {command}\n{next(remaining)}" for command in _commands(match[3])]
        return f"```console\n{''.join(lines)}```"

    return _BLOCK.sub(played, text)
