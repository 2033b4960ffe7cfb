"""What is published agrees with the project: platforms, citation, conda recipe and image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from bidsplan import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS = Path(sysconfig.get_path("scripts"))
CONDA_NAMES = {"xxhash": "python-xxhash"}

AS_ON_WINDOWS = """
import sys
sys.platform = "win32"
for name in ("fcntl", "pwd", "resource", "termios"):
    sys.modules[name] = None
"""


def on_windows(code, *arguments):
    command = [sys.executable, "-c", AS_ON_WINDOWS + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["fetch", "study.yaml", "data"]])
def test_on_windows_the_command_says_what_to_do(arguments):
    done = on_windows("from bidsplan.__main__ import main; main()", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: bidsplan runs on Linux and macOS; .*\(WSL\).*\n", done.stderr)


def test_on_windows_an_import_says_what_to_do():
    done = on_windows("from bidsplan import fetch")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: bidsplan runs on Linux and macOS")


def test_the_classifiers_are_the_pythons_that_are_allowed():
    versions = [
        found[1]
        for classifier in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
    ]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{minor}" for minor in range(11, 15)]


def test_the_citation_is_valid_and_of_this_version():
    path = ROOT / "CITATION.cff"
    check = [SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.citation-file-format", path]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    citation = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert (citation["license"], citation["keywords"]) == (PROJECT["license"], PROJECT["keywords"])
    assert citation["repository-code"] == PROJECT["urls"]["Source"]


@pytest.fixture(scope="module")
def recipe():
    """Render the conda recipe, by the tool that conda-forge builds with."""
    rattler_build = pytest.importorskip("rattler_build", reason="needs the extra 'release'")
    found = rattler_build.Stage0Recipe.from_file(str(ROOT / "recipe" / "recipe.yaml"))
    [rendered] = found.render(rattler_build.VariantConfig())
    return rendered.recipe


def conda_requirement(text):
    """Return a requirement as conda has it; its markers are the recipe's own affair."""
    name, floor = re.match(r"([\w.-]+)(>=[\d.]+)", text).groups()
    return f"{CONDA_NAMES.get(name, name)} {floor}"


def test_the_conda_recipe_is_of_this_version(recipe):
    about = recipe.about
    assert str(recipe.package.version) == __version__
    assert about.license == PROJECT["license"]
    assert about.summary == PROJECT["description"]


def test_the_conda_recipe_needs_what_the_project_needs(recipe):
    run = [str(one) for one in recipe.requirements.run]
    assert run[:2] == ["__unix", f"python {PROJECT['requires-python']}"]
    assert run[2:] == [conda_requirement(text) for text in PROJECT["dependencies"]]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    host = {str(one) for one in recipe.requirements.host}
    assert {conda_requirement(text) for text in build["requires"]} <= host


def test_the_image_has_no_faults_that_a_linter_finds():
    linter = SCRIPTS / "hadolint"
    if not linter.exists():
        pytest.skip("needs the extra 'release'")
    done = subprocess.run(
        [linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def builder():
    """Find a program that has the base image and runs it here; nothing is downloaded."""
    [base] = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.M))
    for program in filter(shutil.which, ("docker", "podman")):
        asked = [program, "run", "--rm", "--pull=never", base, "true"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return program
    return None


@pytest.mark.timeout(300)
def test_the_image_runs_the_command_for_a_user_without_rights(tmp_path):
    program = builder()
    if program is None:
        pytest.skip("needs docker or podman, and the Dockerfile's base image")
    tag = "bidsplan-test"
    subprocess.run([program, "build", "--quiet", "--tag", tag, ROOT], check=True)
    try:
        tmp_path.chmod(0o777)
        run = [program, "run", "--rm", "--volume", f"{tmp_path}:/data", tag]
        shown = subprocess.run([*run, "--version"], capture_output=True, text=True, check=True)
        assert shown.stdout == f"bidsplan {__version__}\n"
        subprocess.run([*run, "demo", "demo"], check=True)
        subprocess.run([*run, "fetch", "demo/study.yaml", "dataset"], check=True)
        assert (tmp_path / "dataset" / "README.md").stat().st_uid != 0
    finally:
        subprocess.run([program, "image", "rm", "--force", tag], capture_output=True, check=False)
