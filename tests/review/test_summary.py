"""What a plan's summary counts."""

from hypothesis import given
from hypothesis import strategies as st

from bidsplan.plan import Entry, Plan, Root
from bidsplan.review.summary import Amount, summarise_plan

COUNTS = ("subjects", "sessions", "datatypes", "suffixes", "pipelines", "reasons", "proofs")


def plan_of(entries, subjects=()):
    fields = {"manifest_sha256": "0" * 64, "study": "x", "roots": [Root(url="s3://bucket/x")]}
    return Plan.build(entries, subjects=subjects, **fields)


def entry(path, size, reason="selected", **fields):
    return Entry(path=path, key=path, size=size, reason=reason, **fields)


PLAN = plan_of(
    [
        entry("sub-2/ses-a/anat/sub-2_ses-a_T1w.nii.gz", 10, etag="0" * 32),
        entry("sub-10/anat/sub-10_T1w.json", 5, "inherited", sha256="0" * 64),
        entry("derivatives/afq/sub-2/dwi/sub-2_profiles.csv", 70),
        entry("dataset_description.json", 3, "dataset"),
    ],
    ["10", "2", "3"],
)


def test_files_are_counted_by_everything():
    found = summarise_plan(PLAN)
    assert (found.files, found.bytes, found.selected) == (4, 88, ("2", "3", "10"))
    assert found.subjects == {"2": Amount(2, 80), "10": Amount(1, 5), "": Amount(1, 3)}
    assert list(found.subjects) == ["2", "10", ""]
    assert found.sessions == {"a": Amount(1, 10), "": Amount(3, 78)}
    assert found.datatypes == {"anat": Amount(2, 15), "dwi": Amount(1, 70), "": Amount(1, 3)}
    assert found.suffixes == {"T1w": Amount(2, 15), "profiles": Amount(1, 70), "": Amount(1, 3)}
    assert found.pipelines == {"afq": Amount(1, 70), "": Amount(3, 18)}
    assert list(found.reasons) == ["selected", "inherited", "dataset"]
    assert found.proofs == {
        "size": Amount(2, 73),
        "etag-md5": Amount(1, 10),
        "sha256": Amount(1, 5),
    }
    assert [(file.path[:5], file.size) for file in found.largest[:2]] == [
        ("deriv", 70),
        ("sub-2", 10),
    ]


names = st.sampled_from(["1", "2", "10", "x"])
paths = st.builds(
    lambda *parts: "/".join([*parts[:-1], f"sub-{parts[-2][4:]}_{parts[-1]}"]),
    st.sampled_from(["derivatives/afq", "derivatives/a/b", "derivatives"]),
    names.map("sub-{}".format),
    st.sampled_from(["anat/T1w.nii.gz", "ses-1/func/bold.nii", "T1w.json"]),
)


@given(st.dictionaries(paths, st.integers(0, 10**6), max_size=8))
def test_every_count_adds_up_to_the_plan(sizes):
    found = summarise_plan(plan_of([entry(path, size) for path, size in sizes.items()]))
    for name in COUNTS:
        amounts = getattr(found, name).values()
        assert sum(amount.files for amount in amounts) == found.files == len(sizes)
        assert sum(amount.bytes for amount in amounts) == found.bytes == sum(sizes.values())
