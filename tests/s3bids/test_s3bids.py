"""pyAFQ's classes: what differs from s3bids on purpose, and what goes beyond it."""

from __future__ import annotations

import json
import random
import sys
import warnings
from pathlib import Path

import pytest

import peer
from bidsplan.errors import (
    IntegrityError,
    LibraryError,
    SelectionError,
    SourceChangedError,
    SourceMissingError,
    UnreachableError,
    UsageError,
)
from bidsplan.s3bids import (
    S3BIDSStudy,
    S3BIDSSubject,
    _download_from_s3,
    _get_matching_s3_keys,
    _ls_s3fs,
    get_s3_client,
)
from peer import DESCRIPTION, below, content, downloaded, hbn, made, site, study, tree
from servers import PAGE, Rule

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
QUIET = {"pbar": False}


@pytest.fixture
def place(s3, bucket):
    """A bucket with both studies."""
    bucket.fill({**study(), **hbn()})
    return bucket


def keys(subject):
    derived = subject.s3_keys["derivatives"]
    return [*subject.s3_keys["raw"], *(key for some in derived.values() for key in some)]


# What differs on purpose


def test_subjects_and_pipelines_are_exact(s3, bucket, tmp_path):
    paths = ["sub-1/anat/sub-1_T1w.json", "sub-10/anat/sub-10_T1w.json", "sub-1.json"]
    for name in ("afq", "afq2", "dafq"):
        paths += [f"derivatives/{name}/sub-{label}/x.csv" for label in (1, 10)]
    bucket.fill(below("study", paths))
    found = made(bucket, subjects="sub-1")
    assert all("sub-10" not in key for key in keys(found.subjects[0]))
    for asked, names in {
        "afq": ["afq"],
        "afq*": ["afq", "afq2"],
        "*": ["afq", "afq2", "dafq"],
    }.items():
        left = downloaded(found, tmp_path / asked, include_derivs=asked)
        expected = {f"derivatives/{name}/sub-1/x.csv" for name in names}
        assert set(left) == {"sub-1/anat/sub-1_T1w.json", *expected}
    by_path = found.derivative_types[2:]
    assert "derivatives/dafq/sub-1/x.csv" in downloaded(
        found, tmp_path / "d", include_derivs=by_path
    )


def test_a_pipeline_that_is_not_there_is_warned_of(place, tmp_path):
    found = made(place)
    with pytest.warns(UserWarning, match="no derivative pipeline 'af'; did you mean 'afq'") as seen:
        left = downloaded(found, tmp_path, include_derivs=["af", "fmriprep"])
    assert Path(seen[0].filename) == Path(peer.__file__)
    assert not any(path.startswith("derivatives/afq") for path in left)


def test_the_table_of_participants_is_one_of_tabs(s3, bucket, tmp_path):
    bucket.fill(below("study", ["sub-1/anat/x.json", "sub-2/anat/x.json"]))
    bucket.put("study/participants.tsv", b"\xef\xbb\xbfparticipant_id\tage\r\n2\t9\r\nsub-3\t8\r\n")
    found = made(bucket, subjects="all", use_participants_tsv=True)
    assert [subject.subject_id for subject in found.subjects] == ["sub-2", "sub-3"]
    with pytest.warns(UserWarning, match="without a directory are left out: sub-3"):
        assert set(downloaded(found, tmp_path)) == {"sub-2/anat/x.json"}
    assert found.subjects[1].files == {"raw": {}, "derivatives": {}}
    lone = made(bucket, subjects="sub-3", use_participants_tsv=True)
    with pytest.raises(SelectionError, match="no selected subject has a directory"):
        lone.download(str(tmp_path))
    bucket.delete("study/participants.tsv")
    with pytest.raises(SourceMissingError, match=r"no participants\.tsv"):
        made(bucket, use_participants_tsv=True)


