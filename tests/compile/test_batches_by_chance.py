"""Subjects are chosen alike whichever others share their batch, in studies made by chance."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bidsplan
from bidsplan.compile import layouts
from bidsplan.errors import BidsplanError
from bidsplan.manifest import Manifest
from stores import Listings

URL = "s3://bucket/study"
IMAGES = ("func/{}_bold", "func/{}_sbref", "anat/{}_T1w", "perf/{}_asl")
MAPS = ("fmap/{}_epi", "fmap/{}_phasediff", "fmap/{}_run-2_epi", "perf/{}_m0scan")
EXTENSIONS = (".nii.gz", ".json")
ROOM = "sub-emptyroom/meg/sub-emptyroom_meg.fif"
OTHERS = ("{}_scans.tsv", "func/{}_events.tsv", "meg/{}_meg.fif", "meg/{}_meg.json")
STEMS = (*IMAGES, *MAPS)
AT_ROOT = ("epi.json", "bold.json", "m0scan.json", "README")
LABELS = ("1", "2", "emptyroom")
SUFFIXES = ("bold", "sbref", "T1w", "epi", "phasediff", "asl", "meg")


def sidecars(names):
    """Draw what a sidecar holds; it names some files of its own subject, or of the empty room."""
    fields = st.fixed_dictionaries(
        {"IntendedFor": st.lists(st.sampled_from(names), max_size=3)},
        optional={
            "B0FieldIdentifier": st.sampled_from("pq"),
            "B0FieldSource": st.sampled_from("pq"),
            "AssociatedEmptyRoom": st.just(f"bids::{ROOM}"),
        },
    )
    return st.one_of(fields.map(json.dumps), st.just("{broken")).map(str.encode)


@st.composite
def studies(draw):
    """Draw the sizes and the contents of a study's files."""
    above = draw(st.lists(st.sampled_from(AT_ROOT), unique=True))
    files = {path: list(AT_ROOT) for path in above}
    for label in LABELS:
        stems = draw(st.lists(st.sampled_from(STEMS), min_size=1, max_size=4, unique=True))
        own = [stem.format(f"sub-{label}") for stem in stems]
        names = [f"{stem}{end}" for stem in own for end in EXTENSIONS]
        others = draw(st.lists(st.sampled_from(OTHERS), unique=True))
        names += [other.format(f"sub-{label}") for other in others]
        files |= {f"sub-{label}/{name}": names for name in names}
    contents = {
        path: draw(sidecars(names)) for path, names in files.items() if path.endswith(".json")
    }
    return {path: (len(contents.get(path, b"x")), None) for path in files}, contents


manifests = st.fixed_dictionaries(
    {"manifest_version": st.just(1), "study": st.just({"id": "x", "url": URL})},
    optional={
        "files": st.fixed_dictionaries(
            {"suffixes": st.lists(st.sampled_from(SUFFIXES), min_size=1, max_size=3, unique=True)}
        ),
        "companions": st.fixed_dictionaries(
            {}, optional={"targets": st.booleans(), "tables": st.booleans()}
        ),
    },
)


def compiled(manifest, listing, together):
    with mock.patch.object(layouts, "_BATCH_FILES", together):
        try:
            found = bidsplan.compile_manifest(manifest, opener=Listings({URL: listing}))
        except BidsplanError as error:
            return str(error)
    return list(found.plan.lines()), found.warnings, found.omissions


@settings(max_examples=50)
@given(studies(), manifests)
def test_subjects_chosen_one_by_one_give_the_same_plan_and_warnings(listing, rest):
    manifest = Manifest.model_validate(rest)
    assert compiled(manifest, listing, 1) == compiled(manifest, listing, 10_000)


MAP, IMAGE = "sub-1/fmap/sub-1_epi.nii.gz", "sub-1/func/sub-1_bold.nii.gz"
TARGET = "sub-1/fmap/sub-1_phasediff.nii.gz"
UNRELATED = ("sub-2/func/sub-2_bold.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")


@pytest.mark.parametrize("others", [(), UNRELATED])
@pytest.mark.parametrize("together", [1, 10_000])
def test_a_field_map_that_another_is_meant_for_comes_whatever_other_subjects_hold(together, others):
    content = json.dumps({"IntendedFor": ["fmap/sub-1_phasediff.nii.gz"]}).encode()
    sidecar = MAP.replace(".nii.gz", ".json")
    sizes = dict.fromkeys((MAP, IMAGE, TARGET, *others), (1, None))
    listing = {**sizes, sidecar: (len(content), None)}, {sidecar: content}
    study = {"manifest_version": 1, "study": {"id": "x", "url": URL}}
    study["files"] = {"suffixes": ["epi", "bold"]}
    warned = compiled(Manifest.model_validate(study), listing, together)[1]
    assert [problem.hint for problem in warned if "INTENDED_FOR" in problem.message]
    complete = Manifest.model_validate({**study, "companions": {"targets": True}})
    lines, warned, _ = compiled(complete, listing, together)
    assert any(TARGET.encode() in line for line in lines)
    assert not warned
