"""After a fetch, the commands that are named work as they are written."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAN = "demo.plan.jsonl"


@pytest.fixture
def ask_with_plan(ask_here, tmp_path):
    """Run commands beside the demo study, its manifest and its plan."""
    shutil.copytree(ROOT / "manifests" / "demo", tmp_path / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", tmp_path)
    assert ask_here("compile", "demo.yaml")[0] == 0
    return ask_here


def named(said):
    """Return the commands that a message names."""
    line = next(line for line in said.splitlines() if line.startswith("next: "))
    return [shlex.split(found)[1:] for found in re.findall("'(bidsplan [^']*)'", line)]


@pytest.mark.parametrize(
    "part",
    [
        ["--subject", "1"],
        ["--subject", "1", "--subject", "11", "--shard", "1/2"],
        ["--subject", "1", "--session", "baseline"],
        ["--shard", "2/3"],
        ["--subject", "1", "--shard", "1/2"],
    ],
    ids=" ".join,
)
def test_after_a_partial_fetch_the_same_part_is_verified(ask_with_plan, part):
    code, _, said = ask_with_plan("fetch", *part, PLAN, "some")
    assert code == 0, said
    verify = named(said)[0]
    assert verify == ["verify", *part, PLAN, "some"]
    assert ask_with_plan(*verify)[0] == 0
    assert ask_with_plan("verify", PLAN, "some")[0] == 1


def test_the_manifest_of_a_plan_is_named_to_show_what_the_study_lacks(ask_with_plan):
    said = ask_with_plan("fetch", PLAN, "all")[2]
    assert named(said)[1] == ["report", "demo.yaml"]
    for command in named(said):
        assert ask_with_plan(*command)[0] == 0


@pytest.mark.parametrize("beside", ["none", "another", "invalid"])
def test_a_plan_without_its_manifest_is_not_said_to_show_it(ask_with_plan, beside):
    manifest = Path("demo.yaml")
    text = manifest.read_text(encoding="utf-8").replace("random_seed: 42", "random_seed: 43")
    if beside == "none":
        manifest.unlink()
    else:
        manifest.write_text(text if beside == "another" else "filters: [")
    code, _, said = ask_with_plan("fetch", PLAN, "all")
    assert code == 0
    assert named(said) == [["verify", PLAN, "all"]]
    assert "lacks" not in said
    assert "warning" not in said


@pytest.mark.parametrize("place", ["all", "with space"])
def test_the_command_that_removes_files_of_an_earlier_plan_has_its_names(ask_with_plan, place):
    assert ask_with_plan("fetch", "demo.yaml", place)[0] == 0
    manifest = Path("demo.yaml")
    text = manifest.read_text(encoding="utf-8").replace("{count: 2}", "{count: 1}")
    manifest.write_text(text)
    said = ask_with_plan("fetch", "demo.yaml", place)[2]
    found = re.search(r"still there; '(bidsplan prune .*)' removes what the plan no longer", said)
    prune = shlex.split(found[1])[1:]
    assert prune == ["prune", "demo.yaml", place]
    assert ask_with_plan(*prune, "--yes")[0] == 0
    assert "still there" not in ask_with_plan("fetch", "demo.yaml", place)[2]
