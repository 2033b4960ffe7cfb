"""Studies of pyAFQ's classes as manifests, and manifests as studies."""

from __future__ import annotations

import warnings

import pytest

from bidsplan.compile.compiler import compile_manifest, explain_manifest
from bidsplan.errors import SelectionError, UnsupportedError
from bidsplan.manifest.load import load_manifest
from bidsplan.s3bids import HBNSite, S3BIDSStudy
from peer import DESCRIPTION, HBN, SITE, below, downloaded, hbn, made, site, study

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture
def place(s3, bucket):
    """A bucket with both studies."""
    bucket.fill({**study(), **hbn()})
    return bucket


DOWNLOADS = [
    {},
    {"include_derivs": True, "include_modality_agnostic": True},
    {"include_derivs": ["afq"], "suffix": "profiles.csv", "include_modality_agnostic": False},
    {"include_derivs": "fmriprep", "suffix": ".html", "overwrite": True},
    {"include_derivs": "*", "include_modality_agnostic": ["README"]},
    {"include_derivs": True, "include_derivs_dataset_description": False, "suffix": ".json"},
    {"suffix": "sub-02_ses-1_T1w.nii.gz"},
]
SITES = [
    {},
    {"include_derivs": ["qsiprep"], "include_modality_agnostic": True},
    {"include_derivs": True, "suffix": ".nii.gz"},
]
BOTH = [*((made, case) for case in DOWNLOADS), *((site, case) for case in SITES)]


@pytest.mark.parametrize(("make", "arguments"), BOTH)
def test_a_manifest_fetches_what_a_download_would(place, tmp_path, make, arguments):
    found = make(place)
    path = tmp_path / "study.yaml"
    path.write_text(found.to_yaml(**arguments), encoding="utf-8")
    loaded = load_manifest(path)
    assert loaded.warnings == ()
    assert loaded.manifest == found.to_manifest(**arguments)
    compiled = compile_manifest(loaded.manifest)
    with warnings.catch_warnings():
        warnings.filterwarnings("default", ".* selected subjects has no file", UserWarning)
        left = downloaded(found, tmp_path / "d", **arguments)
    assert [entry.path for entry in compiled.plan.entries] == sorted(left)
    again = S3BIDSStudy.from_manifest(path)
    assert type(again) is type(found)
    assert again.to_manifest(**again.download_arguments) == found.to_manifest(**arguments)
    assert sorted(map(repr, again.subjects)) == sorted(map(repr, found.subjects))


def test_a_suffix_that_nothing_has_is_no_error_and_lost_in_a_manifest(place, tmp_path):
    found = made(place)
    (tmp_path / "m.yaml").write_text(found.to_yaml(suffix=".nothing"), encoding="utf-8")
    assert set(downloaded(found, tmp_path / "d", suffix=".nothing")) == {DESCRIPTION}
    plan = compile_manifest(load_manifest(tmp_path / "m.yaml").manifest).plan
    assert [entry.path for entry in plan.entries] == [DESCRIPTION]
    with pytest.warns(UserWarning, match="says of files;"):
        S3BIDSStudy.from_manifest(tmp_path / "m.yaml")


def test_all_subjects_need_no_names_in_a_manifest(place):
    everybody = made(place, subjects="all", anon=False).to_manifest()
    assert everybody.subjects.include is None
    assert everybody.study.anonymous is False
    assert made(place, subjects=2, random_seed=1).to_manifest().random_seed == 1


def test_arguments_of_a_manifest_are_those_of_download(place):
    with pytest.raises(TypeError, match="sufix"):
        made(place).to_manifest(sufix="x")
    with pytest.raises(TypeError, match="descriptions"):
        site(place).to_manifest(descriptions=True)


