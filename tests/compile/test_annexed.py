"""Local clones of DataLad datasets, of which only a part has its content."""

from __future__ import annotations

import json

import pytest

from bidsplan.cli.main import run
from codes import without_codes

KEY = ".git/annex/objects/aa/bb/MD5E-s{0}--x/MD5E-s{0}--x"
POINTER = "/annex/objects/MD5E-s1000--0123456789abcdef0123456789abcdef.nii.gz\n"


@pytest.fixture
def clone(tmp_path):
    """A clone with field maps; the content of anatomical images alone is there."""
    root = tmp_path / "study"
    (root / ".git/annex/objects").mkdir(parents=True)
    (root / ".datalad").mkdir()
    (root / ".datalad/config").touch()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for label in ("01", "02"):
        for directory in ("anat", "func", "fmap"):
            (root / f"sub-{label}" / directory).mkdir(parents=True)
        (root / f"sub-{label}/anat/sub-{label}_T1w.nii.gz").write_bytes(b"image")
        for name in (f"func/sub-{label}_task-rest_bold.nii.gz", f"fmap/sub-{label}_phasediff.json"):
            (root / f"sub-{label}" / name).symlink_to(f"../../{KEY.format(100)}")
        (root / f"sub-{label}/fmap/sub-{label}_phasediff.nii.gz").write_bytes(b"map")
    return root


@pytest.fixture
def compiled(clone, tmp_path, capsys):
    def compile_(filters, *options):
        manifest = tmp_path / "x.yaml"
        manifest.write_text(
            f"manifest_version: 1\nstudy: {{id: x, url: study}}\nfiles: {filters}\n"
        )
        code = run(["compile", str(manifest), *options])
        return code, capsys.readouterr().err

    return compile_


def test_links_that_nobody_asks_for_do_not_matter(compiled, tmp_path):
    code, _ = compiled("{datatypes: [anat]}\ncompanions: none")
    lines = (tmp_path / "x.plan.jsonl").read_text().splitlines()[1:]
    assert code == 0
    assert "sub-01/anat/sub-01_T1w.nii.gz" in {json.loads(line)["path"] for line in lines}


def test_all_files_without_content_are_named_at_once_with_sidecars_to_be_read(compiled, tmp_path):
    code, said = compiled("{datatypes: [func]}")
    assert code == 1
    assert without_codes(said) == (
        "error: 4 planned files without content here (links that lead nowhere, or git-annex "
        "pointers): study/sub-01/fmap/sub-01_phasediff.json, "
        "study/sub-01/func/sub-01_task-rest_bold.nii.gz, "
        "study/sub-02/fmap/sub-02_phasediff.json, study/sub-02/func/sub-02_task-rest_bold.nii.gz; "
        "get it first, as by 'datalad get'\n"
    )
    assert not (tmp_path / "x.plan.jsonl").exists()


def test_ten_are_named_and_the_others_counted(clone, compiled):
    for number in range(30):
        link = clone / f"sub-01/func/sub-01_task-rest_run-{number:02}_bold.nii.gz"
        link.symlink_to(f"../../{KEY.format(100)}")
    code, said = compiled("{suffixes: [bold]}\ncompanions: none")
    assert (code, said.startswith("error: 32 planned files")) == (1, True)
    assert "run-08_bold.nii.gz and 22 more; get it first" in said


def test_pointers_of_unlocked_files_are_never_planned_as_data(clone, compiled):
    (clone / "sub-02/anat/sub-02_T1w.nii.gz").write_text(POINTER)
    code, said = compiled("{datatypes: [anat]}\ncompanions: none")
    assert (code, "error: 1 planned file without content here" in said) == (1, True)
    assert "study/sub-02/anat/sub-02_T1w.nii.gz; get" in said


def test_a_subject_that_is_a_dangling_link_is_told(clone, compiled):
    (clone / "sub-03").symlink_to("nowhere")
    code, said = compiled("{datatypes: [anat]}\ncompanions: none")
    assert code == 0
    assert "study: 'sub-03' is a link that leads nowhere, and no subject's directory" in said
    assert compiled("{datatypes: [anat]}\ncompanions: none", "--strict")[0] == 1


def test_a_table_without_content_says_how_to_get_it(clone, compiled):
    (clone / "participants.tsv").symlink_to(KEY.format(100))
    code, said = compiled("{datatypes: [anat]}\nsubjects: {where: {sex: F}}")
    assert code == 1
    assert "study/participants.tsv: a link that leads nowhere; get its content first" in said


@pytest.mark.parametrize("options", [(), ("-n",)])
def test_a_clone_is_no_destination(clone, compiled, tmp_path, capsys, options):
    compiled("{datatypes: [anat]}\ncompanions: none")
    assert run(["fetch", str(tmp_path / "x.plan.jsonl"), str(clone), *options]) == 1
    said = capsys.readouterr().err
    assert f"{clone}: a git-annex (DataLad) clone, whose files are links to its own content" in said
    assert not (clone / ".bidsplan").exists()
    # A directory that is in git is one.
    (tmp_path / "d/.git").mkdir(parents=True)
    assert run(["fetch", str(tmp_path / "x.plan.jsonl"), str(tmp_path / "d")]) == 0