def test_subjects_stand_in_the_order_that_was_asked_for(place):
    def order(**arguments):
        return [subject.subject_id for subject in made(place, **arguments).subjects]

    drawn = order(subjects=5, random_seed=0)
    assert drawn == ["sub-03", "sub-01", "sub-02", "sub-04", "sub-05"]
    assert order(subjects=99, random_seed=0) == drawn
    assert order(subjects=[3, 0, 3, -1], random_seed=0) == ["sub-04", "sub-03", "sub-05"]
    assert order(subjects=range(2), random_seed=0) == drawn[:2]
    assert order(subjects=None, random_seed=0) == drawn[:1]
    assert order(subjects=("sub-05", "sub-01", "sub-05")) == ["sub-05", "sub-01"]
    assert order(subjects="all") == sorted(drawn)
    assert len({tuple(order(subjects=5)) for _ in range(9)}) > 1
    with pytest.raises(UsageError, match="places below 5"):
        order(subjects=[5])
    with pytest.raises(UsageError, match="is empty"):
        order(subjects=[])
    with pytest.raises(UsageError, match="did you mean 'sub-02'"):
        order(subjects="02")


def test_files_are_none_before_a_download_and_real_afterwards(place, tmp_path):
    found = made(place, subjects="sub-02")
    [subject] = found.subjects
    assert subject.files is None
    subject.download(str(tmp_path), suffix="T1w.json", **QUIET)
    [(key, path)] = subject.files["raw"].items()
    assert key == "study/sub-02/ses-1/anat/sub-02_ses-1_T1w.json"
    assert path == str(tmp_path / "sub-02/ses-1/anat/sub-02_ses-1_T1w.json")
    assert subject.files["derivatives"] == {}
    found.download(str(tmp_path), include_derivs=["afq"], **QUIET)
    kind = f"{place.name}/study/derivatives/afq"
    assert set(subject.files["raw"]) == set(subject.s3_keys["raw"])
    assert list(subject.files["derivatives"]) == [kind]
    local = subject.files["raw"] | subject.files["derivatives"][kind]
    for key, path in local.items():
        assert Path(path).read_bytes() == content(key.removeprefix("study/"))
    assert found.local_directories == [str(tmp_path)]


def test_a_suffix_works_for_hbn_too(place, tmp_path):
    left = downloaded(site(place), tmp_path, include_derivs=True, suffix="dwi.nii.gz")
    assert set(left) == {
        DESCRIPTION,
        "sub-NDARB/dwi/sub-NDARB_dwi.nii.gz",
        "derivatives/sub-NDARB/qsiprep/dwi/sub-NDARB_desc-preproc_dwi.nii.gz",
    }


def test_nothing_is_listed_twice_and_what_is_there_is_not_fetched_again(place, counted, tmp_path):
    found = made(place, subjects="all")
    listings = [path for _, path in counted.requests]
    found.download(str(tmp_path), include_derivs=True, include_modality_agnostic=True, **QUIET)
    after = [path for _, path in counted.requests[len(listings) :]]
    assert len(set(listings)) == len(listings)
    assert not any("list-type" in path for path in after)
    # Compiling reads it to see whether the study is a derivative.
    after.remove(f"/{place.name}/study/{DESCRIPTION}")
    assert sorted(after) == sorted({f"/{place.name}/study/{path}" for path in tree(tmp_path)})
    found.download(str(tmp_path), include_derivs=True, include_modality_agnostic=True, **QUIET)
    assert len(counted.requests) == len(listings) + len(after) + 2


