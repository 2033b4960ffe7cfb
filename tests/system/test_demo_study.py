"""The demo study is what its script makes, and it is valid BIDS."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from bidsplan.cli.demo_study import write_demo

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
DEMO = MANIFESTS / "demo"
VALIDATOR = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"


@pytest.fixture(scope="module")
def make_demo():
    spec = importlib.util.spec_from_file_location("make_demo", MANIFESTS / "make_demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(folder):
    """Read a tree; images uncompressed, since zlib's releases compress differently."""
    return {
        path.relative_to(folder).as_posix(): gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def issues(dataset):
    """Validate a dataset and give the codes of what is wrong, by severity."""
    done = subprocess.run(
        [VALIDATOR, "--format", "json", dataset], capture_output=True, check=False, timeout=60
    )
    found = {"error": set(), "warning": set()}
    for issue in json.loads(done.stdout)["issues"]["issues"]:
        found[issue["severity"]].add(issue["code"])
    return found


def test_what_is_checked_in_is_what_the_script_makes(make_demo, tmp_path):
    make_demo.write_demo(tmp_path)
    assert contents(DEMO) == contents(tmp_path)


def test_the_archive_in_the_package_is_what_is_checked_in(tmp_path):
    write_demo(tmp_path)
    assert contents(tmp_path / "study") == contents(DEMO)


def test_the_script_gives_the_same_bytes_twice(make_demo):
    assert make_demo.demo_files() == make_demo.demo_files()


def test_the_study_stays_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 500_000


@pytest.mark.parametrize("dataset", [".", "derivatives/afq", "derivatives/afq2"])
def test_each_dataset_is_valid(dataset):
    found = issues(DEMO / dataset)
    assert found["error"] == set()
    # An invented scanner has no coil to describe, and this study one author: nothing else is odd.
    assert {code for code in found["warning"] if "_RECOMMENDED" not in code} == {"TOO_FEW_AUTHORS"}


def test_the_gradients_stand_only_at_the_root():
    raw = [path for path in contents(DEMO) if not path.startswith("derivatives/")]
    assert sorted(p for p in raw if p.endswith((".bval", ".bvec"))) == ["dwi.bval", "dwi.bvec"]


def test_a_label_and_a_pipeline_begin_another():
    folders = {path.name for path in DEMO.iterdir()}
    assert {"sub-1", "sub-10", "sub-11", "sub-2"} <= folders
    assert {path.name for path in (DEMO / "derivatives").iterdir()} == {"afq", "afq2"}
