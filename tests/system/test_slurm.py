"""The scripts for SLURM, run by a stand-in for ``sbatch --array``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "examples" / "slurm"


@pytest.fixture
def plan(tmp_path, capsys):
    path = tmp_path / "demo.plan.jsonl"
    assert run(["compile", str(ROOT / "manifests" / "demo.yaml"), "-o", str(path)]) == 0
    capsys.readouterr()
    return path


def sbatch_array(count, script, *arguments):
    """Run a job script for each task of an array, all at once; return what each said."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tasks = [
        subprocess.Popen(
            ["bash", script, *map(str, arguments)],
            env={
                **os.environ,
                "PATH": path,
                "SLURM_ARRAY_TASK_ID": str(task),
                "SLURM_ARRAY_TASK_COUNT": str(count),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for task in range(1, count + 1)
    ]
    return [(task.communicate()[0], task.returncode) for task in tasks]


def test_each_job_has_its_subject(plan, tmp_path):
    assert run(["split", str(plan), "-o", str(tmp_path / "parts")]) == 0
    said = sbatch_array(2, SCRIPTS / "subjects.sh", tmp_path / "parts", tmp_path / "results")
    assert [code for _, code in said] == [0, 0], said
    found = {path.stem: int(path.read_text()) for path in (tmp_path / "results").iterdir()}
    assert found == {"1": 2, "11": 2}


def test_jobs_without_internet_check_their_shares(plan, tmp_path):
    study = tmp_path / "study"
    assert run(["fetch", str(plan), str(study)]) == 0
    said = sbatch_array(3, SCRIPTS / "offline.sh", plan, study)
    assert [code for _, code in said] == [0, 0, 0], said
    next(study.rglob("*_T1w.nii.gz")).write_bytes(b"damaged")
    assert sum(code for _, code in sbatch_array(3, SCRIPTS / "offline.sh", plan, study)) == 1


@pytest.mark.parametrize("script", ["subjects.sh", "offline.sh"])
def test_the_documents_show_the_scripts_as_they_are(script):
    text = (ROOT / "docs" / "how-to" / "scaling.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```bash title=[^\n]*\n(.*?)^```", text, re.M | re.S)
    assert (SCRIPTS / script).read_text(encoding="utf-8") in shown