def test_nothing_is_printed(place, tmp_path, capfd):
    downloaded(made(place), tmp_path)
    assert capfd.readouterr() == ("", "")
    # Only a terminal or a notebook gets a bar.
    made(place).download(str(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_what_differs_stays_unless_it_may_be_overwritten(place, tmp_path):
    found = made(place, subjects="sub-02")
    whole = downloaded(found, tmp_path)
    path = "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"
    (tmp_path / path).write_bytes(whole[path][:-1])
    with pytest.warns(UserWarning, match="1 files differ .* overwrite=True replaces them: sub-02/"):
        left = downloaded(found, tmp_path)
    assert left == {**whole, path: whole[path][:-1]}
    assert f"study/{path}" in found.subjects[0].files["raw"]
    assert downloaded(found, tmp_path, overwrite=True) == whole


def test_what_breaks_off_is_an_error_and_never_a_file(place, counted, tmp_path):
    found = made(place, subjects="sub-02")
    path = "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"
    counted.rules = [Rule("flip", match=path), Rule("cut", match="T1w.json")]
    with pytest.raises(
        (IntegrityError, UnreachableError), match=r"2 of \d files .* continues from"
    ):
        found.download(str(tmp_path), **QUIET)
    missing = {path, path.replace(".nii.gz", ".json")}
    whole = {key.removeprefix("study/") for key in found.subjects[0].s3_keys["raw"]} | {DESCRIPTION}
    assert set(tree(tmp_path)) == whole - missing
    assert {key.removeprefix("study/") for key in found.subjects[0].files["raw"]} == (
        whole - missing - {DESCRIPTION}
    )
    counted.rules = []
    assert set(downloaded(found, tmp_path)) == whole


def test_a_study_is_what_its_bucket_held_when_it_was_made(place, tmp_path):
    found = made(place, subjects="sub-02")
    place.put("study/sub-02/ses-1/anat/sub-02_ses-1_T1w.json", b"another")
    place.put("study/sub-02/ses-1/anat/sub-02_ses-1_T2w.json", b"new")
    with pytest.raises(SourceChangedError, match=r"1 of \d files"):
        found.download(str(tmp_path), **QUIET)
    assert not any(path.endswith(("T1w.json", "T2w.json")) for path in tree(tmp_path))


def test_hbn_gets_a_description_that_never_replaces_another(s3, bucket, tmp_path):
    bucket.fill(hbn())
    found = site(bucket)
    generated = json.loads(downloaded(found, tmp_path / "a")[DESCRIPTION])
    assert generated["GeneratedBy"][0]["Name"] == "bidsplan"
    assert generated["Name"] == "HBN"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / DESCRIPTION).write_text("mine")
    for overwrite in (False, True):
        assert downloaded(found, tmp_path / "b", overwrite=overwrite)[DESCRIPTION] == b"mine"
    bucket.fill(hbn(described=True))
    assert downloaded(site(bucket), tmp_path / "c")[DESCRIPTION] == content(DESCRIPTION)


def test_a_description_comes_with_any_other_file_of_the_root(place, tmp_path):
    left = downloaded(made(place), tmp_path, include_modality_agnostic=["README"])
    assert {path for path in left if "/" not in path} == {"README", DESCRIPTION}
    for agnostic in (False, ["LICENSE"]):
        folder = tmp_path / str(agnostic)
        left = downloaded(made(place), folder, include_modality_agnostic=agnostic)
        assert not any("/" not in path for path in left)


def test_a_name_also_means_the_same_with_an_extension(s3, bucket, tmp_path):
    bucket.fill(below("study", ["README.md", "README_old", DESCRIPTION, "sub-1/anat/x.json"]))
    found = made(bucket, subjects="all")
    left = downloaded(found, tmp_path, include_modality_agnostic=["README", DESCRIPTION])
    assert set(left) == {"README.md", DESCRIPTION, "sub-1/anat/x.json"}


def test_a_recording_that_is_a_folder_is_one_file(s3, bucket, tmp_path):
    folder = "sub-1/meg/sub-1_task-rest_meg.ds"
    paths = [f"{folder}/a.meg4", f"{folder}/a.res4", "sub-1/meg/sub-1_coordsystem.json"]
    bucket.fill(below("study", paths))
    found = made(bucket, subjects="all")
    assert set(downloaded(found, tmp_path / "a", suffix="meg.ds")) == set(paths[:2])
    assert downloaded(found, tmp_path / "b", suffix=".meg4") == {}


def test_a_derivative_may_be_the_study_itself(s3, bucket, tmp_path):
    paths = ["sub-1.html", "sub-10.html", "sub-1/figures/x.svg", "sub-10/figures/x.svg"]
    bucket.fill(below("study", paths))
    raw = made(bucket, subjects="sub-1")
    assert keys(raw.subjects[0]) == ["study/sub-1/figures/x.svg"]
    assert f"{bucket.name}/study/sub-1.html" in raw.non_sub_s3_keys["raw"]
    bucket.put(f"study/{DESCRIPTION}", b'{"DatasetType": "derivative"}')
    found = made(bucket, subjects="sub-1")
    assert keys(found.subjects[0]) == ["study/sub-1.html", "study/sub-1/figures/x.svg"]
    assert set(downloaded(found, tmp_path)) == {"sub-1.html", "sub-1/figures/x.svg", DESCRIPTION}


def test_longitudinal_directories_of_a_derivative_are_their_subjects(s3, bucket, tmp_path):
    paths = ["sub-1/anat/x.json", "sub-10/anat/x.json"]
    longitudinal = ("sub-1", "sub-1_ses-a", "sub-1_ses-a.long.sub-1", "sub-10_ses-a")
    paths += [f"derivatives/freesurfer/{name}/mri/T1.mgz" for name in longitudinal]
    bucket.fill(below("study", paths))
    found = made(bucket, subjects="sub-1")
    [derived] = found.subjects[0].s3_keys["derivatives"].values()
    assert len(derived) == 3
    assert found.non_sub_s3_keys["derivatives"] == [[]]
    left = downloaded(found, tmp_path, include_derivs=True)
    assert sorted(path for path in left if path.endswith(".mgz")) == sorted(paths[2:5])


def test_a_prefix_may_have_slashes_or_be_empty(s3, bucket):
    bucket.fill({"sub-1/anat/x.json": b"", "study/sub-1/anat/x.json": b""})
    assert keys(S3BIDSStudy("x", bucket.name).subjects[0]) == ["sub-1/anat/x.json"]
    found = S3BIDSStudy("x", bucket.name, "/study/")
    assert keys(found.subjects[0]) == ["study/sub-1/anat/x.json"]
    assert found.s3_prefix == "/study/"
    with pytest.raises(SourceMissingError, match="nothing here"):
        S3BIDSStudy("x", bucket.name, "stud")


def test_keys_that_can_be_no_files_are_warned_of(s3, bucket):
    bucket.fill({"study/sub-1/anat/x.json": b"", "study/sub-1//y": b"1"})
    with pytest.warns(UserWarning, match="not planned"):
        found = made(bucket, subjects="all")
    assert keys(found.subjects[0]) == ["study/sub-1/anat/x.json"]


# Single functions


def test_each_client_is_independent(s3):
    assert get_s3_client() is not get_s3_client()


def test_boto3_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(LibraryError, match=r"pip install 'bidsplan\[s3bids\]'") as raised:
        get_s3_client()
    assert isinstance(raised.value, ImportError)


def test_keys_match_over_many_pages(s3, bucket, counted):
    names = [f"a/{number:04}.{end}" for number in range(PAGE // 2 + 20) for end in ("json", "x")]
    bucket.fill(dict.fromkeys([*names, "a0"], b""))
    assert list(_get_matching_s3_keys(bucket.name, "a/")) == names
    assert len(counted.requests) == 2
    assert list(_get_matching_s3_keys(bucket.name, "a", ".json")) == names[::2]
    assert list(_get_matching_s3_keys(bucket.name, "b")) == []
    with pytest.raises(SourceMissingError):
        list(_get_matching_s3_keys("no-such-bucket"))
    with pytest.raises(SourceMissingError, match="nothing here"):
        _ls_s3fs(f"{bucket.name}/b")


def test_one_object_is_checked_before_it_gets_its_name(place, counted, tmp_path, monkeypatch):
    key, path = "study/README", tmp_path / "new" / "file"
    counted.rules = [Rule("flip", match=key)]
    with pytest.raises(IntegrityError):
        _download_from_s3(str(path), place.name, key)
    assert not path.exists()
    counted.rules = []
    _download_from_s3(str(path), place.name, key)
    assert path.read_bytes() == b"README"
    path.write_bytes(b"mine")
    asked = len(counted.requests)
    _download_from_s3(str(path), place.name, key)
    assert path.read_bytes() == b"mine"
    assert len(counted.requests) == asked
    _download_from_s3(str(path), place.name, key, overwrite=True)
    assert path.read_bytes() == b"README"
    monkeypatch.chdir(tmp_path)
    _download_from_s3("here", place.name, key, anon=False)
    assert (tmp_path / "here").read_bytes() == b"README"
    with pytest.raises(SourceMissingError):
        _download_from_s3("nothing", place.name, "study/nothing")


def test_files_of_no_subject_can_be_had_alone(place, tmp_path):
    found = made(place)
    found._download_non_sub_keys(str(tmp_path / "a"))
    assert set(tree(tmp_path / "a")) == {DESCRIPTION}
    found._download_non_sub_keys(str(tmp_path / "b"), select="all")
    assert set(tree(tmp_path / "b")) == set(found.agnostic_files)
    names = found.non_sub_s3_keys["derivatives"][0]
    found._download_non_sub_keys(str(tmp_path / "c"), (DESCRIPTION,), names)
    assert tree(tmp_path / "c") == {DESCRIPTION: content(f"derivatives/afq/{DESCRIPTION}")}
    found._download_derivative_descriptions("afq", str(tmp_path / "d"))
    assert set(tree(tmp_path / "d")) == {f"derivatives/afq/{DESCRIPTION}"}
    site(place)._download_derivative_descriptions(True, str(tmp_path / "e"))
    assert not (tmp_path / "e").exists()


def test_a_subject_of_ones_own_class_is_asked_to_download_itself(place, tmp_path):
    calls = []

    class Own(S3BIDSSubject):
        def download(self, **arguments):
            calls.append((self.subject_id, arguments["include_derivs"], arguments["pbar_idx"]))

    found = made(place, _subject_class=Own)
    found.download(str(tmp_path), include_derivs="afq", **QUIET)
    assert calls == [("sub-02", ("afq",), 0), ("sub-04", ("afq",), 1)]
    assert set(tree(tmp_path)) == {DESCRIPTION, f"derivatives/afq/{DESCRIPTION}"}


def test_what_pyafq_does_is_read_by_pybids(place, tmp_path):
    found = S3BIDSStudy("get_profiles", place.name, "study", subjects="all", anon=False)
    found.download(
        str(tmp_path),
        include_modality_agnostic=False,
        include_derivs="afq",
        include_derivs_dataset_description=True,
        suffix="profiles.csv",
    )
    name = "sub-{0}_dwi_space-RASMM_profiles.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids.layout import BIDSLayout  # a second, and it warns

        layout = BIDSLayout(str(tmp_path), validate=False, derivatives=True)
        files = layout.get(extension="csv", suffix="profiles", return_type="filename")
    assert [path.rpartition("/")[2] for path in files] == [
        name.format(f"{number:02}") for number in range(1, 6)
    ]


def test_large_files_come_too(s3, bucket, tmp_path):
    data = random.Random(0).randbytes(9 << 20)
    bucket.put("study/sub-1/anat/sub-1_T1w.nii.gz", data)
    left = downloaded(made(bucket, subjects="all"), tmp_path)
    assert left == {"sub-1/anat/sub-1_T1w.nii.gz": data}
