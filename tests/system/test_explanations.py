"""The pages that explain show what the code and its tests do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bidsplan.plan.integrity import CheckMethod

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "explanation"
SELECTION = PAGES / "selection.md"
CASES = ROOT / "tests" / "compile" / "golden"
SHOWN = re.compile(
    r"<!-- case: ([\w-]+) -->\n(?:\n```yaml\n.*?^```\n\n```text\n.*?^```\n)?", re.M | re.S
)


def shown_case(name):
    """Give what the page shows of a golden case: its manifest, and why each file is in or out."""
    case = yaml.safe_load((CASES / f"{name}.yaml").read_text(encoding="utf-8"))
    listed = [line.strip().partition(" | ")[0] for line in case["listing"].strip().splitlines()]
    planned = [line.split(None, 1)[::-1] for line in case["plan"].strip().splitlines()]
    reasons = dict.fromkeys([*listed, *(case.get("contents") or {})], "-") | dict(planned)
    rows = [f"{reasons[path]:<11} {path}" for path in sorted(reasons)]
    text = "\n".join(rows)
    return f"\n```yaml\n{case['manifest']}```\n\n```text\n{text}\n```\n"


def test_selection_is_explained_by_golden_cases(tmp_path):
    """That the plan of each case is what it says is for its own test."""
    page = SELECTION.read_text(encoding="utf-8")
    made = SHOWN.sub(lambda found: f"<!-- case: {found[1]} -->\n{shown_case(found[1])}", page)
    (tmp_path / SELECTION.name).write_text(made, encoding="utf-8")
    assert page.count("<!-- case: ") > 10
    assert page == made, f"what the cases are now is in {tmp_path / SELECTION.name}"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_every_test_that_is_named_exists(page):
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_ladder_of_checks_is_whole_and_in_order():
    ladder = (PAGES / "verification.md").read_text(encoding="utf-8").split("## ")[2]
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", ladder, re.M) == list(CheckMethod)


def test_seeds_of_hashes_change_nothing(tmp_path):
    plans = []
    for seed in ("0", "1", "2"):
        plan = tmp_path / f"{seed}.plan.jsonl"
        command = [sys.executable, "-m", "bidsplan", "compile", "--quiet", "demo.yaml", "-o", plan]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, cwd=ROOT / "manifests", env=environment, check=True)
        plans.append(plan.read_bytes())
    assert len(set(plans)) == 1
