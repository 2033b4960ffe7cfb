"""Looking at plans: show, diff, textconv and cache-key."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import read_plan, write_plan
from hostile import HOSTILE

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "manifests"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Copy the demo study to a folder with its plan, and make it the working directory."""
    shutil.copytree(DEMO / "demo", tmp_path / "demo")
    shutil.copy(DEMO / "demo.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(study, ask):
    assert ask("compile", "demo.yaml")[0] == 0
    return Path("demo.plan.jsonl")


def change_manifest(old, new):
    text = Path("demo.yaml").read_text(encoding="utf-8")
    assert old in text
    Path("demo.yaml").write_text(text.replace(old, new), encoding="utf-8")


def plan_of(paths, subjects=(), **fields):
    entries = [Entry(path=path, key=path, size=1, reason="selected", **fields) for path in paths]
    roots = [Root(url="s3://bucket/x")]
    fields = {"manifest_sha256": "0" * 64, "study": "<b>study\u202e"}
    return Plan.build(entries, subjects=subjects, roots=roots, **fields)


def hostile_plan():
    texts = [text for text in HOSTILE if text and text.isprintable()]
    paths = [text.replace("\\", "").replace("//", "/").strip("/") for text in texts]
    return plan_of([f"{path}/{n}.nii" for n, path in enumerate(paths) if path], HOSTILE)


def test_show_sums_up_a_plan(plan, ask):
    code, out, err = ask("show", plan)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "demo: 2 subjects, 23 files, 7.7 kB"
    assert lines[1:3] == ["from: demo", "drawn by rank with seed 42"]
    assert [line.split() for line in lines[4:7]] == [
        ["pipeline", "files", "bytes"],
        ["afq", "5", "908", "Bytes"],
        ["(raw)", "18", "6.8", "kB"],
    ]
    assert lines[lines.index("largest files") + 1].split()[:2] == ["1.5", "kB"]
    data = json.loads(ask("show", "--json", "demo.yaml")[1])
    assert (data["files"], data["bytes"], data["selected"]) == (23, 7738, ["1", "11"])
    assert data["subjects"]["1"] == {"files": 6, "bytes": 3021}
    assert data["proofs"] == {"size": {"files": 23, "bytes": 7738}}


def test_show_needs_a_current_plan_of_a_manifest(plan, ask):
    change_manifest("random_seed: 42", "random_seed: 43")
    code, _, err = ask("show", "demo.yaml")
    assert (code, "bidsplan compile demo.yaml" in err) == (2, True)


def test_long_tables_and_trees_are_cut_and_whole_with_all(ask, tmp_path):
    paths = [f"sub-{n}/anat/sub-{n}_{k}.nii" for n in range(40) for k in range(9)]
    write_plan(plan_of(paths, map(str, range(50))), tmp_path / "x.plan.jsonl")
    _, out, _ = ask("show", tmp_path / "x.plan.jsonl")
    assert "subjects without a file: 40, 41, 42, 43, 44, 45, 46, 47, 48, 49" in out
    assert "… and 28 more: 252 files, 252 Bytes" in out
    assert out.count("\n") < 50
    assert "more:" not in ask("show", "--all", tmp_path / "x.plan.jsonl")[1]
    _, out, _ = ask("show", "--tree", tmp_path / "x.plan.jsonl")
    assert "  … and 34 more directories (306 files, 306 Bytes)\n" in out
    assert "      … and 3 more files (3 Bytes)\n" in out
    _, out, _ = ask("show", "--tree", "--all", tmp_path / "x.plan.jsonl")
    assert all(f"      {path.rpartition('/')[2]} (1 Byte)\n" in out for path in paths)


def test_a_tree_shows_a_file_instead_of_counting_it(ask, tmp_path):
    write_plan(plan_of([f"sub-1/{n}.nii" for n in range(7)], ["1"]), tmp_path / "x.plan.jsonl")
    _, out, _ = ask("show", "--tree", tmp_path / "x.plan.jsonl")
    assert "    6.nii (1 Byte)\n" in out
    assert "more" not in out


def test_a_tree_of_any_depth_is_shown(ask, tmp_path):
    write_plan(plan_of(["/".join("d" * 2000)]), tmp_path / "x.plan.jsonl")
    code, out, _ = ask("show", "--tree", tmp_path / "x.plan.jsonl")
    assert code == 0
    assert out.endswith("/".join("d" * 1960) + " (1 Byte)\n")


def test_csv_has_a_row_for_each_file(plan, ask):
    rows = list(csv.DictReader(io.StringIO(ask("show", "--csv", plan)[1])))
    entries = read_plan(plan).entries
    assert [row["path"] for row in rows] == [entry.path for entry in entries]
    found = next(row for row in rows if row["path"].endswith("sub-1_ses-baseline_T1w.nii.gz"))
    assert {
        name: found[name] for name in ("subject", "session", "datatype", "suffix", "proof")
    } == {
        "subject": "1",
        "session": "baseline",
        "datatype": "anat",
        "suffix": "T1w",
        "proof": "size",
    }


def test_no_cell_of_the_csv_is_a_formula_and_no_output_drives_a_terminal(ask, tmp_path):
    plan = hostile_plan()
    write_plan(plan, tmp_path / "x.plan.jsonl")
    _, out, _ = ask("show", "--csv", tmp_path / "x.plan.jsonl")
    rows = list(csv.reader(io.StringIO(out)))
    assert len(rows) == 1 + len(plan.entries)
    assert {len(row) for row in rows} == {16}
    assert not any(cell.lstrip().startswith(tuple("=+-@＝")) for row in rows for cell in row)
    assert any(row[0].startswith("'=cmd") for row in rows)
    write_plan(plan_of(["x"]), tmp_path / "y.plan.jsonl")
    for command in (
        *(
            ("show", "--all"),
            ("show", "--tree"),
            ("textconv",),
            ("diff", tmp_path / "y.plan.jsonl"),
        ),
        ("diff", "--all", "--markdown", tmp_path / "y.plan.jsonl"),
    ):
        _, out, _ = ask(*command, tmp_path / "x.plan.jsonl")
        assert all(line.isprintable() and line[:2] != "::" for line in out.split("\n")), command


def test_secrets_are_hidden_in_every_form(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hushhush1234")
    write_plan(plan_of(["sub-1/hushhush1234.nii", "Signature=abc"]), tmp_path / "x.plan.jsonl")
    write_plan(plan_of(["x"]), tmp_path / "y.plan.jsonl")
    for command in (
        *(("show",), ("show", "--json"), ("show", "--csv"), ("show", "--tree"), ("textconv",)),
        *(
            ("diff", tmp_path / "y.plan.jsonl", *form)
            for form in ((), ("--markdown",), ("--json",))
        ),
    ):
        _, out, _ = ask(*command, tmp_path / "x.plan.jsonl")
        assert "***" in out
        assert "hushhush1234" not in out
        assert "Signature=abc" not in out


@pytest.mark.parametrize("forms", [("--csv", "--json"), ("--tree", "--csv"), ("--tree", "--json")])
def test_one_form_at_a_time(ask_here, forms):
    code, _, err = ask_here("show", *forms, "x.plan.jsonl")
    assert (code, "cannot be used together; choose one" in err) == (2, True)


@pytest.mark.parametrize("command", ["show", "diff", "textconv", "cache-key"])
def test_reading_plans_loads_nothing_heavy(plan, command):
    code = (
        "import sys; from bidsplan.cli.main import run; code = run(sys.argv[1:]); print(code, "
        "[m for m in ('botocore', 'fsspec', 'numpy', 'obstore', 'pydantic') if m in sys.modules])"
    )
    arguments = [command, plan, *([plan] if command == "diff" else [])]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_cache_key_is_the_digest_of_the_entries(plan, ask):
    header = read_plan(plan).header
    assert ask("cache-key", plan) == (0, f"{header.entries_sha256}\n", "")
    assert json.loads(ask("cache-key", "--json", "demo.yaml")[1]) == {
        "cache_key": header.entries_sha256,
        "files": 23,
        "bytes": 7738,
    }
    plan.write_bytes(plan.read_bytes()[:-10])
    assert ask("cache-key", plan)[0] == 2


def test_diff_compares_plans_manifests_and_both(plan, study, ask):
    shutil.copy(plan, "old.plan.jsonl")
    assert ask("diff", "old.plan.jsonl", plan) == (0, "the plans are equal\n", "")
    assert ask("diff", "demo.yaml")[:2] == (0, "the plans are equal\n")
    change_manifest("count: 2", "count: 3")
    before = sorted(study.rglob("*"))
    for pair in (("demo.yaml",), ("old.plan.jsonl", "demo.yaml")):
        code, out, _ = ask("diff", *pair)
        assert (code, out.splitlines()[0]) == (1, "+1 subject, +5 files, +2.9 kB")
    assert sorted(study.rglob("*")) == before
    code, out, _ = ask("diff", "demo.yaml", "old.plan.jsonl")
    assert (code, out.splitlines()[:2]) == (
        1,
        ["−1 subject, −5 files, −2.9 kB", "subjects removed: 2"],
    )
    data = json.loads(ask("diff", "demo.yaml", "--json")[1])
    assert (data["equal"], data["summary"]) == (False, "+1 subject, +5 files, +2.9 kB")
    assert (data["subjects_added"], len(data["added"])) == (["2"], 5)
    assert ask("diff", "demo.yaml", "--markdown")[1].startswith("**+1 subject, +5 files, +2.9 kB**")


def test_a_diff_carries_digests_over_as_compile_does(plan, ask):
    assert ask("fetch", plan, "data")[0] == 0
    assert ask("pin", plan, "data")[0] == 0
    assert ask("diff", "demo.yaml")[:2] == (0, "the plans are equal\n")
    assert ask("diff", "demo.yaml", plan)[:2] == (0, "the plans are equal\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo.plan.jsonl"], "is one plan; name a second"),
        (["s3://openneuro.org/ds1"], "s3://openneuro.org/ds1 is a URL, and a manifest is expected"),
        (["no.plan.jsonl", "demo.plan.jsonl"], "no.plan.jsonl: can't be read: No such file"),
        (["demo", "demo.plan.jsonl"], "demo is a directory, and a manifest is expected"),
        (["x.txt", "demo.plan.jsonl"], "expected a manifest (.yaml, .yml) or a plan"),
        (["--rev", "HEAD", "demo.plan.jsonl", "demo.plan.jsonl"], "name one plan alone"),
        (["--json", "--markdown", "demo.yaml"], "cannot be used together"),
        (["--rev", "HEAD", "demo.plan.jsonl"], "not a git repository"),
        (["--rev", "HEAD", "demo.yaml"], "not a git repository"),
    ],
)
def test_wrong_diffs_say_what_to_do(plan, ask, monkeypatch, arguments, message):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    code, out, err = ask("diff", *arguments)
    assert (code, message in err) == (2, True), err
    assert "--json" in arguments or out == ""


