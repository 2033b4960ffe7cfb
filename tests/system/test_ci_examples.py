"""What one copies for CI: shown as it is, valid, and it works on the demo study."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from check_jsonschema import main as check_schema
from click.testing import CliRunner

import bidsplan
from actions import ROOT
from bidsplan.cli.main import run

EXAMPLES = ROOT / "examples" / "ci"
PAGE = (ROOT / "docs" / "how-to" / "ci.md").read_text(encoding="utf-8")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
BIN = Path(sys.executable).parent
SCHEMAS = {
    "action.yml": "github-actions",
    "examples/ci/github.yml": "github-workflows",
    "examples/ci/github-update.yml": "github-workflows",
    "examples/ci/gitlab-ci.yml": "gitlab-ci",
    "examples/ci/circleci.yml": "circle-ci",
}


def example(name):
    return yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make a git repository with the demo study as manifests/study.yaml, and its plan."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "manifests" / "demo", folder / "manifests" / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", folder / "manifests" / "study.yaml")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "A")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
    monkeypatch.chdir(folder)
    assert run(["compile", "--quiet", "manifests/study.yaml"]) == 0
    git("init", "--quiet", "--initial-branch", "main")
    commit("A study")
    return folder


def git(*arguments):
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def commit(message):
    git("add", "--all")
    git("commit", "--quiet", "--message", message)


def shell(script, **environment):
    """Run a script as the services do; packages are installed, and there are no tests to run."""
    lines = [line for line in script.splitlines() if not re.match(r"pip install|pytest", line)]
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(lines)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_shows_the_files_as_they_are():
    shown = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    files = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.iterdir())]
    assert sorted(shown) == sorted(files)


def test_the_page_names_every_input_and_output():
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    tables = re.findall(r"^\| (?:input|output) \|.*?\n\n", PAGE, re.M | re.S)
    cells = ["".join(re.findall(r"^\| (`.*?) \|", table, re.M)) for table in tables]
    names = [re.findall(r"`(.*?)`", cell) for cell in cells]
    assert names == [list(action["inputs"]), list(action["outputs"])]
    for name, found in action["inputs"].items():
        if "default" in found:
            assert f"| `{name}` | `{found['default']}` |" in PAGE


def test_the_examples_name_this_version():
    text = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.iterdir())
    named = re.findall(r"(?:OWNER/bidsplan@|rev: )v([0-9.]+)", text)
    assert set(named) == {bidsplan.__version__}
    assert len(named) >= len(list(EXAMPLES.iterdir()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_fit_the_schemas_of_their_services(name):
    schema = f"vendor.{SCHEMAS[name]}"
    done = CliRunner().invoke(check_schema, ["--builtin-schema", schema, str(ROOT / name)])
    assert done.exit_code == 0, done.output


def test_no_risk_is_found_in_the_action_and_its_workflows(tmp_path):
    config = tmp_path / "zizmor.yml"
    config.write_text("rules: {unpinned-uses: {config: {policies: {'*': ref-pin}}}}")
    names = [name for name, schema in SCHEMAS.items() if schema.startswith("github")]
    for options, files in (([], ["action.yml"]), (["--config", config], names)):
        done = subprocess.run(
            [BIN / "zizmor", "--offline", *options, *(ROOT / name for name in files)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_lines_for_gitlab_provision_the_data(repository):
    script = "\n".join(example("gitlab-ci.yml")["test"]["script"])
    done = shell(script)
    assert (done.returncode, (repository / "data" / "README.md").exists()) == (0, True), done.stderr
    shutil.rmtree("data")
    forked = shell(script, CI_MERGE_REQUEST_SOURCE_PROJECT_ID="2", CI_MERGE_REQUEST_PROJECT_ID="1")
    assert (forked.returncode, "untrusted" in forked.stderr) == (2, True)


def test_the_lines_for_circleci_provision_the_data(repository, tmp_path):
    steps = example("circleci.yml")["jobs"]["test"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    for script in scripts:
        done = shell(script, BASH_ENV=str(tmp_path / "own"))
        assert done.returncode == 0, done.stderr
    assert (repository / "data" / "README.md").exists()
    key = (repository / ".data-key").read_text()
    assert key.strip() in (repository / "manifests" / "study.plan.jsonl").read_text()
    shutil.rmtree("data")
    forked = {"BASH_ENV": str(tmp_path / "forked"), "CIRCLE_PR_REPONAME": "study"}
    assert [shell(script, **forked).returncode for script in scripts] == [0, 0, 0, 2, 0, 0]
    # The plan is read as a stranger's too.
    Path("manifests/study.yaml").rename("elsewhere.yaml")
    Path("manifests/study.yaml").symlink_to("../elsewhere.yaml")
    linked = next(step for step in scripts if "cache-key" in step)
    assert "symbolic links" in shell(linked, **forked).stderr


GH = """#!/bin/sh
if [ "$1 $2" = "pr list" ]; then echo "$OPEN"; exit; fi
shift; printf '%s\\n' "$@" >"$CALLED"
"""


@pytest.fixture
def update(repository, tmp_path, monkeypatch):
    """Run the workflow that updates the plan, with an origin and a stand-in for gh."""
    git("clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    git("remote", "add", "origin", str(tmp_path / "origin.git"))
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    job = example("github-update.yml")["jobs"]["update"]
    [script] = [step["run"] for step in job["steps"] if "bidsplan compile" in step.get("run", "")]
    called = tmp_path / "called"

    def call(*, pulls):
        git("switch", "--quiet", "main")
        git("branch", "--delete", "--force", job["env"]["BRANCH"]) if pulls else None
        called.unlink(missing_ok=True)
        environment = {"RUNNER_TEMP": str(tmp_path), "OPEN": str(pulls), "CALLED": str(called)}
        done = shell(script, **job["env"], **environment)
        assert done.returncode == 0, done.stderr
        return called.read_text().splitlines() if called.exists() else []

    return call


def test_a_pull_request_is_opened_and_updated_where_the_storage_changed(update, tmp_path):
    assert update(pulls=0) == []
    path = Path("manifests/demo/sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.json")
    path.write_text("{}")
    commit("The storage is in the repository here")
    assert update(pulls=0)[:3] == ["create", "--head", "bidsplan/update"]
    assert "sub-1_ses-baseline_T1w.json" in (tmp_path / "changes.md").read_text()
    pushed = git(
        "--git-dir",
        str(tmp_path / "origin.git"),
        "diff",
        "--name-only",
        "main~0",
        "bidsplan/update",
    )
    assert "manifests/study.plan.jsonl" in pushed.splitlines()
    assert update(pulls=1)[:2] == ["edit", "bidsplan/update"]


def test_the_first_plan_comes_by_a_pull_request_too(update, tmp_path):
    git("rm", "--quiet", "manifests/study.plan.jsonl")
    commit("Remove the plan")
    assert update(pulls=0)[:3] == ["create", "--head", "bidsplan/update"]
    told = (tmp_path / "changes.md").read_text()
    assert told.startswith("    demo: 2 subjects, 23 files")
    # Nothing in a block of code is a link or a mention.
    assert all(line.startswith("    ") for line in told.splitlines())
    assert update(pulls=1)[:2] == ["edit", "bidsplan/update"]


@pytest.fixture
def pre_commit(repository, tmp_path, monkeypatch):
    """Run the hooks that the example names, with the command that is installed here."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    wanted = [hook["id"] for hook in example("pre-commit-config.yaml")["repos"][0]["hooks"]]
    hooks = [{**hook, "language": "system"} for hook in HOOKS]
    assert wanted == [hook["id"] for hook in hooks]
    config = yaml.safe_dump({"repos": [{"repo": "local", "hooks": hooks}]})
    Path(".pre-commit-config.yaml").write_text(config)
    commit("Add hooks")

    def call():
        git("add", "--all")
        command = [sys.executable, "-m", "pre_commit", "run", "--color=never", "--verbose"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return call


def test_hooks_check_what_is_to_be_committed(pre_commit):
    manifest, plan = Path("manifests/study.yaml"), Path("manifests/study.plan.jsonl")
    text = manifest.read_text()
    manifest.write_text(text + "# a comment changes no plan\n")
    code, shown = pre_commit()
    assert (code, shown.count("manifests/study.yaml: valid")) == (0, 2), shown
    manifest.write_text(text.replace("seed: 42", "seed: 43"))
    code, shown = pre_commit()
    assert code == 1
    assert "manifests/study.yaml: valid" in shown
    assert "manifests/study.yaml: valid, but its plan is stale" in shown
    assert "the plan was compiled from an earlier version of this manifest; update it with" in shown
    manifest.write_text(text.replace("sessions:", "sesions:"))
    assert "manifests/study.yaml:20: sesions: unknown field" in pre_commit()[1]
    manifest.write_text(text)
    plan.write_text(plan.read_text() + "<<<<<<< HEAD\n")
    code, shown = pre_commit()
    assert (code, "study.plan.jsonl: line 25: git could not merge" in shown) == (1, True), shown
