"""Manifests that name thousands of subjects: the work grows with their number, not its square."""

from __future__ import annotations

import pytest

from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import SelectionError
from bidsplan.manifest import Manifest
from stores import Listings

URL = "s3://bucket/study"
LABELS = [f"S{number:05}" for number in range(10_000)]
TABLE = "participant_id\tcode\n" + "".join(f"sub-{label}\t{label}\n" for label in LABELS)
FILES = {"participants.tsv": TABLE.encode()}
# Comparing each with each would take minutes.
pytestmark = pytest.mark.timeout(20)


def subjects_of(**subjects):
    listing = {f"sub-{label}/anat/sub-{label}_T1w.nii": (1, None) for label in LABELS}
    listing["participants.tsv"] = (len(FILES["participants.tsv"]), None)
    model = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": "study", "url": URL},
            "subjects": subjects,
            "files": "none",
        }
    )
    found = compile_manifest(model, opener=Listings({URL: (listing, FILES)}))
    return list(found.plan.header.subjects), found.warnings


@pytest.mark.parametrize(
    "subjects",
    [
        {"include": LABELS[1:]},
        {"exclude": LABELS[:1]},
        {"where": {"participant_id": LABELS[1:]}},
        {"where": {"code": LABELS[1:]}},
        {"where": {"code": {"not": LABELS[:1]}}},
    ],
    ids=["include", "exclude", "ids", "values", "not"],
)
def test_thousands_are_named(subjects):
    assert subjects_of(**subjects) == (LABELS[1:], ())


def test_thousands_that_are_missing_are_reported_the_first_with_a_hint():
    absent = [f"T{label}" for label in LABELS]
    with pytest.raises(SelectionError) as caught:
        subjects_of(include=absent)
    problems = caught.value.problems
    assert len(problems) == len(absent)
    assert problems[0].hint == "did you mean 'S00000'?"
    assert problems[-1].hint is None
    found, warnings = subjects_of(exclude=absent)
    assert (found, len(warnings)) == (LABELS, len(absent))