def test_diff_of_a_manifest_without_a_plan(study, ask):
    code, _, err = ask("diff", "demo.yaml")
    assert (code, "there is no plan; write it with 'bidsplan compile demo.yaml'" in err) == (
        2,
        True,
    )


def git(*arguments):
    names = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    command = ["git", *names, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(plan, ask, monkeypatch, tmp_path):
    """Commit the demo's plan in three forms, then a smaller one, in a folder of a repository."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    forms = [plan, Path("zipped.plan.jsonl.gz"), Path("packed.plan.jsonl.zst")]
    files, folder = list(tmp_path.iterdir()), tmp_path / "folder"
    folder.mkdir()
    for file in files:
        file.rename(folder / file.name)
    monkeypatch.chdir(folder)
    git("init", "--quiet", "..")
    for count in (2, 1):
        change_manifest("count: 2", f"count: {count}")
        for path in forms:
            assert ask("compile", "demo.yaml", "-o", path)[0] == 0
        git("add", ".")
        git("commit", "--quiet", "-m", f"{count}")
    return forms


def test_diff_with_a_revision(repository, ask, tmp_path, monkeypatch):
    for path in repository:
        for revision in ("HEAD~1", git("rev-parse", "HEAD~1").strip(), "main@{0}~1"):
            code, out, err = ask("diff", "--rev", revision, path)
            assert (code, err) == (1, "")
            assert out.splitlines()[:2] == ["−1 subject, −6 files, −3.0 kB", "subjects removed: 11"]
        assert ask("diff", "--rev", "HEAD", path) == (0, "the plans are equal\n", "")
    monkeypatch.chdir("/")
    assert ask("diff", "--rev", "HEAD", tmp_path / "folder" / "demo.plan.jsonl")[0] == 0


def test_diff_of_a_manifest_with_a_revision_compiles_it(repository, ask):
    assert ask("diff", "--rev", "HEAD", "demo.yaml")[:2] == (0, "the plans are equal\n")
    change_manifest("count: 1", "count: 2")
    before = repository[0].read_bytes()
    code, out, _ = ask("diff", "--rev", "HEAD", "demo.yaml")
    assert (code, out.splitlines()[:3]) == (
        1,
        ["+1 subject, +6 files, +3.0 kB", "subjects added: 11", "header: the manifest changed"],
    )
    assert repository[0].read_bytes() == before
    repository[0].unlink()
    assert ask("diff", "--rev", "HEAD", "demo.yaml")[0] == 1


def test_diff_with_a_revision_warns_of_a_stale_plan(repository, ask):
    warning = "warning: demo.plan.jsonl: the plan "
    change_manifest("count: 1", "count: 2")
    code, _, err = ask("diff", "--rev", "HEAD", repository[0])
    assert (code, err) == (
        0,
        f"{warning}was compiled from an earlier version of this manifest; update it with 'bidsplan "
        "compile demo.yaml'\n",
    )
    change_manifest("count:", "cuont:")
    code, _, err = ask("diff", "--rev", "HEAD", repository[0])
    assert (code, err) == (
        0,
        f"{warning}may be stale: see 'bidsplan validate --locked demo.yaml'\n",
    )


def test_a_revision_that_is_none_is_no_option_either(repository, ask):
    before = sorted(Path().rglob("*"))
    wrong = ["no-such", "--output=made", "-h", "", "HEAD:demo.yaml", "HEAD^{tree}", "--all", "a b"]
    for revision in wrong:
        code, out, err = ask("diff", f"--rev={revision}", repository[0])
        assert (code, out) == (2, "")
        assert f"can't find the revision {revision!r}: " in err
    assert sorted(Path().rglob("*")) == before


def test_a_plan_that_a_revision_lacks_or_has_broken(repository, ask):
    shutil.copy(repository[0], "new.plan.jsonl")
    code, _, err = ask("diff", "--rev", "HEAD", "new.plan.jsonl")
    assert code == 2
    assert "new.plan.jsonl: can't be read in the revision 'HEAD': path " in err
    assert "exists on disk, but not in" in err
    Path("new.plan.jsonl").write_bytes(b"{}\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "broken")
    shutil.copy(repository[0], "new.plan.jsonl")
    code, _, err = ask("diff", "--rev", "HEAD", "new.plan.jsonl")
    assert (code, "HEAD:new.plan.jsonl: line 1: this is not a bidsplan plan" in err) == (2, True)


def test_git_diff_shows_plans_as_text(repository, ask):
    page = (ROOT / "docs" / "how-to" / "reviewing.md").read_text(encoding="utf-8")
    attributes = "*.plan.jsonl* -text diff=bidsplan"
    configuration = "git config diff.bidsplan.textconv"
    assert f"echo '{attributes}' >> .gitattributes\n" in page
    assert f'{configuration} "bidsplan textconv"\n' in page
    Path(".gitattributes").write_text(f"{attributes}\n", encoding="utf-8")
    git(*configuration.split()[1:], f"{sys.executable} -m bidsplan textconv")
    for path in repository:
        lines = git("diff", "HEAD~1", "--", path).splitlines()
        assert "-subject: 11" in lines
        assert any(line.startswith("-sub-11/ses-baseline/dwi/") for line in lines)
        assert any(line.startswith("-files: 23") for line in lines)
        assert not any(line.startswith("+sub-") for line in lines)
    repository[0].write_bytes(b"<<<<<<< HEAD\n")
    lines = git("diff", "HEAD", "--", repository[0]).splitlines()
    assert any(line.startswith("+no valid plan: line 1: ") for line in lines)
    assert any(line.startswith("+sha256: ") for line in lines)


def test_textconv_of_no_file_fails(ask_here):
    code, out, err = ask_here("textconv", "no.plan.jsonl")
    assert (code, out) == (2, "")
    assert "can't be read" in err
