"""Sample sheets: rows, columns, and what reads them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bidsplan
from bidsplan.cli.main import run
from bidsplan.plan import Entry, Plan, Root

DEMO = Path(__file__).resolve().parents[2] / "manifests" / "demo.yaml"


def plan_of(paths, subjects):
    entries = [Entry(path=path, key=path, size=1, reason="selected") for path in paths]
    return Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study="x",
        roots=[Root(url="s3://b/x")],
        subjects=subjects,
    )


def text(paths, subjects=("1", "2"), **options):
    export = bidsplan.export_plan(plan_of(paths, subjects), "samplesheet", **options)
    return b"".join(export.blocks()).decode()


def rows(paths, subjects=("1", "2"), **options):
    """Return the rows of a sheet, without their empty cells."""
    found = csv.DictReader(io.StringIO(text(paths, subjects, **options), newline=""))
    return [{name: cell for name, cell in row.items() if cell} for row in found]


def warnings(paths, subjects=("1", "2"), **options):
    plan = plan_of(paths, subjects)
    return [str(found) for found in bidsplan.export_plan(plan, "samplesheet", **options).warnings]


def refusal(paths, subjects=("1", "2"), **options):
    with pytest.raises(bidsplan.UsageError) as caught:
        text(paths, subjects, **options)
    return str(caught.value)


T1W = "sub-1/anat/sub-1_T1w.nii.gz"
BOLD = "sub-1/func/sub-1_task-{}_run-{}_bold.nii.gz"


def test_a_subject_has_a_row_and_each_suffix_a_column():
    paths = [
        T1W,
        "sub-1/dwi/sub-1_dwi.nii.gz",
        "sub-1/dwi/sub-1_dwi.bval",
        "sub-2/eeg/sub-2_eeg.set",
    ]
    paths += [
        "sub-1/dwi/sub-1_dwi.bvec",
        "sub-1/dwi/sub-1_dwi.json",
        "sub-1/sub-1_scans.tsv",
        "README",
    ]
    assert text(paths).splitlines() == [
        "sample,subject,bval,bvec,dwi,eeg_set,T1w",
        "sub-1,sub-1,sub-1/dwi/sub-1_dwi.bval,sub-1/dwi/sub-1_dwi.bvec,sub-1/dwi/sub-1_dwi.nii.gz,,"
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-2,sub-2,,,,sub-2/eeg/sub-2_eeg.set,",
    ]


def test_runs_have_rows_and_what_is_of_no_run_is_in_each():
    paths = [T1W, BOLD.format("rest", 1), BOLD.format("rest", 2), BOLD.format("rest", 10)]
    found = rows(paths)
    assert [row["sample"] for row in found] == ["sub-1_run-1", "sub-1_run-2", "sub-1_run-10"]
    assert [row["bold"] for row in found] == paths[1:]
    assert {row["T1w"] for row in found} == {T1W}
    # All are of one task, so it needs no column.
    assert set(found[0]) == {"sample", "subject", "run", "bold", "T1w"}


def test_sessions_have_rows_and_what_is_of_no_session_is_in_each():
    sessions = [f"sub-1/ses-{name}/func/sub-1_ses-{name}_bold.nii" for name in ("a", "b")]
    found = rows([T1W, *sessions])
    assert [(row["sample"], row["session"]) for row in found] == [
        ("sub-1_ses-a", "ses-a"),
        ("sub-1_ses-b", "ses-b"),
    ]
    assert [(row["bold"], row["T1w"]) for row in found] == [(path, T1W) for path in sessions]


def test_the_events_of_a_run_are_in_the_rows_of_all_its_echoes():
    echoes = [f"sub-1/func/sub-1_run-{r}_echo-{e}_bold.nii" for r in (1, 2) for e in (1, 2)]
    events = [f"sub-1/func/sub-1_run-{r}_events.tsv" for r in (1, 2)]
    found = rows([*echoes, *events])
    assert [(row["bold"], row["events_tsv"]) for row in found] == [
        (echo, events["run-2" in echo]) for echo in sorted(echoes, key=lambda name: name[-10:])
    ]


def test_a_file_with_fewer_entities_than_another_of_its_column_has_a_row_of_its_own():
    paths = ["sub-1/func/sub-1_run-1_bold.nii", "sub-1/func/sub-1_bold.nii"]
    assert [row["bold"] for row in rows(paths)] == paths[::-1]


def test_gradient_tables_above_the_images_are_in_their_rows():
    images = [f"sub-{label}/dwi/sub-{label}_dwi.nii.gz" for label in "12"]
    own = ["sub-2/dwi/sub-2_dwi.bval"]
    found = rows([*images, *own, "dwi.bval", "dwi.bvec", "sub-1/sub-1_dwi.bval"])
    assert [(row["bval"], row["bvec"]) for row in found] == [
        ("sub-1/sub-1_dwi.bval", "dwi.bvec"),
        (own[0], "dwi.bvec"),
    ]


def test_columns_are_named_by_globs_in_the_order_given():
    names = [f"sub-1_dir-{way}_dwi.nii.gz" for way in ("AP", "PA")]
    paths = [f"sub-1/dwi/{name}" for name in names]
    derived = "derivatives/freesurfer/sub-1/mri/wmparc.mgz"
    columns = {"t1": "**/anat/*_T1w.nii.gz", "dwi": "**/*_dir-AP_dwi.nii.gz"}
    columns |= {"rev_dwi": "**/*_dir-PA_dwi.*", "wmparc": "derivatives/freesurfer/**/wmparc.mgz"}
    columns |= {"bval": "**/*dwi.bval"}
    found = text([T1W, *paths, derived, "dwi.bval"], columns=columns, dest="/data/")
    assert found.splitlines() == [
        "sample,subject,t1,dwi,rev_dwi,wmparc,bval",
        f"sub-1,sub-1,/data/{T1W},/data/{paths[0]},/data/{paths[1]},/data/{derived},/data/dwi.bval",
    ]


def test_sites_tell_subjects_of_one_label_apart_and_globs_begin_below_them():
    paths = [f"{site}/sub-1/anat/sub-1_T1w.nii" for site in ("B", "A")]
    found = rows(paths, ["A/1", "B/1"], columns={"t1": "sub-*/anat/*_T1w.nii"})
    assert [(row["sample"], row["site"], row["subject"], row["t1"]) for row in found] == [
        ("A_sub-1", "A", "sub-1", paths[1]),
        ("B_sub-1", "B", "sub-1", paths[0]),
    ]


def test_a_recording_that_is_a_directory_is_one_file():
    names = ["sub-1_meg.meg4", "sub-1_meg.res4", "deep/x"]
    assert rows([f"sub-1/meg/sub-1_meg.ds/{name}" for name in names]) == [
        {"sample": "sub-1", "subject": "sub-1", "meg_ds": "sub-1/meg/sub-1_meg.ds"}
    ]


def test_what_is_in_no_row_or_column_is_said():
    derived = "derivatives/p/sub-1/anat/sub-1_T1w.nii.gz"
    assert warnings(
        [T1W, derived, "sub-1/anat/sub-1_T1w!.nii", "sub-1/anat/sub-1_a b_T2w.nii"]
    ) == [
        f"no column has 1 file of derivatives: {derived}; --column NAME=GLOB names files of any "
        "kind, such as 'derivatives/*/**/*_wmparc.mgz'",
        "no column has 1 file whose names have no suffix of letters and digits: "
        "sub-1/anat/sub-1_T1w!.nii",
        "most pipelines refuse the paths of 1 file, with spaces or quotation marks: "
        "sub-1/anat/sub-1_a b_T2w.nii",
        "no row for 1 subject without a file in any column: 2",
    ]
    assert warnings([T1W, derived], ["1"], columns={"t1": "sub-*/**/*_T1w.nii.gz"}) == []


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"t2": "**/*_T2w.nii.gz"}, "no file of the plan's subjects is for column 't2'"),
        ({"t 1": "**/*_T1w.nii.gz"}, "'t 1' can't name a column"),
        ({"=t1": "**/*_T1w.nii.gz"}, "'=t1' can't name a column"),
        ({"subject": "**/*_T1w.nii.gz"}, "'subject' can't name a column"),
        ({"any": "sub-1/**"}, "column 'any' has two files in one row"),
    ],
)
def test_columns_that_cannot_be_are_refused(columns, said):
    assert refusal([T1W, "sub-1/anat/sub-1_T2w.nii"], columns=columns).startswith(said)


def test_columns_are_for_sample_sheets_only():
    with pytest.raises(bidsplan.UsageError, match="for a samplesheet, not for csv"):
        bidsplan.export_plan(plan_of([T1W], ["1"]), "csv", dest="/data")


def test_hostile_names_are_neither_formulas_nor_columns_and_are_read_as_written():
    labels = ["=cmd|'calc'!A0", 'a,"b"', "<script>", "--rf", "@x", "ü\u3042"]
    sites = ["=1+1", "-x", "+y", "＝z", '"q",']
    paths = [f"{site}/sub-{label}/anat/sub-{label}_T1w.nii" for site in sites for label in labels]
    paths += ["-x/sub-@x/anat/sub-@x_=cmd().nii", "-x/sub-@x/anat/sub-@x_T1w.=x"]
    found = rows(paths, [f"{site}/{label}" for site in sites for label in labels])
    assert set(found[0]) == {"sample", "site", "subject", "T1w"}
    cells = [cell for row in found for cell in row.values()]
    assert [cell for cell in cells if cell[0] in "=+-@＝"] == []
    assert {row["T1w"].removeprefix("./") for row in found} == set(paths[:-2])
    assert len({row["sample"] for row in found}) == len(sites) * len(labels)


ENTITIES = st.lists(st.sampled_from(["run-1", "run-2", "acq-a", "acq-b", "echo-1"]), max_size=2)
NAMES = st.tuples(
    st.sampled_from("12"),
    st.sampled_from(["", "ses-a", "ses-b"]),
    st.sampled_from(["anat", "func"]),
    ENTITIES.map(lambda found: sorted({name[:3]: name for name in found}.values())),
    st.sampled_from(["T1w.nii", "bold.nii", "events.tsv"]),
)


def path_of(name):
    subject, session, datatype, entities, end = name
    base = "_".join(filter(None, [f"sub-{subject}", session, *entities, end]))
    return "/".join(filter(None, [f"sub-{subject}", session, datatype, base]))


@given(st.lists(NAMES, min_size=1, max_size=14), st.randoms())
def test_each_file_is_in_a_row_of_its_subject_and_session(names, draw):
    paths = sorted({path_of(name) for name in names})
    kinds = {(path.split("/")[-2], path.rpartition("_")[2]) for path in paths}
    if len({end for _, end in kinds}) < len(kinds):
        return  # One column of two datatypes may be ambiguous.
    found = rows(paths)
    assert {path for row in found for path in row.values()} >= set(paths)
    assert len({row["sample"] for row in found}) == len(found)
    for row in found:
        for path in set(row.values()) & set(paths):
            assert path.startswith(f"{row['subject']}/")
            assert "/ses-" not in path or f"/{row['session']}/" in path
    draw.shuffle(paths)
    assert rows(paths) == found


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "sample": {"type": "string", "pattern": r"^\S+$", "meta": ["id"]},
            "subject": {"type": "string", "pattern": r"^\S+$"},
            "session": {"type": "string", "pattern": r"^ses-\S+$"},
            "t1": {"type": "string", "format": "file-path", "pattern": r"^\S+\.nii\.gz$"},
            "dwi": {"type": "string", "format": "file-path", "pattern": r"^\S+\.nii\.gz$"},
            "bval": {"type": "string", "format": "file-path", "pattern": r"^\S+\.bval$"},
            "bvec": {"type": "string", "format": "file-path", "pattern": r"^\S+\.bvec$"},
        },
        "required": ["sample", "subject", "t1", "dwi", "bval", "bvec"],
        "additionalProperties": False,
    },
}
"""Of the kind that pipelines for diffusion have."""


def typed(cell):
    """Read a cell as nf-schema does, which takes what looks like a number for one."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def test_a_pipelines_schema_accepts_the_sheet_and_its_files_exist(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan, data, sheet = (str(tmp_path / name) for name in ("p.plan.jsonl", "data", "sheet.csv"))
    assert run(["compile", str(DEMO), "-o", plan]) == 0
    assert run(["fetch", plan, data]) == 0
    options = ["--to", "samplesheet", "--dest", data, "-o", sheet]
    for column in (
        "t1=**/*_T1w.nii.gz",
        "dwi=**/*_dwi.nii.gz",
        "bval=**/*dwi.bval",
        "bvec=**/*dwi.bvec",
    ):
        options += ["--column", column]
    assert run(["export", plan, *options]) == 0
    assert f"nextflow run PIPELINE --input {sheet} --outdir RESULTS" in capsys.readouterr().out
    with Path(sheet).open(newline="") as file:
        read = [{n: typed(cell) for n, cell in row.items() if cell} for row in csv.DictReader(file)]
    jsonschema.Draft202012Validator(SCHEMA).validate(read)
    table = pd.read_csv(sheet)
    assert list(table["subject"]) == ["sub-1", "sub-11"]
    for column in ("t1", "dwi", "bval", "bvec"):
        assert table[column].map(lambda path: Path(path).is_file()).all()


