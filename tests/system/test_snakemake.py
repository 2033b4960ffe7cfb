"""The Snakemake workflows, run on the demo study."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bidsplan.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "examples" / "snakemake"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A copy of the demo study and its manifest, in the current directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "manifests", "manifests")
    return compiled


def compiled(text="count: 2"):
    """Compile the demo with as many subjects."""
    manifest = Path("manifests", "demo.yaml")
    manifest.write_text(re.sub(r"count: \d+", text, manifest.read_text()))
    assert run(["compile", "--quiet", str(manifest), "-o", "study.plan.jsonl"]) == 0


def jobs(workflow):
    """Run a workflow; return which rules ran for what, without those that only collect."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = ["--cores", "2", "--snakefile", WORKFLOWS / workflow]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *options, "--config", "plan=study.plan.jsonl"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return sorted(
        re.findall(r"^    output: (data|results)/(sub-\S+?)(?:\.txt)?(?: |$)", done.stdout, re.M)
    )


def counts():
    return Path("results/images.tsv").read_text().splitlines()


@pytest.mark.timeout(180)  # twenty processes, one after another
def test_a_changed_plan_repeats_the_subjects_whose_files_changed(study):
    study()
    both = [(kind, name) for kind in ("data", "results") for name in ("sub-1", "sub-11")]
    assert jobs("Snakefile") == both
    assert counts() == ["results/sub-1.txt:2", "results/sub-11.txt:2"]
    assert not list(Path().glob("data/sub-*"))
    assert jobs("Snakefile") == []
    # The manifest is another one, and so is the plan, but what it says of the two is the same.
    study("count: 3")
    assert jobs("Snakefile") == [("data", "sub-2"), ("results", "sub-2")]
    assert len(counts()) == 3
    with Path("manifests/demo/sub-11/ses-baseline/anat/sub-11_ses-baseline_T1w.json").open(
        "a"
    ) as file:
        file.write("\n")
    study("count: 2")
    assert jobs("Snakefile") == [("data", "sub-11"), ("results", "sub-11")]
    assert len(counts()) == 2


def test_headers_are_read_from_the_storage(study):
    study()
    jobs("headers.smk")
    shapes = dict(
        line.split("\t", 1) for line in Path("results/shapes.tsv").read_text().splitlines()
    )
    assert len(shapes) == 4
    assert len(shapes["sub-1/ses-baseline/dwi/sub-1_ses-baseline_dwi.nii.gz"].split("\t")) == 4


def test_snakemake_validates_a_sample_sheet(study):
    from snakemake.utils import validate  # slow to import

    study()
    assert run(["export", "study.plan.jsonl", "--to", "samplesheet", "-o", "samples.csv"]) == 0
    patterns = {"sample": r"^\S+$", "session": "^ses-", "dwi": r"\.nii\.gz$", "bval": r"\.bval$"}
    properties = {name: {"type": "string", "pattern": text} for name, text in patterns.items()}
    table = pd.read_csv("samples.csv").set_index("sample", drop=False)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    schema |= {"properties": properties, "required": [*patterns]}
    Path("schema.yaml").write_text(json.dumps(schema), encoding="utf-8")
    validate(table, str(Path("schema.yaml").resolve()))
    assert list(table.index) == ["sub-1_ses-baseline", "sub-11_ses-baseline"]


@pytest.mark.parametrize("workflow", ["Snakefile", "headers.smk"])
def test_the_documents_show_the_workflows_as_they_are(workflow):
    page = (ROOT / "docs" / "how-to" / "scaling.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```python title=[^\n]*\n(.*?)^```", page, re.M | re.S)
    assert (WORKFLOWS / workflow).read_text(encoding="utf-8") in shown
