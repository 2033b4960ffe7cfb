"""Sidecars as people and programs write them, and as an attacker would."""

from __future__ import annotations

import json

import pytest

from bidsplan.compile import companions
from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import StorageError
from bidsplan.manifest import Manifest
from stores import Listings

URL = "s3://bucket/study"
BOLD = "sub-1/func/sub-1_task-x_bold.nii.gz"
MAP = "sub-1/fmap/sub-1_epi.nii.gz"
SIDECAR = "sub-1/fmap/sub-1_epi.json"
INTENDED = f'"IntendedFor": "bids::{BOLD}"'


def compiled(sidecar):
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "files": {"suffixes": ["bold"]},
            "dataset_files": "none",
        }
    )
    listing = {BOLD: (1, None), MAP: (1, None), SIDECAR: (len(sidecar), None)}
    found = compile_manifest(manifest, opener=Listings({URL: (listing, {SIDECAR: sidecar})}))
    return [entry.path for entry in found.plan.entries], list(map(str, found.warnings))


READ = {
    "NaN": f'{{{INTENDED}, "SliceTiming": [NaN, Infinity, -Infinity]}}'.encode(),
    "a byte order mark": f"{{{INTENDED}}}".encode("utf-8-sig"),
    "UTF-16": f"{{{INTENDED}}}".encode("utf-16"),
    "UTF-16 without a mark": f"{{{INTENDED}}}".encode("utf-16-le"),
    "UTF-32": f"{{{INTENDED}}}".encode("utf-32"),
    "lone surrogates": f'{{{INTENDED}, "Name": "\\ud800"}}'.encode(),
    "the same key twice": f'{{"IntendedFor": 1, {INTENDED}}}'.encode(),
    "a large number": f'{{{INTENDED}, "EchoTime": 1e999}}'.encode(),
}


@pytest.mark.parametrize("sidecar", READ.values(), ids=READ)
def test_sidecars_are_read_as_python_reads_them(sidecar):
    assert json.loads(sidecar)
    assert compiled(sidecar) == ([SIDECAR, MAP, BOLD], [])


def test_a_sidecar_in_latin_1_is_read_with_a_warning():
    paths, warnings = compiled(f'{{{INTENDED}, "InstitutionName": "Köln"}}'.encode("latin-1"))
    assert paths == [SIDECAR, MAP, BOLD]
    assert warnings == [
        f"{URL}/{SIDECAR} is not UTF-8 and is read as Latin-1 (Windows-1252); save it as UTF-8"
    ]


UNREAD = {
    "empty": b"",
    "a comma at the end": f"{{{INTENDED},}}".encode(),
    "cut off": f"{{{INTENDED}".encode(),
    "too deep": b"[" * 500_000,
    "too deep, in objects": b'{"a":' * 200_000,
    "a number of too many digits": b'{"a": ' + b"9" * 900_000 + b"}",
    "bytes": bytes(range(256)) * 100,
    "too large": b" " * (2 << 20),
}


@pytest.mark.parametrize("sidecar", UNREAD.values(), ids=UNREAD)
def test_a_sidecar_that_can_not_be_read_names_what_it_costs(sidecar):
    paths, warnings = compiled(sidecar)
    assert paths == [BOLD]
    said = warnings[-1]
    assert said.startswith((f"{URL}/{SIDECAR} is not valid JSON: ", f"{URL}/{SIDECAR} has 2,097"))
    assert said.endswith(f"; left out for it: {MAP}")
    assert len(said) < 400


def test_of_many_field_maps_ten_are_named():
    maps = [f"sub-1/fmap/sub-1_run-{run:02}_epi.nii.gz" for run in range(1, 15)]
    listing = dict.fromkeys([BOLD, *maps, "epi.json"], (1, None))
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "files": {"suffixes": ["bold"]},
        }
    )
    found = compile_manifest(manifest, opener=Listings({URL: (listing, {"epi.json": b"?"})}))
    [said] = map(str, found.warnings)
    assert said.endswith(f"left out for it: {', '.join(maps[:10])} and 4 more")


def test_one_sidecar_that_names_all_files_for_all_field_maps_is_refused(monkeypatch):
    monkeypatch.setattr(companions, "_MOST_NAMED", 5_000)
    runs = range(100)
    files = [f"sub-1/func/sub-1_task-x_run-{run}_bold.nii.gz" for run in runs]
    maps = [f"sub-1/fmap/sub-1_run-{run}_epi.nii.gz" for run in runs]
    listing = dict.fromkeys([*files, *maps, "epi.json"], (1, None))
    named = json.dumps({"IntendedFor": [file.partition("/")[2] for file in files]}).encode()
    listing["epi.json"] = (len(named), None)
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "files": {"suffixes": ["bold"]},
        }
    )
    with pytest.raises(StorageError, match="name more than 5,000 files"):
        compile_manifest(manifest, opener=Listings({URL: (listing, {"epi.json": named})}))
