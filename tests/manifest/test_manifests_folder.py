"""Every manifest that is checked in is a valid one, and an editor can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from bidsplan.manifest.load import load_manifest

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
SCHEMA_LINE = "# yaml-language-server: $schema=../schemas/manifest.schema.json"


@pytest.fixture(params=sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.stem)
def manifest(request):
    return request.param


def test_it_loads_without_a_warning(manifest):
    assert load_manifest(manifest).warnings == ()


def test_it_names_its_schema_and_says_what_it_is(manifest):
    lines = manifest.read_text(encoding="utf-8").splitlines()
    assert lines[0] == SCHEMA_LINE
    assert (manifest.parent / SCHEMA_LINE.partition("=")[2]).is_file()
    assert lines[1] == "#"
    assert lines[2].startswith("# ")


def test_the_folder_holds_the_examples():
    assert {path.stem for path in MANIFESTS.glob("*.yaml")} == {
        "adhd200",
        "demo",
        "hbn-derivatives",
        "hbn-one-site",
        "hbn-two-sites",
        "openneuro-derivatives-ds000001-fmriprep",
        "openneuro-ds000102",
        "openneuro-ds000114",
    }
