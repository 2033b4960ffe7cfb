"""One subject of a dataset, fetched by itself, is as valid as the whole, and pybids reads it.

On datasets of bids-examples, drawn with a seed. ``BIDSPLAN_SLICES`` says how many; by default few,
since the validator takes a second or two for each.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sysconfig
import tarfile
from pathlib import Path

import pytest
from bids import BIDSLayout

from bidsplan.bids.names import subject_label
from bidsplan.cli.main import run
from corpora import FOLDER, needs_corpora

pytestmark = needs_corpora

VALIDATOR = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"
SLICES = int(os.environ.get("BIDSPLAN_SLICES", "4"))
SEED = 30


def dataset_of(member):
    """Return the dataset of a path below ``bids-examples/``."""
    return member.split("/", 2)[1] if "/" in member else ""


def labels(folder):
    """List the subjects of a dataset, without the one that stands for an empty room."""
    found = {subject_label(path.name) for path in folder.iterdir() if path.is_dir()}
    return sorted(found - {None, "emptyroom"})


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """Draw datasets that have subjects, and a subject of each."""
    folder, draw = tmp_path_factory.mktemp("examples"), random.Random(SEED)
    with tarfile.open(FOLDER / "bids-examples.tar.xz") as archive:
        members = archive.getmembers()
        subjects = [member.name for member in members if subject_label(Path(member.name).name)]
        names = sorted({dataset_of(name) for name in subjects if name.count("/") == 2})
        drawn = draw.sample(names, SLICES)
        wanted = [member for member in members if dataset_of(member.name) in drawn]
        archive.extractall(folder, members=wanted, filter="data")
    datasets = [folder / "bids-examples" / name for name in drawn]
    return [(dataset, draw.choice(labels(dataset))) for dataset in datasets]


def errors(dataset):
    """Validate a dataset; return what is wrong in which file."""
    command = [VALIDATOR, "--json", "--ignoreWarnings", dataset]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return {
        (issue["code"], issue.get("subCode"), issue.get("location"))
        for issue in issues
        if issue["severity"] == "error"
    }


@pytest.mark.timeout(180)  # the validator takes long on a busy machine
@pytest.mark.parametrize("number", range(SLICES))
def test_a_slice_has_no_error_that_the_whole_has_not(slices, number, tmp_path, capsys):
    dataset, subject = slices[number]
    manifest = tmp_path / "study.yaml"
    study = {"id": dataset.name, "url": str(dataset)}
    manifest.write_text(json.dumps({"manifest_version": 1, "study": study}))
    code = run(["fetch", "--subject", subject, str(manifest), str(tmp_path / "slice")])
    assert code == 0, (dataset.name, subject, capsys.readouterr().err)
    assert labels(tmp_path / "slice") == [subject]
    assert errors(tmp_path / "slice") <= errors(dataset), (dataset.name, subject)
    description = json.loads((dataset / "dataset_description.json").read_text())
    derived = description.get("DatasetType") == "derivative"
    assert subject in BIDSLayout(tmp_path / "slice", is_derivative=derived).get_subjects()