def test_the_columns_that_the_page_shows_find_files():
    page = (DEMO.parents[1] / "docs" / "how-to" / "exporting.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"--column (\w+)='(\S+)'", page))
    names = ["anat/sub-1_T1w.nii.gz", "dwi/sub-1_dir-PA_dwi.nii.gz"]
    names += [f"dwi/sub-1_dir-AP_dwi{end}" for end in (".nii.gz", ".bval", ".bvec")]
    paths = [f"sub-1/{name}" for name in names] + ["derivatives/freesurfer/sub-1/mri/wmparc.mgz"]
    [row] = rows(paths, ["1"], columns=shown)
    assert list(row) == ["sample", "subject", *shown]


@pytest.mark.parametrize("column", ["t1", "=x", "t1=", "t1=a"])
def test_wrong_options_are_refused(ask_here, tmp_path, column):
    plan = tmp_path / "p.plan.jsonl"
    bidsplan.plan.file.write_plan(plan_of([T1W], ["1"]), plan)
    code, out, err = ask_here("export", plan, "--to", "samplesheet", "--column", column, "-o", "x")
    assert (code, out) == (2, "")
    assert "**/*_T1w.nii.gz'" in err or "can't name a column" in err
    assert not (tmp_path / "x").exists()


def test_the_sheet_is_the_same_with_any_hash_seed(tmp_path):
    plan = tmp_path / "p.plan.jsonl"
    paths = [T1W, *(BOLD.format(task, run) for task in ("a", "b") for run in (1, 2))]
    bidsplan.plan.file.write_plan(plan_of(paths, ["1"]), plan)
    command = [sys.executable, "-m", "bidsplan", "export", str(plan), "--to", "samplesheet"]
    sheets = {
        subprocess.run(
            command, capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert sheets == {text(paths, ["1"]).encode()}
