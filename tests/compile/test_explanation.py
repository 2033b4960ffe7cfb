"""What a compilation decided is recorded with the places of the rules in the manifest."""

from __future__ import annotations

import pytest

from bidsplan.compile.compiler import explain_manifest
from bidsplan.errors import Problem, dotted
from bidsplan.manifest.load import load_manifest
from stores import Listings

URL = "s3://bucket/study"
HEAD = f"manifest_version: 1\nstudy: {{id: x, url: {URL}}}\nrandom_seed: 1\n"
FILES = """
dataset_description.json
sub-01/anat/sub-01_T1w.nii.gz
sub-01/anat/sub-01_T2w.nii.gz
sub-01/func/sub-01_task-rest_bold.nii.gz
sub-02/anat/sub-02_T1w.nii.gz
sub-03/anat/sub-03_T1w.nii.gz
"""


@pytest.fixture
def explain(tmp_path):
    def explain(manifest):
        path = tmp_path / "study.yaml"
        path.write_text(HEAD + manifest)
        loaded = load_manifest(path)
        listing = dict.fromkeys(FILES.split(), (2, None))
        contents = {"dataset_description.json": b"{}"}
        opener = Listings({URL: (listing, contents)})
        return loaded, explain_manifest(loaded.manifest, base=tmp_path, opener=opener)

    return explain


def test_a_rejected_file_has_its_rule_and_the_rules_line(explain):
    loaded, found = explain(
        'subjects: ["01"]\nfiles:\n  suffixes: [T1w, bold]\n  exclude: ["**/func/*"]\n'
    )
    rejected = {
        row.path: (row.why, loaded.locate(Problem(message="", at=row.at)).line)
        for row in found.rejected()
    }
    assert rejected == {
        "sub-01/anat/sub-01_T2w.nii.gz": ("files: suffixes does not match", 6),
        "sub-01/func/sub-01_task-rest_bold.nii.gz": ("files.exclude matches it", 7),
    }


def test_a_file_that_no_filter_of_several_selects_has_the_place_of_all(explain):
    _, found = explain('subjects: ["01"]\nfiles: [{suffixes: [T1w]}, {datatypes: [func]}]\n')
    [row] = found.rejected()
    why = "files[0]: suffixes does not match; files[1]: datatypes does not match"
    assert (row.path, row.why, row.at) == ("sub-01/anat/sub-01_T2w.nii.gz", why, ("files",))


@pytest.mark.parametrize(
    ("rule", "dropped", "at"),
    [
        ("{sample: 2}", 1, "subjects.sample"),
        ('{exclude: ["02"]}', 1, "subjects.exclude"),
        ('["02"]', 2, "subjects.include"),
        ("{require: [{suffixes: [bold]}]}", 2, "subjects.require[0]"),
    ],
)
def test_a_dropped_subject_has_the_place_of_the_rule(explain, rule, dropped, at):
    _, found = explain(f"subjects: {rule}\n")
    places = [dotted(drop.at) for drop in found.record.dropped.values()]
    assert places == [at] * dropped


def test_the_selected_files_are_those_of_the_plan(explain):
    _, found = explain('subjects: ["02"]\n')
    paths = {entry.path for entry in found.entries}
    assert paths == {"dataset_description.json", "sub-02/anat/sub-02_T1w.nii.gz"}
