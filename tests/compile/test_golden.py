"""One golden case for each rule of selection: a manifest, a listing, and the plan they make.

A case is a YAML file. ``listing`` has a key a line, with its size where it is not 1. ``plan`` has a
reason and a path a line; a case that fails has ``errors`` instead, and may have ``warnings``.
``contents`` are written as UTF-8, or as ``encodings`` says.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bidsplan.compile import layouts
from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import BidsplanError
from bidsplan.manifest.load import load_manifest
from stores import Listings

CASES = sorted((Path(__file__).parent / "golden").glob("*.yaml"))
ALONE = [path for path in CASES if path.stem.startswith(("orphans", "require"))]
URL = "s3://bucket/study"


def load_case(path):
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    listing, contents = {}, {}
    for line in case["listing"].strip().splitlines():
        key, _, size = line.strip().partition(" | ")
        listing[key] = (int(size or 1), None)
    # What is read must have the size that is listed.
    described = {key: {} for key, (size, _) in listing.items() if _is_read(key, size)}
    for key, value in {**described, **(case.get("contents") or {})}.items():
        encoding = (case.get("encodings") or {}).get(key, "utf-8")
        contents[key] = (value if isinstance(value, str) else json.dumps(value)).encode(encoding)
        listing[key] = (len(contents[key]), None)
    return case, listing, contents


def _is_read(key, size):
    return key.endswith("dataset_description.json") or (key.endswith(".json") and size == 1)


def write_manifest(folder, text):
    path = folder / "study.yaml"
    header = f"manifest_version: 1\nstudy: {{id: study, url: {URL}}}\n"
    path.write_text(text if "manifest_version" in text else header + text, encoding="utf-8")
    return path


def compile_case(path, tmp_path, seed=None):
    case, listing, contents = load_case(path)
    for name, text in (case.get("files") or {}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    loaded = load_manifest(write_manifest(tmp_path, case["manifest"]))
    roots = {URL: (listing, contents)}
    for root, lines in (case.get("elsewhere") or {}).items():
        roots[root] = ({line.strip(): (1, None) for line in lines.strip().splitlines()}, {})
    try:
        compiled = compile_manifest(
            loaded.manifest, base=tmp_path, opener=Listings(roots, seed=seed)
        )
    except BidsplanError as error:
        return case, None, error.located(loaded.locate)
    return case, compiled, sorted(str(loaded.locate(problem)) for problem in compiled.warnings)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case_gives_its_plan(path, tmp_path):
    case, compiled, told = compile_case(path, tmp_path)
    if "errors" in case:
        assert compiled is None, "a case with errors must fail"
        found = [str(problem).replace(f"{tmp_path}/", "") for problem in told.problems]
        assert (found or [str(told)]) == case["errors"].strip().splitlines()
        return
    assert compiled is not None, str(told)
    rows = [f"{entry.reason} {entry.path}" for entry in compiled.plan.entries]
    expected = [" ".join(line.split(None, 1)) for line in case["plan"].strip().splitlines()]
    assert rows == sorted(expected, key=lambda row: row.partition(" ")[2])
    told = [line.replace(f"{tmp_path}/", "") for line in told]
    assert told == (case.get("warnings") or "").strip().splitlines()
    if "subjects" in case:
        assert list(compiled.plan.header.subjects) == case["subjects"]


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_data_is_the_same_however_many_subjects_are_chosen_together(path, tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "_BATCH_FILES", 1)
    test_case_gives_its_plan(path, tmp_path)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_listing_order_never_matters(path, tmp_path):
    _, first, _ = compile_case(path, tmp_path)
    for seed in range(3):
        _, again, _ = compile_case(path, tmp_path, seed)
        assert (first and list(first.plan.lines())) == (again and list(again.plan.lines()))
