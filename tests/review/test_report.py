"""The page of a plan: which subjects lack which files, and why."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bidsplan
from bidsplan.plan import Entry, Plan, Root
from bidsplan.review import page_data
from bidsplan.review.report import write_report
from pages import PagedServer

MANIFEST = """\
manifest_version: 1
study: {id: sleep, url: study}
subjects:
  where: {age: {min: 18}}
  exclude: ["05"]
  sample: {count: 4}
random_seed: 1
files:
  suffixes: [T1w, bold]
  exclude: ["**/*_acq-bad_*"]
derivatives:
  afq: {suffixes: [profiles]}
"""
AGES = {"01": 30, "02": 31, "03": 32, "04": 33, "05": 34, "06": 9}
FILES = """
sub-01/anat/sub-01_T1w.nii.gz
sub-01/func/sub-01_task-rest_bold.nii.gz
sub-02/anat/sub-02_T2w.nii.gz
sub-02/func/sub-02_task-rest_bold.nii.gz
sub-03/anat/sub-03_T1w.nii.gz
sub-03/func/sub-03_task-rest_acq-bad_bold.nii.gz
sub-04/anat/sub-04_T1w.nii.gz
sub-05/anat/sub-05_T1w.nii.gz
sub-06/anat/sub-06_T1w.nii.gz
sub-07/anat/sub-07_T1w.nii.gz
derivatives/afq/sub-01/dwi/sub-01_profiles.csv
derivatives/afq/sub-02/dwi/sub-02_profiles.csv
derivatives/afq/sub-03/anat/sub-03_dseg.nii.gz
"""


@pytest.fixture
def study(tmp_path, monkeypatch, ask):
    """Make a study that lacks something for each reason, and its plan."""
    monkeypatch.chdir(tmp_path)
    for path in FILES.split():
        write(f"study/{path}", path)
    rows = [f"{label}\t{age}" for label, age in AGES.items()]
    write("study/participants.tsv", "\n".join(["participant_id\tage", *rows, "99\t40", ""]))
    write("study.yaml", MANIFEST)
    assert ask("compile", "study.yaml")[0] == 0
    return tmp_path


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def data(path="study.report.html"):
    """Read what the page gives its script."""
    text = Path(path).read_text("utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    )


def text(path="study.report.html"):
    """Read what the page says without a script, with one space between words."""
    body = Path(path).read_text("utf-8").partition("<header>")[2].partition("<footer>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def cells(view):
    """Name each cell of a view: its number of files, or the kind and place of its reason."""
    names = [" ".join(filter(None, column)) for column in view["columns"]]
    reasons = view["reasons"]
    return [
        {
            name: value if value > 0 else (reasons[-1 - value][0], reasons[-1 - value][2])
            for name, value in zip(names, row, strict=True)
        }
        for row in view["cells"]
    ]


def test_each_missing_cell_has_its_reason_and_line(study, ask):
    assert ask("report", "study.yaml") == (0, "wrote study.report.html\n", "")
    found = data()
    view = found["views"][0]
    assert view["name"] == "datatype"
    assert dict(zip(found["subjects"], cells(view), strict=True)) == {
        "01": {"afq dwi": 1, "func": 1, "anat": 1},
        "02": {"afq dwi": 1, "func": 1, "anat": ("filtered", "study.yaml:9")},
        "03": {"afq dwi": ("no-file", ""), "func": ("excluded", "study.yaml:10"), "anat": 1},
        "04": {"afq dwi": ("no-directory", ""), "func": ("no-file", ""), "anat": 1},
    }
    assert "files.exclude matches it study.yaml:10" in text()


def test_subjects_that_are_not_selected_have_their_rule(study, ask):
    write("study.yaml", MANIFEST.replace("count: 4", "count: 3"))
    assert ask("compile", "study.yaml")[0] == 0
    ask("report", "study.yaml")
    drawn = data()["subjects"]
    [left] = {"01", "02", "03", "04"} - set(drawn)
    assert data()["leftOut"] == [
        ["it has no directory in the study", "study.yaml:3", ["99"]],
        ["it has no row in the table", "study.yaml:3", ["07"]],
        ["it is not in the random sample", "study.yaml:6", [left]],
        ["subjects.exclude names it", "study.yaml:5", ["05"]],
        ["subjects.where.age is not met", "study.yaml:4", ["06"]],
    ]
    # The page is for more people than the table.
    assert "'9'" not in Path("study.report.html").read_text()


def test_a_plan_alone_knows_no_reasons(study, ask):
    assert ask("report", "study.plan.jsonl", "-o", "alone.html")[0] == 0
    [reason] = data("alone.html")["views"][0]["reasons"]
    assert reason[0] == "unknown"
    assert "This page knows the plan alone." in text("alone.html")
    ask("report", "study.plan.jsonl", "--manifest", "study.yaml", "-o", "both.html")
    ask("report", "study.yaml", "-o", "manifest.html")
    assert Path("both.html").read_bytes() == Path("manifest.html").read_bytes()


def test_a_stale_plan_is_said_to_be_one(study, ask):
    write("study.yaml", MANIFEST.replace("bold]", "bold, T2w]").replace('"05"', '"04"'))
    write("study/sub-04/func/sub-04_task-rest_bold.nii.gz", "new")
    Path("study/sub-01/anat/sub-01_T1w.nii.gz").unlink()
    write("study/sub-01/func/sub-01_task-rest_bold.nii.gz", "another size")
    ask("report", "study.yaml")
    said = text()
    assert "The plan is stale; 'bidsplan compile' writes it anew: the manifest has changed" in said
    assert "2 files would be added" in said
    assert "1 file would change" in said
    assert ["the manifest selects it now; compile it again", "", ["05"]] in data()["leftOut"]
    rows = dict(zip(data()["subjects"], cells(data()["views"][0]), strict=True))
    assert rows["02"]["anat"] == ("stale", "")
    assert rows["04"]["func"][0] == "not-selected"
    [reason] = [row for row in data()["views"][0]["reasons"] if row[0] == "not-selected"]
    assert reason[1] == "the subject is not selected now: subjects.exclude names it"


def test_a_manifest_that_no_longer_compiles_is_reported_with_its_problems(study, ask):
    write("study.yaml", MANIFEST.replace("profiles", "profile"))
    ask("report", "study.yaml")
    assert "The manifest does not compile any more" in text()
    assert "study.yaml:12: derivatives.afq.suffixes[0]: the suffix 'profile'" in text()
    assert {reason[0] for reason in data()["views"][0]["reasons"]} == {"unknown"}


def test_sessions_and_pipelines_have_views_where_there_are_any(study, ask):
    for session in ("a", "b"):
        write(f"study/sub-01/ses-{session}/func/sub-01_ses-{session}_bold.nii.gz", session)
    ask("compile", "study.yaml")
    ask("report", "study.yaml")
    found = {view["name"]: view for view in data()["views"]}
    assert list(found) == ["session and datatype", "datatype", "session", "pipeline"]
    assert [name for _, name in found["session"]["columns"]] == ["ses-a", "ses-b", "no session"]
    assert cells(found["session"])[0] == {"ses-a": 1, "ses-b": 1, "no session": 3}
    assert cells(found["pipeline"])[0] == {"afq": 1, "raw": 4}


def test_what_receipts_say_of_a_destination(study, ask):
    ask("fetch", "study.plan.jsonl", "data")
    Path("data/sub-01/anat/sub-01_T1w.nii.gz").unlink()
    write("data/sub-03/anat/sub-03_T1w.nii.gz", "other")
    same = Path("data/sub-04/anat/sub-04_T1w.nii.gz")
    content = same.read_bytes()
    same.unlink()
    same.write_bytes(content)
    code, out, _ = ask("report", "study.plan.jsonl", "--dest", "data")
    total = bidsplan.read_plan("study.plan.jsonl").header.files
    assert (code, out) == (
        0,
        f"wrote study.report.html: 2 of {total} files are proved in data, {total - 5} checked by "
        "size only, 3 missing, different or unproved\n",
    )
    assert "No file was read." in text()
    view, states = data()["views"][0], data()["states"]
    columns = [name for _, name in view["columns"]]
    marks = {(row, columns[column]): states[state] for row, column, state, _ in view["marks"]}
    assert marks == {
        (0, "anat"): "not there",
        (2, "anat"): "not the planned file",
        (3, "anat"): "there, not proved",
    }
    assert "checked by size only" in text()


def test_reading_the_destination_claims_what_was_read(study, ask):
    ask("compile", "--digest", "study.yaml")
    ask("fetch", "study.plan.jsonl", "data")
    file = Path("data/sub-01/anat/sub-01_T1w.nii.gz")
    file.write_bytes(file.read_bytes().swapcase())
    ask("report", "study.plan.jsonl", "--dest", "data", "--verify")
    assert "Every file was read, and compared with the plan." in text()
    assert "What is wrong with 1 file" in text()
    assert "checked by SHA-256" in text()
    assert "sub-01_T1w.nii.gz: not the planned file: by sha256" in text()


@pytest.mark.parametrize("versions", ["latest", "pinned"])
def test_archived_files_are_incomplete_in_a_plan_that_is_current(tmp_path, ask_here, versions):
    key = "ds/sub-01/anat/sub-01_T1w.nii.gz"
    files = {"ds/dataset_description.json": b"{}", key: b"1234567"}
    write(
        tmp_path / "m.yaml",
        f"manifest_version: 1\nstudy: {{id: x, url: 's3://b/ds', versions: {versions}}}\n"
        "files: {suffixes: [T1w]}\n",
    )
    with PagedServer(files, page=5, classes={key: "GLACIER"}) as server:
        assert ask_here("compile", "m.yaml", "--endpoint-url", server.url)[0] == 0
        assert ask_here("report", "m.yaml", "--endpoint-url", server.url)[0] == 0
    found = data(tmp_path / "m.report.html")
    [mark] = found["views"][0]["marks"]
    assert (mark[:2], found["states"][mark[2]]) == ([0, 0], "archived at the source")
    assert "is stale" not in text(tmp_path / "m.report.html")


def test_the_same_plan_gives_the_same_page_whatever_the_hash_seed(study):
    pages = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "bidsplan", "report", "study.yaml", "-o", f"{seed}.html"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        pages.add(Path(f"{seed}.html").read_bytes())
    assert len(pages) == 1
    assert b"http" not in pages.pop().partition(b"<main>")[0].replace(b"http-equiv", b"")


def test_text_from_elsewhere_is_escaped(tmp_path):
    label = "</script><script>x()</script>\u202e{{7}}"
    path = "sub-1/anat/sub-1<img>_T1w.nii.gz"
    plan = Plan.build(
        [Entry(path=path, key=path, size=1, reason="selected")],
        manifest_sha256="0" * 64,
        study="<b>{{7*7}}",
        roots=[Root(url="s3://b/x")],
        subjects=["1", label],
    )
    write_report(plan, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("<script") == 2
    assert not re.search("<img|<b>{|\u202e|>49", page)
    assert data(tmp_path / "page.html")["subjects"][1].endswith("\\u202e{{7}}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study.yaml", "-o", "study.yaml"], "study.yaml: the name of a page ends in .html"),
        (["study.yaml", "-o", "no/x.html"], "no/x.html: can't be written: No such file"),
        (["study.yaml", "--verify"], "--verify reads the files of a destination"),
        (["study.yaml", "--manifest", "x.yaml"], "--manifest belongs to a plan"),
        (["study.yaml", "--dest", "nowhere"], "nowhere"),
        (["other.yaml"], "there is no plan; write it with 'bidsplan compile other.yaml'"),
        (["study.txt"], "expected a manifest (.yaml, .yml) or a plan"),
    ],
)
def test_wrong_use_is_refused_and_nothing_is_written(study, ask, arguments, message):
    before = sorted(Path().iterdir())
    code, out, err = ask("report", *arguments)
    assert code in {1, 2}
    assert out == ""
    assert message in err
    assert sorted(Path().iterdir()) == before


def test_python_writes_the_same_page(study, ask):
    ask("fetch", "study.plan.jsonl", "data")
    ask("report", "study.yaml", "--dest", "data")
    plan, events = bidsplan.read_plan("study.plan.jsonl"), []
    loaded = bidsplan.load_manifest("study.yaml")
    reasons = bidsplan.find_reasons(plan, loaded, notify=events.append)
    proofs = bidsplan.find_proofs(plan, "data", notify=events.append)
    bidsplan.write_report(plan, "python.html", reasons=reasons, proofs=proofs)
    assert Path("python.html").read_bytes() == Path("study.report.html").read_bytes()
    assert {type(event).__name__ for event in events} == {"Listed", "Finished"}


def test_of_very_many_files_the_largest_are_listed(study, ask, monkeypatch):
    monkeypatch.setattr(page_data, "MOST_FILES", 3)
    ask("report", "study.yaml")
    plan, files = bidsplan.read_plan("study.plan.jsonl"), data()["files"]
    packed = [number for _, _, some in files["groups"] for number in some]
    assert files["total"] == plan.header.files
    sizes = sorted((entry.size for entry in plan.entries), reverse=True)
    assert sorted(packed[1::3], reverse=True) == sizes[:3]


def test_subjects_of_sites_are_told_apart(tmp_path, monkeypatch, ask):
    monkeypatch.chdir(tmp_path)
    for path in ("A/sub-1/anat/sub-1_T1w.nii.gz", "B/sub-1/anat/sub-1_T2w.nii.gz"):
        write(f"study/{path}", path)
    for label in ("1", "2"):
        write(f"study/B/sub-{label}/dwi/sub-{label}_dwi.nii.gz", label)
    write(
        "m.yaml",
        "manifest_version: 1\nstudy: {id: x, url: study}\nsite: [A, B]\n"
        'subjects: {exclude: ["2"]}\nfiles: {suffixes: [T1w, dwi]}\n',
    )
    assert ask("compile", "m.yaml")[0] == 0
    ask("report", "m.yaml")
    found = data("m.report.html")
    assert dict(zip(found["subjects"], cells(found["views"][0]), strict=True)) == {
        "A/1": {"anat": 1, "dwi": ("no-file", "")},
        "B/1": {"anat": ("filtered", "m.yaml:5"), "dwi": 1},
    }
    assert found["leftOut"] == [["subjects.exclude names it", "m.yaml:4", ["B/2"]]]
    paths = {pattern for pattern, _ in found["files"]["patterns"]}
    assert {"A/\0/anat/\0_T1w.nii.gz", "B/\0/dwi/\0_dwi.nii.gz"} <= paths


def test_a_cell_with_only_metadata_is_empty_unless_the_plan_has_nothing_else(tmp_path):
    paths = [
        "derivatives/mriqc/sub-1/anat/sub-1_T1w.json",
        "derivatives/prep/sub-1/dwi/sub-1_desc-preproc_dwi.json",
        "derivatives/prep/sub-2/dwi/sub-2_desc-preproc_dwi.json",
        "derivatives/prep/sub-2/dwi/sub-2_desc-preproc_dwi.nii.gz",
        "sub-1/dwi/sub-1_dwi.bval",
        "sub-1/dwi/sub-1_dwi.json",
        "sub-1/func/sub-1_task-x_events.tsv",
        "sub-1/meg/sub-1_acq-crosstalk_meg.fif",
        "sub-2/dwi/sub-2_dwi.json",
        "sub-2/dwi/sub-2_dwi.nii.gz",
        "sub-2/meg/sub-2_task-x_meg.ds/x.meg4",
    ]
    entries = [Entry(path=path, key=path, size=1, reason="selected") for path in paths]
    plan = Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study="x",
        roots=[Root(url="s3://bucket/x")],
        subjects=["1", "2"],
        random_seed=None,
        sampling=None,
    )
    write_report(plan, tmp_path / "x.html")
    assert cells(data(tmp_path / "x.html")["views"][0]) == [
        {"dwi": ("no-file", ""), "prep dwi": ("no-file", ""), "meg": ("no-file", "")}
        | {"func": 1, "mriqc anat": 1},
        {"dwi": 2, "prep dwi": 2, "meg": 1}
        | {"func": ("unknown", ""), "mriqc anat": ("unknown", "")},
    ]
    assert "the plan has only metadata of this subject, and no data file" in text(
        tmp_path / "x.html"
    )


def test_a_session_of_which_the_images_are_gone_is_empty(tmp_path, monkeypatch, ask):
    monkeypatch.chdir(tmp_path)
    for path in ("ses-1/dwi/sub-1_ses-1_dwi.nii.gz", "ses-2/dwi/sub-1_ses-2_dwi.json"):
        write(f"study/sub-1/{path}", "{}")
    write(
        "study.yaml",
        "manifest_version: 1\nstudy: {id: x, url: study}\nfiles: {datatypes: [dwi]}\n",
    )
    assert ask("compile", "study.yaml")[0] == 0
    assert ask("report", "study.yaml")[0] == 0
    assert cells(data()["views"][0]) == [{"ses-2 · dwi": ("no-file", ""), "ses-1 · dwi": 1}]
    assert ask("inspect", "study")[1].split()[-3:] == ["dwi", "1", "1"]
