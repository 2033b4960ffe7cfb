"""What holds for every selection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.globs import compile_glob
from bidsplan.manifest import Companions, Filter, Sessions

DATATYPES = {"anat": ["T1w", "T2w"], "func": ["bold", "events"], "dwi": ["dwi"]}


@st.composite
def names(draw):
    subject = draw(st.sampled_from(["1", "10", "2"]))
    session = draw(st.sampled_from([None, "a", "b"]))
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    entities = [f"sub-{subject}"] + ([f"ses-{session}"] if session else [])
    if datatype == "func":
        entities += [f"task-{draw(st.sampled_from(['x', 'y']))}"]
    entities += draw(st.sampled_from([[], ["run-1"], ["run-02"]]))
    suffix = draw(st.sampled_from(DATATYPES[datatype]))
    extension = draw(st.sampled_from([".nii.gz", ".json", ".tsv", ".bval"]))
    folder = "/".join([f"sub-{subject}"] + ([f"ses-{session}"] if session else []) + [datatype])
    return f"{folder}/{'_'.join(entities)}_{suffix}{extension}"


roots = st.lists(
    st.sampled_from(["dwi.bval", "T1w.json", "task-x_bold.json", "dwi.json", "README"]),
    unique=True,
)
filters = st.builds(
    lambda **fields: Filter.model_validate({k: v for k, v in fields.items() if v}),
    datatypes=st.lists(st.sampled_from(sorted(DATATYPES)), unique=True),
    suffixes=st.lists(st.sampled_from(["T1w", "bold", "dwi", "events"]), unique=True),
    extensions=st.lists(st.sampled_from([".nii.gz", ".json"]), unique=True),
    exclude=st.lists(st.sampled_from(["**/*_run-*", "dwi.*", "sub-1/**"]), unique=True),
)
listings = st.lists(names(), unique=True, max_size=25)
sessions = st.sampled_from([None, ("a",), ("a", "b")])


def choose(below, at_root, chosen, wanted, companions="full"):
    request = Request(
        filters=tuple(chosen),
        subjects=frozenset({"1", "10", "2"}),
        sessions=Sessions(include=wanted) if wanted else None,
        derivative=False,
        companions=Companions.model_validate(companions),
        dataset_files="standard",
    )
    return FileSelection(below, at_root, request).reasons


def selected(reasons):
    return {path for path, reason in reasons.items() if reason == "selected"}


@given(listings, roots, st.lists(filters, min_size=1, max_size=3), sessions, st.randoms())
def test_the_order_of_the_listing_never_matters(below, at_root, chosen, wanted, random):
    first = choose(below, at_root, chosen, wanted)
    random.shuffle(below)
    random.shuffle(at_root)
    assert choose(below, at_root, chosen, wanted) == first


@given(listings, roots, filters, filters, sessions)
def test_asking_for_more_within_a_filter_never_adds_a_selected_file(
    below, at_root, one, other, wanted
):
    fields = ("datatypes", "suffixes", "extensions")
    met = {field: _meet(getattr(one, field), getattr(other, field)) for field in fields}
    excludes = (*one.exclude, *other.exclude)
    both = one.model_copy(update={**met, "exclude": excludes})
    fewer = selected(choose(below, at_root, [both], wanted))
    assert fewer <= selected(choose(below, at_root, [one], wanted))


def _meet(one, other):
    if one is None or other is None:
        return one or other
    return tuple(value for value in one if value in other)


@given(listings, roots, st.lists(filters, min_size=1, max_size=3), filters, sessions)
def test_one_more_filter_of_a_list_never_drops_a_selected_file(
    below, at_root, chosen, more, wanted
):
    more = more.model_copy(update={"exclude": ()})
    before = selected(choose(below, at_root, chosen, wanted))
    assert before <= selected(choose(below, at_root, [*chosen, more], wanted))


@given(listings, roots, st.lists(filters, min_size=1, max_size=3), sessions)
def test_companions_never_change_what_is_selected(below, at_root, chosen, wanted):
    full = choose(below, at_root, chosen, wanted)
    none = choose(below, at_root, chosen, wanted, "none")
    assert selected(full) == selected(none)
    assert set(none) <= set(full)


@given(listings, roots, st.lists(filters, min_size=1, max_size=3), sessions)
def test_what_is_excluded_never_comes(below, at_root, chosen, wanted):
    reasons = choose(below, at_root, chosen, wanted)
    globs = [compile_glob(glob, dots=True) for one in chosen for glob in one.exclude]
    assert not [path for path in reasons if any(glob.fullmatch(path) for glob in globs)]


@given(listings, roots, st.lists(filters, min_size=1, max_size=3))
def test_a_session_never_brings_files_of_another(below, at_root, chosen):
    assert not [path for path in choose(below, at_root, chosen, ("a",)) if "/ses-b/" in path]
