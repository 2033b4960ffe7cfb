"""Compared with ``s3bids`` 0.1.7: its tests pass, and the same calls have the same results."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import operator
import os
import shutil
import subprocess
import sys
import warnings

import pytest

import bidsplan.s3bids as ours
from bidsplan.errors import UsageError
from peer import MIMIC, hbn, shipped_tests, study, tree, unpack_mimic
from servers import Bucket

peer = pytest.importorskip("s3bids.utils")

CONFTEST = """
import sys
from types import ModuleType

import moto

import bidsplan.s3bids

sys.modules["AFQ"] = ModuleType("AFQ")
sys.modules["AFQ.data"] = ModuleType("AFQ.data")
sys.modules["AFQ.data"].s3bids = sys.modules["AFQ.data.s3bids"] = bidsplan.s3bids
# A server runs already; the environment names it.
moto.mock_s3 = lambda function: function
"""


@pytest.mark.timeout(180)
def test_the_tests_that_s3bids_ships_pass_unmodified(s3, tmp_path):
    shutil.copy(shipped_tests(), tmp_path)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    unpack_mimic(tmp_path / "data" / "mocks3")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


NAMES = [
    "HBNSite",
    "HBNSubject",
    "S3BIDSStudy",
    "S3BIDSSubject",
    "_download_from_s3",
    "_get_matching_s3_keys",
    "_ls_s3fs",
    "get_s3_client",
    "s3fs_json_read",
    "s3fs_json_write",
    "s3fs_nifti_read",
    "s3fs_nifti_write",
]


def calls(library, name):
    """Yield what a name makes callable: a function, or a class and its own methods."""
    found = getattr(library, name)
    yield name, found
    if inspect.isclass(found):
        yield from (
            (f"{name}.{method}", getattr(found, method))
            for method, value in vars(found).items()
            if inspect.isfunction(value) and not method.startswith("__")
        )


def parameters(function):
    return [(each.name, each.default) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_takes_the_same_arguments(name):
    for full, theirs in calls(peer, name):
        found = operator.attrgetter(full)(ours)
        assert found.__doc__, full
        # The default class of subjects is each library's own.
        expected = [
            (key, ours.S3BIDSSubject if value is peer.S3BIDSSubject else value)
            for key, value in parameters(theirs)
        ]
        more = [("suffix", None)] if full == "HBNSite.download" else []
        assert parameters(found) == expected + more, full
    assert name in ours.__all__
    if inspect.isclass(getattr(ours, name)):
        assert set(dir(getattr(peer, name))) <= set(dir(getattr(ours, name)))


@pytest.fixture(scope="module")
def filled(moto, tmp_path_factory):
    """A bucket with the studies, which no test changes."""
    bucket = Bucket(moto.url, f"peer{os.getpid()}")
    bucket.fill({**study(), **hbn()})
    return bucket


@pytest.fixture(scope="module")
def mimic(filled, tmp_path_factory):
    folder = unpack_mimic(tmp_path_factory.mktemp("mimic"))
    filled.fill({f"{MIMIC}/{path}": data for path, data in tree(folder).items()})
    return filled


@pytest.fixture(scope="module")
def reached(moto):
    """Set the environment for S3 for the whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", moto.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


LABELS = {
    "mimic": [f"{number:02}" for number in range(1, 27)],
    "hbn": [f"NDAR{c}" for c in "ABCDE"],
}
ARGUMENTS = {"mimic": ("x", "BUCKET", MIMIC), "hbn": ("Site-RU", "HBN", "BUCKET")}
KINDS = {"mimic": "S3BIDSStudy", "hbn": "HBNSite"}


