"""The manifest's language: what each spelling means, and that spelling alone never counts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import ValidationError

from bidsplan.errors import Problem
from bidsplan.manifest import Derivative, EntityRule, Filter, Manifest, Predicate, Subjects
from bidsplan.manifest.load import load_manifest

HEAD = "manifest_version: 1\nstudy: {id: x, url: s3://bucket/x}\n"

WHOLE = """\
manifest_version: 1
study:
  id: HBN
  url: s3://fcp-indi/data/Projects/HBN/MRI   # any fsspec URL
  anonymous: true
  layout: subject-first
  versions: latest
site: [Site-RU, Site-CBIC]
subjects:
  from: tree
  table: participants.tsv
  include: ["NDAR*"]
  exclude: [NDARAA000AAA]
  where:
    sex: F
    age: {min: 8, max: 12}
    group: [control, patient]
    handedness: {not: n/a}
  require:
    - {datatypes: [dwi], extensions: [.nii.gz]}
    - {derivative: qsiprep}
  sample: {count: 20, stratify_by: [site, sex], method: rank}
  missing: error
random_seed: 42
sessions: {include: ["01"], sessionless: exclude}
files:
  - {suffixes: [T1w, T2w], extensions: [.nii.gz]}
  - suffixes: [bold]
    entities: {task: [rest, movieDM], run: 1, acq: {absent: true}}
    exclude: ["**/*_echo-*"]
  - {include: ["sub-*/**/dwi/*"]}
derivatives:
  qsiprep: {suffixes: [dwi]}
  afq: {include: ["**/*_profiles.csv"], dataset_files: none}
  mriqc: {scope: whole}
directories: [phenotype]
dataset_files: standard
companions: full
limits: {max_bytes: 500GB, max_files: 200000}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, **options):
        path = tmp_path / "m.yaml"
        path.write_text(text, encoding="utf-8")
        return load_manifest(path, **options)

    return load_text


def test_the_whole_language(load):
    loaded = load(WHOLE)
    found = loaded.manifest
    assert loaded.warnings == ()
    assert found.study.layout == "subject-first"
    assert found.site == ("Site-RU", "Site-CBIC")
    assert (found.subjects.include, found.subjects.exclude) == (("NDAR*",), ("NDARAA000AAA",))
    assert found.subjects.where == {
        "sex": Predicate(any_of=("F",)),
        "age": Predicate(min=8, max=12),
        "group": Predicate(any_of=("control", "patient")),
        "handedness": Predicate.model_validate({"not": "n/a"}),
    }
    raw, derived = found.subjects.require
    assert (raw.filter.datatypes, raw.filter.extensions) == (("dwi",), (".nii.gz",))
    assert (derived.derivative, derived.filter) == ("qsiprep", Filter())
    assert found.subjects.sample.stratify_by == ("site", "sex")
    assert found.sessions.include == ("01",)
    assert found.files[1].entities == {
        "task": EntityRule(any_of=("rest", "movieDM")),
        "run": EntityRule(any_of=("1",)),
        "acq": EntityRule(absent=True),
    }
    assert [item.restricts for item in found.files] == [True, True, True]
    assert found.derivatives["afq"].dataset_files == "none"
    assert found.derivatives["mriqc"].scope == "whole"
    assert (found.limits.max_bytes, found.limits.max_files) == (500 * 10**9, 200_000)


def test_what_is_left_out(load):
    found = load(HEAD).manifest
    assert found.study.anonymous is None
    assert found.subjects == Subjects()
    assert found.files == (Filter(),)
    assert found.derivatives == {}
    assert not found.files[0].restricts
    assert not Filter(exclude=("*",)).restricts