def test_names_that_yaml_reads_otherwise_come_through(s3, bucket, tmp_path):
    paths = [f"sub-{label}/anat/sub-{label}_T1w.json" for label in ("01", "1e3", "no", "é")]
    bucket.fill(below("study", [*paths, "sub-01/.#x: y", "null", "010", "- a: 'b'"]))
    found = made(bucket, subjects="all")
    (tmp_path / "m.yaml").write_text(found.to_yaml(include_modality_agnostic=True), "utf-8")
    assert load_manifest(tmp_path / "m.yaml").manifest == found.to_manifest(
        include_modality_agnostic=True
    )


def written(tmp_path, bucket, text, url="study"):
    path = tmp_path / "study.yaml"
    head = f"manifest_version: 1\nstudy: {{id: x, url: 's3://{bucket.name}/{url}'"
    path.write_text(f"{head}{text}", encoding="utf-8")
    return path


def test_a_study_has_the_subjects_of_its_manifest(place, tmp_path):
    text = "}\nsubjects: {exclude: ['01'], sample: {count: 2}}\nrandom_seed: 3\ncompanions: none\n"
    path = written(tmp_path, place, text + "files: {include: ['**']}\n")
    drawn = compile_manifest(load_manifest(path).manifest).plan.header.subjects
    with pytest.warns(UserWarning, match=r"says of dataset_files, files; 'bidsplan fetch'"):
        found = S3BIDSStudy.from_manifest(path)
    assert [subject.subject_id for subject in found.subjects] == [f"sub-{d}" for d in drawn]
    assert found.random_seed == 3
    with pytest.warns(UserWarning, match="companions, dataset_files, files, study.versions"):
        S3BIDSStudy.from_manifest(
            written(tmp_path, place, ", versions: pinned}\nfiles: {datatypes: [anat]}\n")
        )


def test_a_site_of_a_manifest_is_a_study(place, tmp_path):
    rest = "files: {include: ['**']}\ncompanions: none\ndataset_files: none\n"
    path = written(tmp_path, place, f"}}\nsite: Site-RU\n{rest}", HBN)
    found = S3BIDSStudy.from_manifest(path)
    assert type(found) is S3BIDSStudy
    assert found.s3_prefix == SITE
    assert len(found.subjects) == 5
    path = written(tmp_path, place, f", layout: subject-first}}\nsite: Site-RU\n{rest}", HBN)
    with pytest.warns(UserWarning, match=r"says of dataset_files, study\.layout"):
        found = HBNSite.from_manifest(path)
    assert type(found) is HBNSite
    assert found.site == "Site-RU"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (S3BIDSStudy, "}\nsite: [Site-RU]\n", r"study.yaml:3: site: .* name one site"),
        (S3BIDSStudy, ", layout: subject-first}\n", "study.layout: only the sites of HBN"),
        (HBNSite, "}\nsite: Site-RU\n", "study: HBNSite has the layout subject-first"),
    ],
)
def test_what_is_no_study_of_this_kind_is_refused(bucket, tmp_path, kind, text, message):
    with pytest.raises(UnsupportedError, match=message):
        kind.from_manifest(written(tmp_path, bucket, text))


def test_a_manifest_of_another_storage_is_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("manifest_version: 1\nstudy: {id: x, url: somewhere}\n", encoding="utf-8")
    with pytest.raises(UnsupportedError, match=r"study\.url: a study of this class is on S3"):
        S3BIDSStudy.from_manifest(path)


def test_where_a_kept_file_lands_is_explained(place):
    explanation = explain_manifest(site(place).to_manifest(include_derivs=["qsiprep"]))
    path = "derivatives/sub-NDARB/qsiprep/dwi/sub-NDARB_desc-preproc_dwi.nii.gz"
    for name in (path, path.removeprefix("x")):
        answer = explanation.path(name)
        assert answer.taken
        assert answer.why == "selected by derivatives.qsiprep"


def test_what_a_manifest_asks_of_subjects_and_is_not_there_has_its_line(place, tmp_path):
    path = written(tmp_path, place, "}\nsubjects: {include: ['99']}\n")
    with pytest.raises(SelectionError, match=r"study\.yaml:3: subjects\.include"):
        S3BIDSStudy.from_manifest(path)
