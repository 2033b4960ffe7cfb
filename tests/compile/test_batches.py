"""A plan is the same however many subjects are chosen together, and wherever entries wait."""

from __future__ import annotations

import json
import tracemalloc

import pytest

import bidsplan
from bidsplan.compile import layouts
from bidsplan.compile.survey import listing as listing_module
from bidsplan.errors import SelectionError
from bidsplan.manifest import Manifest
from bidsplan.plan import spool
from bidsplan.storage import Object, Store
from bidsplan.storage.objects import Children
from stores import Listings

URL = "s3://bucket/study"
ROOM = "sub-emptyroom/ses-1/meg/sub-emptyroom_ses-1_task-noise_meg.fif"
CONTENTS = {
    "sub-1/meg/sub-1_task-x_meg.json": {"AssociatedEmptyRoom": f"bids::{ROOM}"},
    "sub-3/meg/sub-3_task-x_meg.json": {"AssociatedEmptyRoom": ROOM},
    "sub-2/fmap/sub-2_dir-AP_epi.json": {"IntendedFor": ["func/sub-2_task-x_bold.nii.gz"]},
    "task-x_bold.json": {"B0FieldSource": "map"},
    "acq-b0_epi.json": {"B0FieldIdentifier": "map"},
}
KEYS = [
    *CONTENTS,
    ROOM,
    ROOM.replace(".fif", ".json"),
    "README",
    "events.json",
    "participants.tsv",
    "stimuli/a.png",
    "stimuli/b.png",
    *(
        f"sub-{label}/{name.format(label)}"
        for label in "123"
        for name in (
            "meg/sub-{}_task-x_meg.fif",
            "func/sub-{}_task-x_bold.nii.gz",
            "func/sub-{}_task-x_events.tsv",
            "fmap/sub-{}_acq-b0_epi.nii.gz",
            "fmap/sub-{}_dir-AP_epi.nii.gz",
            "anat/sub-{}_T1w.nii.gz",
        )
    ),
    "derivatives/mriqc/dataset_description.json",
    "derivatives/mriqc/sub-1_T1w.html",
    "derivatives/mriqc/sub-2_T1w.html",
    "derivatives/mriqc/sub-1/anat/sub-1_T1w.json",
    "derivatives/mriqc/sub-2/anat/sub-2_T1w.json",
]
TABLE = b"onset\tstim_file\n1\ta.png\n"
MANIFESTS = {
    "all": {},
    "meg": {"files": {"suffixes": ["meg"], "entities": {"task": ["x"]}}},
    "bold": {"files": {"suffixes": ["bold"]}},
    "maps": {"files": {"datatypes": ["fmap"]}, "companions": {"targets": True}},
    "required": {"subjects": {"require": [{"suffixes": ["events"]}]}},
    "derived": {"files": "none", "derivatives": "all"},
    "whole": {"derivatives": {"mriqc": {"scope": "whole"}}, "directories": ["stimuli"]},
}


def listing():
    contents = {key: json.dumps(value).encode() for key, value in CONTENTS.items()}
    contents |= {key: TABLE for key in KEYS if key.endswith("_events.tsv")}
    contents |= {key: b"{}" for key in KEYS if key.endswith(".json") and key not in contents}
    return {key: (len(contents.get(key, b"x")), None) for key in KEYS}, contents


def compiled(rest, **options):
    study = {"manifest_version": 1, "study": {"id": "x", "url": URL}}
    model = Manifest.model_validate({**study, **rest})
    return bidsplan.compile_manifest(model, opener=Listings({URL: listing()}), **options)


@pytest.mark.parametrize("rest", MANIFESTS.values(), ids=MANIFESTS)
def test_subjects_chosen_one_by_one_give_the_same_plan(rest, monkeypatch):
    together = compiled(rest)
    monkeypatch.setattr(layouts, "_BATCH_FILES", 1)
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 4)
    monkeypatch.setattr(spool, "BLOCK", 3)
    for spooled in (False, True):
        alone = compiled(rest, spool=spooled)
        assert list(alone.plan.lines()) == list(together.plan.lines())
        assert alone.warnings == together.warnings
        assert alone.omissions == together.omissions


def test_an_empty_room_comes_once_for_all_recordings(monkeypatch):
    monkeypatch.setattr(layouts, "_BATCH_FILES", 1)
    rows = [entry for entry in compiled(MANIFESTS["meg"]).plan.entries if "noise" in entry.path]
    assert [(entry.path, entry.reason) for entry in rows] == [
        (ROOM, "reference"),
        (ROOM.replace(".fif", ".json"), "inherited"),
    ]


@pytest.mark.parametrize("together", [1, 10_000])
def test_an_identifier_is_of_one_subject(together, monkeypatch):
    monkeypatch.setattr(layouts, "_BATCH_FILES", together)
    rest = {"files": [{"include": ["sub-1/func/*_bold*"]}, {"include": ["sub-2/anat/*"]}]}
    found = {entry.path: entry.reason for entry in compiled(rest).plan.entries}
    assert found["sub-1/fmap/sub-1_acq-b0_epi.nii.gz"] == "fieldmap"
    # Of these subjects nothing is selected that names the identifier.
    assert not any("sub-2/fmap" in path or "sub-3/fmap" in path for path in found)


def test_what_no_batch_matches_is_reported_once(monkeypatch):
    monkeypatch.setattr(layouts, "_BATCH_FILES", 1)
    with pytest.raises(SelectionError) as caught:
        compiled({"files": [{"suffixes": ["bolt"]}]})
    [problem] = caught.value.problems
    assert problem.hint == "did you mean 'bold'?"


class Many(Store):
    """Very many subjects, whose files are named only while they are listed."""

    url = URL

    def __init__(self, subjects):
        self.subjects = subjects

    def children(self, prefix=""):
        return Children((), tuple(f"sub-{number:06}/" for number in range(self.subjects)))

    def list(self, prefix=""):
        name = prefix.rstrip("/")
        for run in range(20):
            yield Object(f"{name}/func/{name}_run-{run:02}_bold.nii.gz", 1, "0" * 32)

    def stream(self, key, **_):
        raise AssertionError(key)


def peak_memory(subjects):
    study = {"manifest_version": 1, "study": {"id": "x", "url": URL}}
    model = Manifest.model_validate(study)
    tracemalloc.start()
    plan = bidsplan.compile_manifest(model, opener=lambda *_, **__: Many(subjects), spool=True).plan
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.header.files == subjects * 20 + 1
    return peak


def test_memory_does_not_grow_with_the_study(monkeypatch):
    monkeypatch.setattr(layouts, "_BATCH_FILES", 100)
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 200)
    monkeypatch.setattr(spool, "BLOCK", 50)
    monkeypatch.setattr(listing_module, "_AHEAD", 200)
    peak_memory(10)
    few, many = peak_memory(20), peak_memory(100)
    # 1,600 more files, each of which takes a third of a kilobyte where it is kept.
    assert many - few < 1_600 * 200