ALIKE = {
    "one filter, or a list of it": ("files: {suffixes: T1w}", "files: [{suffixes: [T1w]}]"),
    "prefixes of subjects": ("subjects: {include: 01}", "subjects: {include: [sub-01]}"),
    "prefixed globs": ("subjects: {exclude: NDAR*}", "subjects: {exclude: ['sub-NDAR*']}"),
    "prefixes of sessions": ("sessions: [01, b]", "sessions: {include: [ses-01, ses-b]}"),
    "no derivatives": ("derivatives: none", "derivatives: []"),
    "named derivatives": ("derivatives: [a, b/c]", "derivatives: {a: {}, b/c: }"),
    "a derivative of nothing": ("derivatives: {a: null}", "derivatives: {a: ~}"),
    "a derivative's filters": (
        "derivatives: {a: {suffixes: x, scope: subjects}}",
        "derivatives: {a: [{suffixes: [x]}]}",
    ),
    "all companions": ("companions: full", "companions: {tables: auto, inherit: true}"),
    "no companions": (
        "companions: none",
        "companions: {inherit: false, associations: false, fieldmaps: false, references: false, "
        "tables: false}",
    ),
    "sizes": ("limits: {max_bytes: 2kB}", "limits: {max_bytes: 2000}"),
    "numbers": (
        "subjects: {where: {age: {min: 8, max: 20}}}",
        "subjects: {where: {age: {max: 20.00, min: 8.0}}}",
    ),
    "all subjects": ("subjects: all", "dataset_files: standard"),
    "a list of subjects": ("subjects: [01, sub-2]", "subjects: {include: ['01', '2']}"),
    "one subject": ("subjects: 01", "subjects: {include: [01]}"),
    "a sample of a number": (
        "random_seed: 1\nsubjects: {sample: 5}",
        "random_seed: 1\nsubjects: {sample: {count: 5}}",
    ),
    "a sample of a fraction": (
        "random_seed: 1\nsubjects: {sample: 0.25}",
        "random_seed: 1\nsubjects: {sample: {fraction: 0.25}}",
    ),
    "a group": (
        "random_seed: 1\nsubjects: {sample: {count: 5, per: group}}",
        "random_seed: 1\nsubjects: {sample: {count: 5, per: [group]}}",
    ),
    "all sessions": ("sessions: all", "dataset_files: standard"),
    "all files": ("files: all", "dataset_files: standard"),
    "a suffix": ("files: bold", "files: {suffixes: [bold]}"),
    "a datatype": ("files: anat", "files: {datatypes: [anat]}"),
    "words": ("files: [anat, bold]", "files: [{datatypes: [anat]}, {suffixes: [bold]}]"),
    "a derivative": ("derivatives: qsiprep", "derivatives: [qsiprep]"),
    "a word for a derivative": ("derivatives: {a: bold}", "derivatives: {a: {suffixes: [bold]}}"),
    "a word for a requirement": (
        "subjects: {require: [bold, {derivative: a}]}",
        "subjects: {require: [{suffixes: [bold]}, {derivative: a}]}",
    ),
    "defaults": ("dataset_files: standard", "subjects: {from: tree, missing: error}"),
}


@pytest.mark.parametrize(("one", "other"), ALIKE.values(), ids=ALIKE)
def test_two_spellings_are_one_manifest(load, one, other):
    first, second = load(HEAD + one).manifest, load(HEAD + other).manifest
    assert first == second
    assert first.canonical() == second.canonical()


@pytest.mark.parametrize(
    ("sample", "written"),
    [("{count: 1}", b'"per":null'), ("{count: 1, per: site}", b'"per":"site"')],
)
def test_a_sample_keeps_the_digest_of_plans_from_before_groups(load, sample, written):
    text = f"site: [A, B]\nrandom_seed: 1\nsubjects: {{sample: {sample}}}\n"
    assert written in load(HEAD + text).manifest.canonical()


UNLIKE = [
    "subjects: {include: ['1']}",
    "subjects: {include: ['01']}",
    "files: none",
    "files: {suffixes: t1w}",
    "files: {suffixes: T1w}",
    "site: A",
    "site: [A]",
    "random_seed: 0",
    "derivatives: all",
    "derivatives: [all]",
    "subjects: {where: {a: '1'}}",
    "subjects: {where: {a: '1.0'}}",
]


def test_what_differs_has_another_digest(load):
    digests = [load(HEAD + text).manifest.sha256() for text in UNLIKE]
    assert len(set(digests)) == len(UNLIKE)


def test_what_else_counts_is_kept_apart(load):
    manifest = load(HEAD).manifest
    pieces = [(), (b"",), (b"ab",), (b"a", b"b"), (b"", b"ab")]
    assert len({manifest.sha256(extra) for extra in pieces}) == len(pieces)


def test_python_takes_the_same_shapes_with_values_of_its_own():
    found = Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": 7, "url": "../data", "anonymous": False},
            "subjects": {
                "include": [1, "02"],
                "where": {"age": {"min": 8.5}, "sex": "F"},
                "sample": {"fraction": 0.1},
            },
            "random_seed": 2**32 - 1,
            "files": ({"entities": {"run": [1, 2]}}, Filter(suffixes=("T1w",))),
            "derivatives": {"a": Derivative(), "b": None},
            "companions": {"tables": False},
            "limits": {"max_bytes": 10, "max_files": 3},
        }
    )
    assert found.study.id == "7"
    assert found.subjects.include == ("1", "02")
    assert found.subjects.where["age"].min == Decimal("8.5")
    assert found.subjects.sample.fraction == Decimal("0.1")
    assert found.files[0].entities == {"run": EntityRule(any_of=("1", "2"))}
    assert found.derivatives == {"a": Derivative(), "b": Derivative()}
    assert found.companions.tables == "false"


