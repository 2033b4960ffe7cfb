"""What comes along with one file of each suffix of data that BIDS has.

``data_suffixes.yaml`` has a row for each; a suffix or an association that a newer schema adds fails
here until it has one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bidsschematools.schema import load_schema

from bidsplan.bids import associations
from bidsplan.bids.data_files import TABLES, Kind, Role, role_of
from bidsplan.bids.schema import associations as in_schema
from bidsplan.bids.schema import datatypes, entities, suffixes
from bidsplan.compile.compiler import compile_manifest
from bidsplan.compile.select.filters import CompiledFilter
from bidsplan.manifest import Filter, Manifest
from stores import Listings

TABLE = yaml.safe_load((Path(__file__).parent / "data_suffixes.yaml").read_text("utf-8"))
URL = "s3://bucket/study"
# All that may come along, by its name in the table: above the file, or beside it.
AROUND = {
    "events": "task-x_events.tsv",
    "channels": "sub-1/{}/sub-1_task-x_channels.tsv",
    "electrodes": "sub-1/{}/sub-1_space-A_electrodes.tsv",
    "optodes": "sub-1/{}/sub-1_optodes.tsv",
    "coordsystem": "sub-1/{}/sub-1_space-A_coordsystem.json",
    "aslcontext": "sub-1/{}/sub-1_task-x_aslcontext.tsv",
    "m0scan": "sub-1/{}/sub-1_task-x_m0scan.nii.gz",
    "magnitude": "sub-1/{}/sub-1_task-x_magnitude.nii.gz",
    "magnitude1": "sub-1/{}/sub-1_task-x_magnitude1.nii.gz",
    "magnitude2": "sub-1/{}/sub-1_task-x_magnitude2.nii.gz",
    "physio": "sub-1/{}/sub-1_task-x_recording-eye_physio.tsv.gz",
    "physioevents": "sub-1/{}/sub-1_task-x_recording-eye_physioevents.tsv.gz",
    "stim": "sub-1/{}/sub-1_task-x_stim.tsv.gz",
    "atlas_description": "atlas-x_description.json",
}
WITH_GRADIENTS = {"dwi", "epi"}


def data_files():
    """List datatype, suffix and extension of all files of raw data, sidecars left out."""
    found = set()
    for group in load_schema().rules.files.raw.values():
        for rule in group.values():
            for extension in rule.extensions:
                if extension not in {".json", ".*", ".bval", ".bvec"}:
                    found |= {(d, s, extension) for d in rule.datatypes for s in rule.suffixes}
    return sorted(found)


def rows():
    """Map datatype, suffix and extension, or None for any other, to what comes along."""
    return {
        (datatype, suffix, extension): set(row["brings"].split())
        for row in TABLE
        for datatype in row["datatypes"].split()
        for suffix in row["suffixes"].split()
        for extension in row.get("extensions", "").split() or [None]
    }


@pytest.mark.parametrize(
    ("datatype", "suffix", "extension"), data_files(), ids=lambda part: part.strip("./")
)
def test_a_data_file_brings_what_belongs_to_it(datatype, suffix, extension):
    stem = f"sub-1/{datatype}/sub-1_task-x_{suffix}"
    around = {name: path.format(datatype) for name, path in AROUND.items() if name != suffix}
    if suffix in WITH_GRADIENTS:
        around |= {name: f"{stem}.{name}" for name in ("bval", "bvec")}
    around["sidecar"] = f"{suffix}.json"
    data = f"{stem}{extension}inside" if extension.endswith("/") else f"{stem}{extension}"
    listing = dict.fromkeys([data, *around.values()], (2, None))
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "files": {"suffixes": [suffix], "extensions": [extension.rstrip("/") or "/"]},
            "dataset_files": "none",
        }
    )
    plan = compile_manifest(manifest, opener=Listings({URL: (listing, {})})).plan
    names = {path: name for name, path in around.items()} | {data: "itself"}
    table = rows()
    expected = table.get((datatype, suffix, extension), table.get((datatype, suffix, None)))
    assert {names[entry.path] for entry in plan.entries} - {"itself", "sidecar"} == expected
    assert len(plan.entries) == len(expected) + 2


def test_the_table_has_the_schemas_suffixes_and_no_others():
    assert {row[:2] for row in rows()} == {file[:2] for file in data_files()}
    targets = {kind.target.suffix for kind in in_schema().values()}
    assert targets <= {*AROUND, "description", None}


def test_each_selector_of_the_schema_is_understood():
    known = {"suffix": "bold", "extension": ".nii", "datatype": "func", "entities": frozenset()}
    for kind in in_schema().values():
        for selector in kind.selectors:
            associations._value(associations._parsed(selector), known)


@pytest.mark.parametrize("selector", ["suffix in suffixes", "a && b", "exists(sidecar.X, 'y')"])
def test_a_selector_that_only_a_newer_schema_has_holds(selector):
    assert associations._holds(selector, {"suffix": "bold"})


def test_the_words_are_the_schemas():
    objects = load_schema().objects
    assert datatypes() == {item["value"] for item in objects.datatypes.values()}
    assert suffixes() == {item["value"] for item in objects.suffixes.values()}
    assert entities() == {item["name"]: long for long, item in objects.entities.items()}


def test_data_of_the_schema_is_data_and_what_belongs_to_it_is_not():
    beside = {"channels", "electrodes", "optodes", "coordsystem", "aslcontext", "blood", "photo"}
    beside |= {"events", "physio", "physioevents", "stim", "headshape", "markers", "asllabeling"}
    for datatype, suffix, extension in data_files():
        role = role_of(Kind(None, datatype, suffix, extension))
        is_companion = suffix in beside and not (datatype == "beh" and extension in TABLES)
        assert role is (Role.COMPANION if is_companion else Role.DATA), (datatype, suffix)
        if suffix != "coordsystem":
            assert role_of(Kind(None, datatype, suffix, ".json")) is Role.SIDECAR
    assert role_of(Kind(None, "eeg", "coordsystem", ".json")) is Role.COMPANION
    assert role_of(Kind(None, "dwi", "dwi", ".bvec")) is Role.SIDECAR
    assert role_of(Kind(None, "meg", "meg", ".fif", acq="crosstalk")) is Role.COMPANION


@pytest.mark.parametrize(
    ("filter_", "asks"),
    [
        ({"extensions": [".json", ".bval"]}, {Role.SIDECAR, Role.COMPANION, Role.OPEN}),
        ({"extensions": [".json", ".nii.gz"]}, set()),
        ({"datatypes": ["func"], "extensions": [".tsv"]}, set(Role) - {Role.DATA}),
        ({"datatypes": ["motion"], "extensions": [".tsv"]}, set()),
        ({"suffixes": ["events", "physio"]}, {Role.COMPANION}),
        ({"suffixes": ["events", "bold"]}, set()),
        ({"include": ["**/*.bv*", "sub-*/dwi/*.json"]}, set(Role) - {Role.DATA}),
        ({"include": ["**/*_events*"]}, {Role.COMPANION}),
        ({"include": ["**/*_channels.*", "**/*.tsv"]}, {Role.COMPANION}),
        ({"include": ["**/dwi/*"]}, set()),
        ({"include": ["**/*_dwi.*"]}, set()),
        ({"include": ["**/*.json", "**/*.nii"]}, set()),
    ],
)
def test_a_filter_that_can_select_no_data_asks_for_metadata(filter_, asks):
    assert set(CompiledFilter(Filter.model_validate(filter_)).asked) == asks
