"""Every command that the documents show is one, and those of two more pages are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bidsplan.cli.main import bidsplan

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = {"bidsplan", ".venv/bin/bidsplan"}


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(?:console|sh|bash|shell)\n(.*?)^```", text, re.M | re.S)


def commands(block):
    """Yield the words of each call of bidsplan in a block of shell."""
    for line in block.replace("\\\n", " ").splitlines():
        for part in re.split(r" && | \| ", line.strip().removeprefix("$ ")):
            if "bidsplan " not in part or part.startswith("#"):
                continue
            words = shlex.split(part.partition(" > ")[0], comments=True)
            if words and words[0] in PROGRAMS:
                yield words[1:]


SHOWN = [
    pytest.param(words, id=f"{page.stem}: {shlex.join(words)[:60]}")
    for page in PAGES
    for block in blocks(page)
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


@pytest.fixture
def study(tmp_path, bucket, moto, monkeypatch):
    """Give a folder with a manifest and the plan of a public study of two subjects."""
    files = {
        "dataset_description.json": b'{"Name": "study", "BIDSVersion": "1.10.0"}',
        **{f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz": bytes([n]) * 900 for n in (1, 2)},
        **{f"sub-0{n}/anat/sub-0{n}_T1w.json": b"{}" for n in (1, 2)},
    }
    for path, data in files.items():
        bucket.put(f"study/{path}", data)
    url = f"s3://{bucket.name}/study"
    text = f"manifest_version: 1\nstudy: {{id: study, url: {url}}}\n"
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.url)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    run_shell("bidsplan compile study.yaml", tmp_path)
    return tmp_path


def run_shell(script, folder):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_page_of_many_jobs_runs(study):
    """All but the cluster, which has tests of its own, and the scripts, which have too."""
    shown = [block for block in blocks(ROOT / "docs" / "user" / "scaling.md") if "#!" not in block]
    local = [block for block in shown if "dask" not in block]
    assert len(shown) - len(local) == 1
    for block in local:
        run_shell(block.replace("/shared/study", "shared"), study)
    assert (study / "data/sub-01/anat/sub-01_T1w.nii.gz").exists()
    assert not (study / "data/sub-02").exists()
    assert (study / "parts/index.tsv").exists()


def test_exports_that_are_shown_are_written(study):
    lines = [
        line
        for block in blocks(ROOT / "docs" / "user" / "exporting.md")
        for line in block.splitlines()
        if line.startswith("bidsplan export")
    ]
    run_shell("bidsplan fetch study.plan.jsonl data && bidsplan pin study.plan.jsonl data", study)
    for line in lines:
        run_shell(line, study)
    assert len({line.split("--to ")[1].split()[0] for line in lines}) == 9
