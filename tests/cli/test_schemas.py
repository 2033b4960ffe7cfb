"""An editor with the schema accepts a manifest exactly where bidsplan does."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bidsplan.cli.json_schemas import manifest_schema, plan_schema
from bidsplan.errors import ManifestError
from bidsplan.manifest.load import load_manifest
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import write_plan

VALIDATOR = jsonschema.Draft202012Validator(manifest_schema())

words = st.sampled_from(["a", "T1w", "01", "Site-RU", "n/a", "null", "no", "1e3"])
names = st.sampled_from(["phenotype", "qsiprep", "a/b", "01", "x.tsv"])
scalars = words | st.integers(0, 99) | st.sampled_from([0.5, 1.5])
numbers = st.integers(-5, 5) | st.sampled_from([0.5, -2.25])
globs = st.sampled_from(["sub-*/**", "**/*_x.csv", "[a]?"])
extensions = st.sampled_from([".nii.gz", ".json", ".ds"])


def some(strategy):
    """Make one value, or a list of values."""
    return strategy | st.lists(strategy, min_size=1, max_size=3)


FILTER = {
    "datatypes": some(words),
    "suffixes": some(words),
    "extensions": some(extensions),
    "entities": st.dictionaries(
        st.sampled_from(["task", "run", "acq"]), some(scalars) | st.just({"absent": True})
    ),
    "include": some(globs),
    "exclude": some(globs),
}
filters = st.fixed_dictionaries({}, optional=FILTER)
roots = st.sampled_from(["none", "description", "standard", "all"]) | st.lists(names, min_size=1)
layouts = st.sampled_from(["pipeline-first", "subject-first", "subject-first-kept"])
bids_words = st.sampled_from(["all", "bold", "T1w", "anat"])
derivatives = st.one_of(
    st.none(),
    bids_words | st.just("none"),
    st.lists(filters, min_size=1, max_size=2),
    st.fixed_dictionaries(
        {},
        optional=FILTER
        | {
            "scope": st.sampled_from(["subjects", "whole"]),
            "layout": layouts,
            "url": st.just("s3://b/{site}/x"),
            "dataset_files": roots,
        },
    ),
)
predicates = st.one_of(
    some(scalars),
    st.just({"not": "n/a"}),
    st.fixed_dictionaries({"min": numbers}),
    st.fixed_dictionaries({"max": numbers, "not": some(scalars)}),
)
samples = st.fixed_dictionaries(
    {},
    optional={
        "stratify_by": some(st.sampled_from(["sex", "group"])),
        "method": st.sampled_from(["rank", "shuffle"]),
    },
).flatmap(
    lambda fields: st.sampled_from([{**fields, "count": 3}, {**fields, "fraction": 0.5}, 3, 0.5]),
)
requirements = bids_words | st.fixed_dictionaries({}, optional=FILTER | {"derivative": names})
subjects = st.sampled_from(["all", "01", ["sub-01", 2]]) | st.fixed_dictionaries(
    {},
    optional={
        "from": st.sampled_from(["tree", "participants", "both"]),
        "table": st.sampled_from(["x.tsv", {"file": "c.csv"}, {"file": "c", "id_column": "ID"}]),
        "include": some(st.sampled_from(["sub-01", "02", 3, "NDAR*"])),
        "exclude": some(st.sampled_from(["sub-01", "02", 3])),
        "where": st.dictionaries(st.sampled_from(["sex", "age"]), predicates),
        "require": st.lists(requirements, min_size=1, max_size=2),
        "sample": samples,
        "missing": st.sampled_from(["error", "skip"]),
    },
)
sessions = st.one_of(
    some(st.sampled_from(["01", "ses-02", 3])),
    st.fixed_dictionaries(
        {},
        optional={
            "include": some(st.sampled_from(["01", 3])),
            "sessionless": st.sampled_from(["exclude", "include"]),
        },
    ),
)
companions = st.sampled_from(["full", "none"]) | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(["inherit", "associations", "fieldmaps", "references"], st.booleans())
    | {"tables": st.sampled_from(["auto", True, False])},
)


def filled_in(document):
    """Leave {site} out of URLs if the manifest has no site; no schema can express that."""
    found = document.get("derivatives")
    if "site" not in document and isinstance(found, dict):
        for derivative in found.values():
            if isinstance(derivative, dict) and "url" in derivative:
                derivative["url"] = "s3://b/x"
    return document


documents = st.fixed_dictionaries(
    {
        "manifest_version": st.just(1),
        "study": st.fixed_dictionaries(
            {"id": scalars, "url": st.sampled_from(["s3://b/x", "../data"])},
            optional={
                "anonymous": st.booleans(),
                "layout": layouts,
                "versions": st.sampled_from(["latest", "pinned"]),
            },
        ),
        "random_seed": st.integers(0, 2**32 - 1),
    },
    optional={
        "site": names | st.lists(names, min_size=1, unique=True),
        "subjects": subjects,
        "sessions": sessions,
        "files": st.just("none") | some(filters | bids_words),
        "derivatives": st.one_of(
            st.sampled_from(["none", "all", "qsiprep"]),
            st.lists(names, max_size=2),
            st.dictionaries(names, derivatives, max_size=3),
        ),
        "directories": some(names),
        "dataset_files": roots,
        "companions": companions,
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "max_bytes": st.sampled_from(["500GB", "1.5TiB", 1000]),
                "max_files": st.integers(1, 10**9),
            },
        ),
    },
).map(filled_in)


def mappings(value, place=()):
    """Yield the mappings of a document whose keys are fields."""
    if isinstance(value, dict):
        if not place or place[-1] not in {"derivatives", "where", "entities"}:
            yield value
        for key, item in value.items():
            yield from mappings(item, (*place, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from mappings(item, (*place, number))


def load(document, folder):
    path = folder / "m.yaml"
    # JSON is YAML too, and has no anchors.
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_manifest(path)


quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("schemas")


@quick
@given(documents)
def test_a_valid_manifest_is_accepted_by_both(folder, document):
    load(document, folder)
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@quick
@given(documents, st.data())
def test_an_unknown_field_is_refused_by_both_anywhere(folder, document, data):
    broken = copy.deepcopy(document)
    data.draw(st.sampled_from(list(mappings(broken))))["unheard_of"] = "x"
    assert not VALIDATOR.is_valid(broken)
    with pytest.raises(ManifestError):
        load(broken, folder)


@quick
@given(documents, st.data())
def test_a_value_of_the_wrong_kind_is_refused_by_both(folder, document, data):
    broken = copy.deepcopy(document)
    place = data.draw(st.sampled_from([found for found in mappings(broken) if found]))
    place[data.draw(st.sampled_from(sorted(place)))] = [[{"a": [1]}]]
    assert not VALIDATOR.is_valid(broken)
    with pytest.raises(ManifestError):
        load(broken, folder)


NOTHING = [
    {"random_seed": None},
    {"site": None},
    {"site": []},
    {"sessions": None},
    {"files": None},
    {"files": []},
    {"files": {"suffixes": []}},
    {"subjects": {"include": []}},
    {"subjects": {"sample": None}},
    {"subjects": {"where": {"sex": None}}},
    {"derivatives": {"a": {"url": None}}},
    {"derivatives": {"a": []}},
    {"dataset_files": []},
    {"limits": {"max_bytes": None}},
]


@pytest.mark.parametrize("fields", NOTHING, ids=json.dumps)
def test_nothing_where_a_value_belongs_is_refused_by_both(folder, fields):
    document = {"manifest_version": 1, "study": {"id": "x", "url": "s3://b/x"}, **fields}
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(ManifestError):
        load(document, folder)


def described(schema, place=()):
    """Yield the help that an editor shows for each field."""
    for name, field in schema.get("properties", {}).items():
        yield (*place, name), field.get("description")


def test_every_field_has_a_line_of_help():
    schema = manifest_schema()
    fields = dict(described(schema))
    for name, definition in schema["$defs"].items():
        for form in [definition, *definition.get("anyOf", [])]:
            fields |= dict(described(form, (name,)))
    assert len(fields) > 40
    assert [place for place, text in fields.items() if not text] == []


def test_a_plan_fits_its_schema_line_by_line(tmp_path):
    plan = Plan.build(
        [
            Entry(path="a", key="a", size=1, reason="selected", etag="x", root=1),
            Entry(path="b", size=2, reason="dataset", content="{}"),
        ],
        manifest_sha256="0" * 64,
        study="x",
        roots=[Root(url="s3://b", anonymous=True), Root(url="../x")],
        subjects=["01"],
        random_seed=1,
        sampling="rank",
    )
    write_plan(plan, tmp_path / "p.jsonl")
    validator = jsonschema.Draft202012Validator(plan_schema())
    for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines():
        validator.validate(json.loads(line))
        assert not validator.is_valid({**json.loads(line), "unheard_of": 1})
