"""Subjects that a plan leaves out are reported, and fail ``--strict``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codes import without_codes

TABLE = (
    "participant_id\tgroup\tage\n1\tcontrol\t20\n02\tcontrol\t8,5\n10\tcontrol\t30\n"
    "11\tcontrol\t31\n"
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Make a study whose table and directories differ in every way."""
    monkeypatch.chdir(tmp_path)
    for label in ("01", "02", "03", "10", "12"):
        folder = Path(f"study/sub-{label}/anat")
        folder.mkdir(parents=True)
        suffix = "bold" if label == "12" else "T1w"
        (folder / f"sub-{label}_{suffix}.nii.gz").write_text(label)
    Path("study/participants.tsv").write_text(TABLE + "12\tcontrol\t40\n")
    Path("study.yaml").write_text(
        "manifest_version: 1\nstudy: {id: x, url: study}\n"
        "subjects: {where: {group: control, age: {min: 18}}}\nfiles: {suffixes: [T1w]}\n"
    )
    return tmp_path


def test_each_kind_is_a_warning_and_in_the_summary(study, ask):
    code, out, err = ask("compile", "study.yaml")
    assert code == 0
    assert [line.partition(";")[0] for line in err.splitlines()] == [
        "warning: study.yaml:4: files: 1 of 2 selected subjects has no file that files selects: "
        "'12'",
        "warning: study.yaml:3: subjects: 1 row names a directory but for zero padding: '01' "
        "(written '1')",
        "warning: study.yaml:3: subjects.where.age: the 'age' of 1 subject can't be compared with "
        "a number: '8,5' (02)",
        "warning: study.yaml:3: subjects.where: 1 participant has a row and no directory: '11'",
        "warning: study.yaml:3: subjects.where: 1 subject has a directory and no row: '03'",
    ]
    assert out == (
        "wrote study.plan.jsonl: 2 subjects, 3 files, 342 Bytes; "
        "1 subject left out by another spelling in the table, "
        "1 subject left out without a row in the table, 1 subject left out without a directory, "
        "1 subject left out by a value that can't be compared, 1 subject without a selected file\n"
    )


def test_strict_makes_them_errors_and_writes_nothing(study, ask):
    code, out, err = ask("compile", "--strict", "study.yaml")
    assert (code, out) == (1, "")
    assert err.count("error: ") == 5
    assert not Path("study.plan.jsonl").exists()


def test_json_has_every_subject_of_each_kind(study, ask):
    data = json.loads(ask("compile", "--json", "study.yaml")[1])
    found = {row["omission"]: (row["number"], row["subjects"]) for row in data["omissions"]}
    assert found == {
        "spelling": (1, ["01"]),
        "no-row": (1, ["03"]),
        "no-directory": (1, ["11"]),
        "not-comparable": (1, ["02"]),
        "no-file": (1, ["12"]),
    }
    lines = [json.loads(line) for line in ask("explain", "--json", "study.yaml")[1].splitlines()]
    assert [row["omission"] for row in lines if "omission" in row] == list(found)


def test_explain_says_it_of_each_subject(study, ask):
    code, out, err = ask("explain", "study.yaml")
    assert code == 0
    assert out.splitlines() == [
        "out  01  it has no row in the table, but for another spelling of its label",
        "out  1  it has no directory in the study",
        "out  02  subjects.where.age can't be compared: it has '8,5'",
        "out  03  it has no row in the table",
        "in   10  selected: subjects.where is met",
        "out  11  it has no directory in the study",
        "in   12  selected: subjects.where is met, but has no file that files selects",
    ]
    assert err.count("warning: ") == 5


def test_metadata_without_its_data_file_is_reported_until_it_is_excluded(
    tmp_path, monkeypatch, ask
):
    monkeypatch.chdir(tmp_path)
    for name in ("ses-1/dwi/sub-1_ses-1_dwi.nii.gz", "ses-2/dwi/sub-1_ses-2_dwi.json"):
        path = Path("study/sub-1", name)
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    text = "manifest_version: 1\nstudy: {id: x, url: study}\nfiles: {datatypes: [dwi]}\n"
    Path("study.yaml").write_text(text)
    warning = (
        "study.yaml:3: files: 1 subject has metadata, such as sidecars, but no data file: "
        "'1' (sub-1/ses-2/dwi); leave the metadata out with 'exclude' in the filter, or exclude "
        "the subjects"
    )
    code, out, err = ask("compile", "study.yaml")
    assert (code, err) == (0, f"warning: {warning}\n")
    assert out.endswith("; 1 subject with metadata without its data file\n")
    assert json.loads(ask("compile", "--json", "study.yaml")[1])["omissions"][0] == {
        "omission": "no-data",
        "number": 1,
        "subjects": ["1"],
        "settled": False,
        "at": "files",
        "message": warning.partition(": files: ")[2].partition(";")[0],
        "hint": warning.partition("; ")[2],
    }
    assert ask("explain", "study.yaml")[1] == (
        "in   1  selected: subjects selects all, but has metadata, such as sidecars, that files "
        "selects, but no data file\n"
    )
    assert ask("compile", "--strict", "study.yaml")[0] == 1
    Path("study.yaml").write_text(text.replace("[dwi]", '[dwi], exclude: ["sub-1/ses-2/**"]'))
    assert ask("compile", "--strict", "study.yaml")[0] == 0


def test_the_words_that_the_warnings_name_settle_them(study, ask):
    Path("cohort.tsv").write_text(TABLE.replace("\n1\t", "\n01\t") + "12\tcontrol\t40\n")
    Path("study.yaml").write_text(
        "manifest_version: 1\nstudy: {id: x, url: study}\n"
        "subjects:\n  table: {file: cohort.tsv}\n  missing: skip\n"
        '  where: {group: control, age: {min: 18, not: ["8,5"]}}\n'
        "  require: [{suffixes: [T1w]}]\nfiles: {suffixes: [T1w]}\n"
    )
    code, out, err = ask("compile", "--strict", "study.yaml")
    assert (code, err) == (0, "")
    assert out == (
        "wrote study.plan.jsonl: 2 subjects, 4 files, 344 Bytes; 1 subject left out without a row "
        "in the table, 1 subject left out without a directory\n"
    )


def test_a_plan_belongs_to_the_content_of_a_list(study, ask):
    Path("list.txt").write_text("01\n10\n")
    Path("study.yaml").write_text(
        "manifest_version: 1\nstudy: {id: x, url: study}\nsubjects: {include: {file: list.txt}}\n"
    )
    assert ask("compile", "study.yaml")[0] == 0
    assert ask("fetch", "--locked", "study.yaml", "data")[0] == 0
    Path("list.txt").write_text("01\n")
    code, _, err = ask("fetch", "--locked", "study.yaml", "data")
    assert code == 2
    assert "was compiled from an earlier version of this manifest" in err


def test_a_file_that_is_no_list_is_refused_and_not_shown(study, ask):
    Path("list.txt").write_text("[default]\naws_secret_access_key = abc\n")
    Path("study.yaml").write_text(
        "manifest_version: 1\nstudy: {id: x, url: study}\nsubjects: {include: {file: list.txt}}\n"
    )
    code, _, err = ask("compile", "study.yaml")
    assert code == 1
    assert without_codes(err) == (
        "error: study.yaml:3: subjects.include: list.txt is not a list of subject labels; write "
        "one label on each line; a table of participants is named by subjects.table\n"
    )
