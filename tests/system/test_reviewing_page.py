"""The page on reviewing shows what its commands print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "reviewing.md"


def test_the_examples_print_what_the_page_shows(tmp_path):
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    program = tmp_path / "bin" / "bidsplan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bidsplan "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    names = {
        f"GIT_{role}_{what}": "a@b"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environment = {
        **os.environ,
        **names,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
    }

    def run(command):
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path / "manifests",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    run("git init --quiet .")
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for block in blocks:
        shown = ""
        for command in re.findall(r"^\$ (.*)", block, re.M):
            done = run(command)
            assert done.stderr == ""
            shown += f"$ {command}\n{done.stdout}"
        assert shown == block
    assert len(blocks) >= 5
