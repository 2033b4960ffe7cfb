"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.manifest.load import load_manifest
from codes import without_codes
from servers import Rule

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Copy the demo study to a folder, and make it the working directory."""
    shutil.copytree(ROOT / "manifests" / "demo", tmp_path / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_first_command(study, ask):
    code, out, err = ask("fetch", "demo.yaml", "demo-dataset")
    assert code == 0
    assert out == "demo-dataset: 23 fetched; 7.7 kB; 23 files checked by size only\n"
    assert err == (
        "wrote demo.plan.jsonl: 2 subjects, 23 files, 7.7 kB\n"
        "next: 'bidsplan verify demo.yaml demo-dataset' checks the files again, "
        "'bidsplan report demo.yaml' shows what the study lacks\n"
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("bids-validator-deno"), "--json", "demo-dataset"],
        capture_output=True,
        text=True,
        check=False,
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert ask("fetch", "demo.yaml", "demo-dataset")[:2] == (
        0,
        "demo-dataset: 23 kept; 23 files checked by size only in an earlier run\n",
    )
    verified = ask("verify", "demo.yaml", "demo-dataset")
    assert verified[:2] == (0, "23 files read and verified by receipt\n")


def test_check_shows_what_would_change(study, ask):
    code, out, _ = ask("compile", "--check", "demo.yaml")
    assert code == 1
    assert "can't be read: No such file" in out
    assert not Path("demo.plan.jsonl").exists()
    assert ask("compile", "demo.yaml")[0] == 0
    assert ask("compile", "--check", "demo.yaml")[:2] == (0, "demo.plan.jsonl is current\n")
    Path("demo/sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.json").write_text("{}")
    code, out, _ = ask("compile", "--check", "demo.yaml")
    assert code == 1
    assert out.splitlines() == [
        "demo.plan.jsonl is stale: 1 file changed content, −162 Bytes",
        "~ sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.json (size 164 -> 2)",
    ]


def test_check_shows_what_differs_of_subjects_and_of_the_header(study, ask):
    assert ask("compile", "demo.yaml")[0] == 0
    text = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(text.replace("random_seed: 42", "random_seed: 46"))
    code, out, _ = ask("compile", "--check", "demo.yaml")
    assert (code, out) == (
        1,
        "demo.plan.jsonl is stale: only the header differs\n"
        "header: the manifest changed, random_seed 42 -> 46\n",
    )
    Path("demo.yaml").write_text(text.replace("sample: {count: 2}", "sample: {count: 3}"))
    _, out, _ = ask("compile", "--check", "demo.yaml")
    assert out.startswith(
        "demo.plan.jsonl is stale: +1 subject, +5 files, +2.9 kB\nsubjects added: 2\n"
        "header: the manifest changed\n+ "
    )
    Path("demo.yaml").write_text(text.replace("sample: {count: 2}", "sample: {count: 1}"))
    Path("demo/sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.json").write_text("{}")
    code, out, _ = ask("compile", "--check", "demo.yaml", "--json")
    data = json.loads(out)
    assert (code, data["current"]) == (1, False)
    assert data["subjects_added"] == []
    assert len(data["subjects_removed"]) == 1
    assert data["files"]["after"] - data["files"]["before"] == -len(data["removed"])
    assert data["bytes"]["before"] == 7738
    assert all(f"/sub-{data['subjects_removed'][0]}_" in row["path"] for row in data["removed"])
    assert [row["fields"] for row in data["changed"]] == [{"size": {"old": 164, "new": 2}}]
    assert data["header"].keys() == {"manifest_sha256"}
    ask("compile", "demo.yaml")
    data = json.loads(ask("compile", "--check", "demo.yaml", "--json")[1])
    assert (data["current"], data["differences"], data["header"]) == (True, [], {})


def test_a_dry_run_shows_files_and_bytes_and_writes_nothing(study, ask):
    code, out, err = ask("fetch", "-n", "demo.yaml", "d")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["action", "size", "reason", "path"]
    assert len(lines) == 1 + 23 + 1
    assert lines[-1] == "d: 23 to fetch; 7.7 kB in all"
    assert not Path("d").exists()
    assert not Path("demo.plan.jsonl").exists()


def test_locked_and_frozen(study, ask):
    code, _, err = ask("fetch", "--locked", "demo.yaml", "d")
    assert code == 2
    assert "there is no plan; write it with 'bidsplan compile demo.yaml'" in err
    assert ask("fetch", "--frozen", "demo.yaml", "d")[0] == 2
    ask("compile", "demo.yaml")
    assert ask("fetch", "--locked", "demo.yaml", "d")[0] == 0
    text = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(text.replace("random_seed: 42", "random_seed: 43"))
    code, _, err = ask("fetch", "--locked", "demo.yaml", "d")
    assert code == 2
    assert "was compiled from an earlier version of this manifest" in err
    assert ask("fetch", "--frozen", "demo.yaml", "d")[0] == 0
    code, _, err = ask("fetch", "--locked", "--frozen", "demo.yaml", "d")
    assert code == 2
    assert without_codes(err) == "error: --locked and --frozen cannot be used together\n"


@pytest.mark.parametrize("command", [["verify"], ["pin"], ["prune", "--yes", "--all"]])
def test_a_manifest_stands_for_no_plan_of_another_version(study, ask, command):
    """As for a locked fetch: neither checked, nor rewritten, nor cleaned up by."""
    assert ask("fetch", "demo.yaml", "d")[0] == 0
    Path("d/mine.txt").write_text("mine")
    before = Path("demo.plan.jsonl").read_bytes()
    text = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(text.replace("random_seed: 42", "random_seed: 43"))
    shown = (
        "error: demo.plan.jsonl: the plan was compiled from an earlier version of this manifest; "
        "update it with 'bidsplan compile demo.yaml' [BP403]\nfor help: bidsplan help BP403\n"
    )
    answer = (2, "", shown)
    assert ask("fetch", "--locked", "demo.yaml", "d") == answer
    assert ask(*command, "demo.yaml", "d") == answer
    assert Path("demo.plan.jsonl").read_bytes() == before
    assert Path("d/mine.txt").exists()
    # The plan itself says what it is.
    assert ask(*command, "demo.plan.jsonl", "d")[0] == 0


def test_a_plan_elsewhere_still_finds_its_local_source(study, ask):
    Path("plans").mkdir()
    assert ask("compile", "demo.yaml", "-o", "plans/x.jsonl.gz")[0] == 0
    os.chdir("plans")
    assert ask("fetch", "x.jsonl.gz", "d")[0] == 0


def test_a_refused_file_is_reported_and_kept(study, ask):
    Path("d").mkdir()
    Path("d/README.md").write_text("mine")
    code, out, err = ask("fetch", "demo.yaml", "d")
    assert code == 1
    assert "README.md: a different file already exists; it was not changed" in err
    assert out == "d: 22 fetched; 7.4 kB; 22 files checked by size only; 1 failed (existing)\n"
    assert Path("d/README.md").read_text() == "mine"


def test_json_has_a_row_a_file(study, ask):
    code, out, _ = ask("fetch", "--json", "demo.yaml", "d")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(rows) == 24
    assert rows[0].keys() == {"path", "action", "proof"}
    assert rows[-1]["done"] == {"fetch": 23}


def test_strict_treats_warnings_as_errors(study, ask):
    text = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(text.replace("suffixes: [T1w]", "suffixes: [T1w, T2w, T1W]"))
    code, _, err = ask("validate", "demo.yaml")
    assert code == 0
    assert "warning: demo.yaml:25: files[0].suffixes[2]: 'T1W' is not a BIDS suffix" in err
    assert ask("validate", "--strict", "demo.yaml")[0] == 2
    code, _, err = ask("compile", "demo.yaml")
    assert code == 0
    assert "the suffix 'T2w' matches no file of the selected subjects" in err
    assert ask("compile", "--strict", "demo.yaml")[0] == 2
    assert ask("compile", "--max-bytes", "1kB", "demo.yaml")[0] == 1


def test_limits_keep_a_plan_from_being_written(study, ask):
    code, _, err = ask("compile", "--max-bytes", "1kB", "demo.yaml")
    assert code == 1
    assert without_codes(err) == "error: the plan has 7,738 bytes, more than 1,000\n"
    assert not Path("demo.plan.jsonl").exists()
    code, _, err = ask("compile", "--max-bytes", "lots", "demo.yaml")
    assert code == 2
    assert "'lots' is not a size; write it as 500GB or 1.5TiB" in err


def test_a_plan_within_a_limit_is_the_manifests_own(study, ask):
    assert ask("compile", "--max-bytes", "1GB", "demo.yaml")[0] == 0
    assert ask("compile", "--check", "demo.yaml")[0] == 0
    assert ask("fetch", "--locked", "-n", "demo.yaml", "d")[0] == 0


def test_problems_found_in_storage_have_line_and_place(study, ask):
    text = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(text.replace("datatypes: [dwi]", "datatypes: [dwii]"))
    code, _, err = ask("compile", "demo.yaml")
    assert code == 1
    assert (
        "error: demo.yaml:26: files[1].datatypes[0]: the datatype 'dwii' matches no file of the "
        "selected subjects; did you mean 'dwi'? [BP307]\n"
    ) in err


CONTRADICTED = {
    "a subject": "subjects: [77]",
    "a pipeline": "derivatives: [nope]",
    "a site": "site: [nope]",
    "a column": "subjects: {where: {nope: 1}}",
    "a cohort's file": "subjects: {from: both, table: {file: nope.tsv}}",
    "a session": "sessions: [nope]",
}


@pytest.mark.parametrize("field", CONTRADICTED.values(), ids=CONTRADICTED)
def test_what_the_study_lacks_has_one_exit_code_in_every_command(study, ask, field):
    head = "manifest_version: 1\nstudy: {id: x, url: demo}\n"
    Path("m.yaml").write_text(f"{head}{field}\n", encoding="utf-8")
    assert ask("validate", "m.yaml")[0] == 0
    commands = ["compile m.yaml", "compile --check m.yaml", "explain m.yaml", "fetch m.yaml d"]
    commands += ["fetch -n m.yaml d"] + ["inspect m.yaml"] * ("site" in field)
    assert {ask(*command.split())[0] for command in commands} == {1}


def test_an_untrusted_manifest_may_not_read_local_files(study, ask, monkeypatch):
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", "1")
    code, _, err = ask("compile", "demo.yaml")
    assert code == 2
    assert "study.url: an untrusted manifest may not name file URLs or local paths" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["comple", "x"], "there is no command 'comple'; did you mean 'compile'?"),
        (["fetch", "none.yaml", "d"], "none.yaml: can't be read: No such file or directory"),
        (
            ["fetch", "none.txt", "d"],
            "none.txt: expected a manifest (.yaml, .yml) or a plan (.json",
        ),
        (
            ["verify", "demo.yaml", "d"],
            "there is no plan; write it with 'bidsplan compile",
        ),
        (["compile", "demo.yaml", "--transport", "obstore"], "obstore can't reach 'file'"),
        (["compile", "demo.yaml", "--jobs", "0"], "Invalid value for '-j'"),
        (["compile", "demo.yaml", "--jobs", "all"], "'all' is not a valid number or auto"),
        (["compile", "x.plan.jsonl"], "x.plan.jsonl: this is a plan, by its name; expected a man"),
    ],
)
def test_wrong_usage_is_reported(study, ask, arguments, message):
    code, _, err = ask(*arguments)
    assert code == 2
    assert message in err


def test_names_from_a_listing_are_escaped_for_the_terminal(study, ask):
    (Path("demo") / "sub-1" / "ses-baseline" / "\x1b[31mred").write_text("x")
    code, _, err = ask("compile", "demo.yaml")
    assert code == 0
    assert "\x1b" not in err
    assert "\\x1b[31mred" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_and_the_next_run_resumes(bucket, proxy, tmp_path, number, code):
    files = {f"sub-1/anat/sub-1_run-{n}_T1w.json": b"{}" for n in range(40)}
    bucket.fill(files)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}}}\n", encoding="utf-8"
    )
    process = None
    seen = []

    def stop():
        seen.append(1)
        if len(seen) == 10:
            process.send_signal(number)

    proxy.rules.append(Rule("call", "_T1w.json", hook=stop))
    command = [sys.executable, "-m", "bidsplan", "fetch", str(manifest), str(tmp_path / "d")]
    command += ["--endpoint-url", proxy.url, "-j", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "stopped; finished files are kept" in err
    assert "Traceback" not in err
    proxy.rules.clear()
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    got = {p.name for p in (tmp_path / "d").rglob("*_T1w.json")}
    assert got == {key.rpartition("/")[2] for key in files}


def test_explain_names_the_rule_that_took_or_dropped(study, ask):
    image = "sub-{0}/ses-{1}/anat/sub-{0}_ses-{1}_T1w.nii.gz"
    cases = {
        "sub-10": "out  10  it is not in the random sample",
        "11": "in   11  selected: it is in the random sample",
        image.format(1, "baseline"): "selected by files[0]",
        image.format(1, "followup"): "its session 'followup' is not selected",
        image.format(2, "baseline"): "its subject is not selected: it is not in the random sample",
        "dwi.bval": "inherited: it belongs to sub-1/ses-baseline/dwi/",
        "sub-1/ses-baseline/func/sub-1_ses-baseline_task-nback_bold.nii.gz": (
            "files[0]: datatypes does not match; files[1]: datatypes does not match"
        ),
    }
    for what, why in cases.items():
        code, out, _ = ask("explain", "demo.yaml", what)
        assert code == 0
        assert why in out
    code, out, _ = ask("explain", "demo.yaml")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["in", "1"],
        ["out", "2"],
        ["out", "10"],
        ["in", "11"],
    ]
    code, _, err = ask("explain", "demo.yaml", "sub-9")
    assert code == 1
    assert "the study has neither a subject nor a file 'sub-9'" in err


WRONG_SUBJECTS = {
    'include: ["1", "99"]': ("in", "subjects.include names it"),
    "sample: {count: 30}": ("out", "the random sample can't be drawn"),
    "where: {agee: 1}": ("out", "not decided while there are errors"),
    "require: [{suffixes: [none]}]": ("out", "it has no file for subjects.require[0]"),
}


@pytest.mark.parametrize("rule", WRONG_SUBJECTS)
def test_explain_lists_every_subject_whatever_else_is_wrong(study, ask, rule):
    head = "manifest_version: 1\nstudy: {id: x, url: demo}\nrandom_seed: 1\n"
    Path("w.yaml").write_text(f"{head}subjects: {{{rule}}}\n", encoding="utf-8")
    code, out, _ = ask("explain", "w.yaml")
    assert (code, [line.split()[1] for line in out.splitlines()]) == (1, ["1", "2", "10", "11"])
    code, out, _ = ask("explain", "w.yaml", "1")
    state, why = WRONG_SUBJECTS[rule]
    assert (code, out.split()[0]) == (1, state)
    assert why in out
    code, _, err = ask("explain", "w.yaml", "sub-1/dwi.bval")
    assert code == 1
    assert "neither a subject nor a file" not in err


def test_the_help_that_no_command_shows_has_no_code(ask):
    code, _, err = ask()
    assert code == 2
    assert "Commands:" in err
    assert "[BP" not in err


def test_explain_covers_files_that_no_filter_sees(study, ask):
    image = "sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.nii.gz"
    head = "manifest_version: 1\nstudy: {id: x, url: demo}\n"
    Path("m.yaml").write_text(head + "files: none\ndirectories: [sourcedata]\n", encoding="utf-8")
    Path("n.yaml").write_text(
        head + "files: {suffixes: [dwi]}\ndirectories: [sub-1]\n", encoding="utf-8"
    )
    cases = {
        "sourcedata/sub-12/notes.txt": "in   {}  dataset: directories names its directory",
        "derivatives/afq2/dwi.json": "out  {}  it is in no selected pipeline of derivatives",
        "dwi.bval": "out  {}  no selected file needs it, and dataset_files does not include it",
        image: "out  {}  files are not selected at all",
    }
    for what, answer in cases.items():
        assert ask("explain", "m.yaml", what) == (0, answer.format(what) + "\n", "")
    assert "in   " in ask("explain", "n.yaml", image)[1]
    # One filter has no number, as no list is written.
    Path("n.yaml").write_text(head + "files: {suffixes: [dwi]}\n", encoding="utf-8")
    wrong = f"out  {image}  files: suffixes does not match\n"
    assert ask("explain", "n.yaml", image) == (0, wrong, "")
    assert (
        "selected by files\n"
        in ask("explain", "n.yaml", image.replace("anat", "dwi").replace("T1w", "dwi"))[1]
    )
    assert ask("explain", "n.yaml", "1")[1] == "in   1  selected: subjects selects all\n"
    code, out, _ = ask("explain", "demo.yaml", "sourcedata/sub-12/notes.txt")
    assert (code, out.split("  ")[2]) == (0, "directories does not name 'sourcedata'\n")
    for absent in ("sub-1/none.txt", "none.txt", "none/none.txt"):
        assert ask("explain", "demo.yaml", absent)[0] == 1


def test_init_needs_subjects(study, ask):
    code, out, err = ask("init", "demo/derivatives/afq/sub-1")
    assert (code, out) == (1, "")
    assert "there are no subject directories" in err


def test_explain_shows_what_a_table_says(study, ask):
    text = Path("demo.yaml").read_text(encoding="utf-8")
    sample = "  sample: {count: 2}"
    assert sample in text
    Path("demo.yaml").write_text(text.replace(sample, "  where: {sex: F}\n  exclude: ['1*']"))
    _, out, _ = ask("explain", "demo.yaml")
    answers = dict(line.split(maxsplit=2)[1:] for line in out.splitlines())
    assert "subjects.where.sex is not met: it has 'M'" in answers.values()
    assert "subjects.exclude names it" in answers.values()


def test_init_writes_a_manifest_that_compiles(study, ask):
    assert ask("init", "demo", "-o", "new.yaml")[0] == 0
    text = Path("new.yaml").read_text(encoding="utf-8")
    assert 'files: {datatypes: ["anat", "dwi", "fmap", "func"]}' in text
    assert '# derivatives: ["afq", "afq2"]' in text
    assert "subjects.where: participant_id age sex group" in text
    assert ask("validate", "--strict", "new.yaml")[0] == 0
    assert ask("compile", "--strict", "new.yaml")[0] == 0
    code, _, err = ask("init", "demo", "-o", "new.yaml")
    assert code == 2
    assert "new.yaml: exists, and init does not replace files; name another file with -o" in err


def test_init_writes_that_requests_are_to_be_signed(study, s3, bucket, ask):
    files = (path for path in Path("demo").rglob("*") if path.is_file())
    bucket.fill({f"x/{path.relative_to('demo')}": path.read_bytes() for path in files})
    assert ask("init", "--signed", f"s3://{bucket.name}/x", "-o", "signed.yaml")[0] == 0
    assert load_manifest("signed.yaml").manifest.study.anonymous is False
    assert ask("compile", "signed.yaml")[0] == 0
    assert ask("init", "--signed", "demo", "-o", "local.yaml")[0] == 0
    assert load_manifest("local.yaml").manifest.study.anonymous is None


def test_init_finds_sites(study, ask):
    Path("sites").mkdir()
    shutil.copytree("demo", "sites/A")
    shutil.copytree("demo", "sites/B")
    assert ask("init", "sites", "-o", "sites.yaml")[0] == 0
    assert 'site: ["A", "B"]' in Path("sites.yaml").read_text(encoding="utf-8")
    assert ask("compile", "--strict", "sites.yaml")[0] == 0


def test_suffixes_of_a_pipeline_are_those_of_a_few_subjects(study, ask):
    """A suffix that is listed for a pipeline can be selected from it."""
    told = ask("inspect", "demo")[1].splitlines()
    assert "suffixes of afq: mask (6), dwi (5), tractometry (5)" in told
    assert "suffixes of afq2, in 3 of 4 subjects: dwi (5), tractometry (5)" in told
    text = ask("init", "demo")[1]
    assert "\n# Suffixes of afq: dwi mask tractometry\n" in text
    assert "\n# Suffixes of afq2, in 3 of 4 subjects: dwi tractometry\n" in text
    Path("mask.yaml").write_text(f"{text}derivatives: {{afq: {{suffixes: [mask]}}}}\n")
    assert ask("compile", "mask.yaml", "-o", "mask.jsonl")[0] == 0
    assert "_desc-brain_mask.nii.gz" in Path("mask.jsonl").read_text("utf-8")


def test_names_that_are_not_of_bids_are_no_suffixes(study, ask):
    for label in ("1", "10"):
        folder = Path(f"demo/derivatives/FreeSurfer/sub-{label}/mri")
        folder.mkdir(parents=True)
        (folder / "aseg.mgz").write_text("x")
    assert "suffixes of FreeSurfer" not in ask("inspect", "demo")[1]
    assert "Suffixes of FreeSurfer" not in ask("init", "demo")[1]


def test_pipelines_without_subject_directories_are_shown(study, ask):
    Path("demo/derivatives/flat").mkdir()
    Path("demo/derivatives/flat/sub-1_T1w.html").write_text("x")
    assert "\npipelines without subject directories: flat\n" in ask("inspect", "demo")[1]
    assert json.loads(ask("inspect", "--json", "demo")[1])["flat_pipelines"] == ["flat"]
    text = ask("init", "demo")[1]
    line = '# derivatives: {"flat": {scope: whole}}'
    assert f"\n{line}" in text
    Path("whole.yaml").write_text(text.replace(line, line.removeprefix("# ")))
    assert ask("compile", "--strict", "whole.yaml")[0] == 0
    assert "derivatives/flat/sub-1_T1w.html" in Path("whole.plan.jsonl").read_text("utf-8")


def test_inspect_counts_what_is_there(study, ask):
    code, out, _ = ask("inspect", "demo.yaml")
    assert code == 0
    assert out.splitlines()[0] == "demo: 4 subjects, 114 files, 62.4 kB"
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["1", "2", "10", "11"]
    assert out.splitlines()[-3].split() == ["2", "4", "4", "12", "6", "3"]
    data = json.loads(ask("inspect", "--json", "demo")[1])
    assert data["subjects"]["10"] == {"anat": 4, "dwi": 2, "fmap": 12, "func": 6, "other": 3}
    assert data["pipelines"] == ["afq", "afq2"]
    assert data["pipeline_samples"]["afq"] == {
        "subjects": 3,
        "listed": 3,
        "suffixes": {"dwi": 5, "mask": 6, "tractometry": 5},
    }
    counts = {"files", "bytes", "subjects", "sessions", "datatypes", "suffixes"}
    lists = {"sites", "pipelines", "flat_pipelines", "columns"}
    assert data.keys() == counts | lists | {"url", "pipeline_samples"}
    code, _, err = ask("inspect", "nowhere")
    assert code == 1
    assert "there is nothing at nowhere; check its spelling" in err
    code, _, err = ask("inspect", "demo/README.md")
    assert code == 1
    assert without_codes(err) == "error: demo/README.md: a file; expected a directory\n"


def test_a_cohort_files_content_is_part_of_the_manifest(study, ask):
    text = Path("demo.yaml").read_text(encoding="utf-8")
    chosen = "  from: both\n  table: {file: cohort.tsv}"
    Path("demo.yaml").write_text(text.replace("  sample: {count: 2}", chosen))
    Path("cohort.tsv").write_text("participant_id\nsub-1\nsub-10\n")
    assert ask("fetch", "demo.yaml", "d")[0] == 0
    assert ask("fetch", "--locked", "demo.yaml", "d")[0] == 0
    Path("cohort.tsv").write_text("participant_id\nsub-2\nsub-10\n")
    code, _, err = ask("fetch", "--locked", "demo.yaml", "d")
    assert code == 2
    assert "from an earlier version of this manifest or of the files that it names; up" in err
    Path("cohort.tsv").unlink()
    code, _, err = ask("fetch", "demo.yaml", "d")
    assert code == 1
    assert "subjects.table.file: can't read 'cohort.tsv': No such file or directory" in err


def test_locked_manifests_have_whole_plans_of_their_own(study, ask):
    code, out, _ = ask("validate", "demo.yaml", "--locked")
    assert (code, out) == (2, "demo.yaml: valid, but it has no plan\n")
    ask("compile", "demo.yaml")
    plan = Path("demo.plan.jsonl")
    for names in (["demo.yaml"], ["demo.plan.jsonl"], ["demo.plan.jsonl", "demo.yaml"]):
        assert ask("validate", "--locked", *names) == (0, "demo.yaml: valid\n", "")
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace("sub-1/", "sub-2/"))
    code, out, err = ask("validate", "--locked", "demo.plan.jsonl")
    assert (code, out) == (2, "demo.yaml: valid, but its plan is not valid\n")
    assert err.startswith("error: demo.plan.jsonl: ")
    plan.write_text(text)
    manifest = Path("demo.yaml").read_text(encoding="utf-8")
    Path("demo.yaml").write_text(manifest.replace("random_seed: 42", "random_seed: 46"))
    code, out, _ = ask("validate", "--locked", "--json", "demo.yaml")
    told = json.loads(out)
    assert (code, told["valid"], told["warnings"]) == (2, False, [])
    assert told["problems"][0]["file"] == "demo.plan.jsonl"
    assert ask("validate", "demo.yaml")[0] == 0
    stale = (2, "demo.yaml: valid, but its plan is stale\n")
    code, out, err = ask("validate", "--locked", "demo.yaml")
    assert ((code, out), "from an earlier version of this manifest; update" in err) == (stale, True)
    Path("demo.yaml").write_text(manifest.replace("  id: ", "  id: other-"), encoding="utf-8")
    code, out, err = ask("validate", "--locked", "demo.yaml")
    assert ((code, out), "compiled from another manifest; update" in err) == (stale, True)


@pytest.mark.parametrize("name", ["other.plan.jsonl", "demo.jsonl"])
def test_a_plan_without_its_manifest_is_not_checked(name, study, ask):
    code, _, err = ask("validate", "--locked", name)
    assert code == 2
    assert err.startswith(f"error: {name}: expected a manifest, or the plan beside one")