def test_a_manifest_is_frozen():
    manifest = Manifest.model_validate(
        {"manifest_version": 1, "study": {"id": "x", "url": "s3://b/x"}}
    )
    with pytest.raises(ValidationError, match="frozen"):
        manifest.random_seed = 1


def test_a_protocol_that_was_allowed(load):
    text = "manifest_version: 1\nstudy: {id: x, url: 'ssh://host/x'}\n"
    assert load(text, allow_protocols=["ssh"]).manifest.study.url == "ssh://host/x"


VOCABULARY = {
    "a slip in a datatype": (
        "files: {datatypes: [dwi, fnuc]}",
        "m.yaml:3: files.datatypes[1]: 'fnuc' is not a BIDS datatype; did you mean 'func'?",
    ),
    "a slip in a suffix": (
        "files:\n- {suffixes: t1w}",
        "m.yaml:4: files[0].suffixes: 't1w' is not a BIDS suffix; did you mean 'T1w'?",
    ),
    "an entity's long name": (
        "files: {entities: {acquisition: x}}",
        "m.yaml:3: files.entities.acquisition: 'acquisition' is not a BIDS entity; "
        "did you mean 'acq'?",
    ),
    "what resembles nothing": (
        "files: {suffixes: [xyzzyqq]}",
        "m.yaml:3: files.suffixes[0]: 'xyzzyqq' is not a BIDS suffix",
    ),
    "a requirement": (
        "subjects: {require: [{datatypes: dwii}]}",
        "m.yaml:3: subjects.require[0].datatypes: 'dwii' is not a BIDS datatype; "
        "did you mean 'dwi'?",
    ),
    "the case of a derivative's word": (
        "derivatives:\n  afq:\n    - {suffixes: BOLD}",
        "m.yaml:5: derivatives.afq[0].suffixes: 'BOLD' is not a BIDS suffix; did you mean 'bold'?",
    ),
}


@pytest.mark.parametrize(("text", "warning"), VOCABULARY.values(), ids=VOCABULARY)
def test_an_unknown_word_is_a_warning_at_its_place(load, text, warning):
    (found,) = load(HEAD + text).warnings
    assert str(found).endswith(warning)


@pytest.mark.parametrize(
    "text",
    [
        "files: {datatypes: [anat, dwi, func, meg, micr], suffixes: [T1w, bold, dwi, events]}",
        "files: {entities: {task: x, acq: x, run: 1, space: x, desc: x}}",
        "derivatives: {afq: {suffixes: [profiles, tractography], datatypes: clean_bundles}}",
        "subjects: {require: [{derivative: afq, suffixes: profiles}]}",
    ],
)
def test_known_words_and_those_of_pipelines_are_none(load, text):
    assert load(HEAD + text).warnings == ()


PLACES = {
    "one filter for a list": (
        ("files", 0, "suffixes", 1),
        "files: {suffixes: [a, b]}",
        "m.yaml:3: files.suffixes[1]: x",
    ),
    "a filter of a list": (
        ("files", 1, "suffixes", 0),
        "files:\n- {}\n- suffixes: a",
        "m.yaml:5: files[1].suffixes: x",
    ),
    "what only the models have": (
        ("derivatives", "q", "filters", 0, "include", 0),
        "derivatives:\n  q: {include: '*'}",
        "m.yaml:4: derivatives.q.include: x",
    ),
    "a name in a list": (
        ("derivatives", "q"),
        "derivatives: [p, q]",
        "m.yaml:3: derivatives: x",
    ),
    "sessions of a list": (
        ("sessions", "include", 1),
        "sessions:\n- a\n- b",
        "m.yaml:5: sessions[1]: x",
    ),
    "what the document does not have": (
        ("sessions", "include", 0),
        "",
        "m.yaml: sessions.include[0]: x",
    ),
}


@pytest.mark.parametrize(("place", "text", "message"), PLACES.values(), ids=PLACES)
def test_a_place_of_the_models_is_told_as_it_was_written(load, place, text, message):
    found = load(HEAD + text + "\n").locate(Problem(message="x", at=place))
    assert str(found).endswith(message)


def test_a_problem_without_a_place_stays_as_it_is(load):
    assert str(load(HEAD).locate(Problem(message="x"))) == "x"