def quick(kind, everybody):
    """Make a class that draws as theirs does, without the listings that no draw depends on."""
    return type(
        "Quick",
        (getattr(peer, KINDS[kind]),),
        {
            "_list_all_subjects": lambda _: everybody[::-1],
            "_get_derivative_types": lambda _: [],
            "_get_non_subject_s3_keys": lambda _: {},
            "_get_subject": lambda _, subject_id: subject_id,
        },
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_the_same_subjects_are_drawn(s3, filled, seed, kind, request, monkeypatch):
    if kind == "mimic":
        request.getfixturevalue("mimic")
    # Its progress bar alone takes a tenth of a second each time.
    monkeypatch.setattr(peer, "ProgressBar", contextlib.nullcontext)
    everybody = [f"sub-{label}" for label in LABELS[kind]]
    where = [filled.name if value == "BUCKET" else value for value in ARGUMENTS[kind]]
    for asked in (None, 3, [4, 1, 1], "all", [everybody[3], everybody[0]]):
        theirs = quick(kind, everybody)(*where, subjects=asked, random_seed=seed)
        found = getattr(ours, KINDS[kind])(*where, subjects=asked, random_seed=seed)
        assert found._all_subjects == everybody
        names = [subject.subject_id for subject in found.subjects]
        assert sorted(names) == sorted(theirs.subjects), asked
        assert len(names) == len(set(names))


def keys_of(subject):
    keys = subject.s3_keys
    return sorted(keys["raw"]), {kind: sorted(some) for kind, some in keys["derivatives"].items()}


def values_of(found):
    """Return what two libraries must agree on, in whatever order."""
    others = found.non_sub_s3_keys
    return {
        "all": sorted(found._all_subjects),
        "types": sorted(found.derivative_types),
        "raw": sorted(others["raw"]),
        "derivatives": sorted(map(str, map(sorted, others["derivatives"]))),
        "subjects": {subject.subject_id: keys_of(subject) for subject in found.subjects},
        "said": (found.study_id, found.bucket, found.s3_prefix, found.anon, found.random_seed),
        "repr": repr(found),
    }


@pytest.fixture(scope="module")
def made(reached, filled, request):
    """Make a study with both libraries, once for all downloads."""

    @staticmethod
    def make(kind):
        if kind == "hbn":
            arguments = {"bucket": filled.name, "subjects": ["sub-NDARB", "sub-NDARD"]}
            return tuple(each.HBNSite("Site-RU", **arguments) for each in (ours, peer))
        if kind == "mimic":
            request.getfixturevalue("mimic")
        prefix, anon = {"study": ("study", True), "mimic": (MIMIC, False)}[kind]
        arguments = {"subjects": ["sub-02", "sub-04"], "anon": anon, "random_seed": 7}
        return tuple(
            each.S3BIDSStudy("x", filled.name, prefix, **arguments) for each in (ours, peer)
        )

    known = {}
    return lambda kind: known.get(kind) or known.setdefault(kind, make(kind))


@pytest.mark.parametrize("kind", ["study", "mimic", "hbn"])
def test_studies_and_their_subjects_say_the_same(s3, made, kind):
    found, theirs = made(kind)
    assert values_of(found) == values_of(theirs)


def test_a_prefix_lists_the_same(s3, filled):
    for prefix in (f"{filled.name}/study", f"{filled.name}/study/derivatives/fmriprep"):
        assert ours._ls_s3fs(prefix) == peer._ls_s3fs(prefix)
    for prefix in ("", "study/sub-0", "study/", "stu", "study/sub-01/ses-1/anat/sub-01_ses-1_T1w"):
        for suffix in ("", ".json"):
            found = list(ours._get_matching_s3_keys(filled.name, prefix, suffix))
            assert found == list(peer._get_matching_s3_keys(filled.name, prefix, suffix))


FOUR = ["dataset_description.json", "CHANGES", "README", "LICENSE"]
ONE = ("dataset_description.json",)
# There, a string selects every pipeline with one of its letters, so pipelines are in lists.
DOWNLOADS = {
    "study": [
        *itertools.product(
            [False, True, ["afq"]],
            [False, True, FOUR],
            [None, "profiles.csv"],
        ),
        (["fmriprep", "afq"], ONE, ".json"),
        (True, ONE, "T1w.html"),
        (["afq"], "all", ".nothing"),
    ],
    "mimic": [(False, ONE, None), (True, "all", "T1w.nii.gz"), ("mriqc", FOUR, None)],
    "hbn": itertools.product(
        # There, names are taken for buckets unless they are in a tuple.
        [False, ("qsiprep",), ("T1w_HCP", "qsiprep")],
        [False, True, ("README",)],
        [None],
    ),
}


def cases():
    for kind, combinations in DOWNLOADS.items():
        for derivs, agnostic, suffix in combinations:
            yield pytest.param(
                kind, derivs, agnostic, suffix, id=f"{kind}-{derivs}-{agnostic}-{suffix}"
            )


@pytest.mark.parametrize(("kind", "derivs", "agnostic", "suffix"), list(cases()))
def test_a_download_leaves_the_same_tree(s3, made, tmp_path, kind, derivs, agnostic, suffix):
    found, theirs = made(kind)
    arguments = {"include_derivs": derivs, "include_modality_agnostic": agnostic}
    arguments |= {} if kind == "hbn" else {"suffix": suffix}
    places = [tmp_path / "ours", tmp_path / "theirs"]
    for each, place in zip((found, theirs), places, strict=True):
        place.mkdir()
        with warnings.catch_warnings(record=True):
            each.download(str(place), pbar=False, **arguments)
    left, expected = map(tree, places)
    if kind == "hbn":
        # Both generate a description; ours says so, and theirs lists the subjects.
        assert b"GeneratedBy" in left.pop("dataset_description.json")
        assert b"Subjects" in expected.pop("dataset_description.json")
    assert left == expected


MISUSES = [
    *(
        ("study", arguments)
        for arguments in (
            {"study_id": 1},
            {"bucket": None},
            {"s3_prefix": 1},
            {"s3_prefix": "/"},
            {"subjects": 1.5},
            {"subjects": [1, "sub-01"]},
            {"subjects": 0},
            {"subjects": -1},
            {"subjects": "sub-99"},
            {"subjects": ["sub-01", "01"]},
            {"anon": "yes"},
            {"use_participants_tsv": 1},
            {"random_seed": "1"},
            {"random_seed": -1},
        )
    ),
    *(("site", {"site": site}) for site in ("Site-XX", "RU", None)),
    *(("subject", arguments) for arguments in ({"subject_id": 1}, {"study": "x"}, {"site": 1})),
    *(
        (kind, arguments)
        for kind in ("download", "download one")
        for arguments in (
            {"directory": None},
            {"include_derivs": 1},
            {"include_derivs": None},
            {"include_derivs": ["afq", 1]},
            {"overwrite": "no"},
            {"suffix": 1},
            {"pbar": 1},
        )
    ),
    ("download one", {"pbar_idx": "1"}),
    ("download", {"include_modality_agnostic": ("README", "T1w.json")}),
    ("download", {"include_modality_agnostic": "README"}),
    ("download", {"include_modality_agnostic": None}),
]


@pytest.mark.parametrize(("kind", "arguments"), MISUSES, ids=str)
def test_the_same_misuse_is_the_same_kind_of_error(s3, filled, made, tmp_path, kind, arguments):
    """Its TypeErrors and ValueErrors are the same here, and bidsplan's own."""

    def misuse(library, some):
        place = str(tmp_path / library.__name__)
        match kind:
            case "study":
                usual = {"study_id": "x", "bucket": filled.name, "s3_prefix": "study"}
                library.S3BIDSStudy(**usual | arguments)
            case "site":
                library.HBNSite(bucket=filled.name, **arguments)
            case "subject":
                library.HBNSubject(**{"subject_id": "sub-01", "study": some} | arguments)
            case _:
                one = some if kind == "download" else some.subjects[0]
                one.download(**{"directory": place, "pbar": False} | arguments)

    found, theirs = made("study")
    with pytest.raises((TypeError, ValueError)) as expected:
        misuse(peer, theirs)
    with pytest.raises(expected.type) as raised:
        misuse(ours, found)
    assert isinstance(raised.value, UsageError)
    assert not (tmp_path / ours.__name__).exists()
