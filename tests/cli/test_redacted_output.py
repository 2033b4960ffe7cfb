"""No secret is in anything that the command line prints or writes."""

from __future__ import annotations

import json

import pytest

from bidsplan.cli.main import run
from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import BidsplanError, PlanError, Problem, UrlError
from bidsplan.manifest.load import load_manifest
from bidsplan.plan.file import read_plan, write_plan
from bidsplan.storage import Access
from plans import local_plan, write_files

SECRET = "cAnArY/0123+45=67"
HIDDEN = "***"


def test_errors_of_the_library_hold_no_user_info():
    url = "https:/me:pw@host/x"
    assert "pw" not in str(UrlError(f"{url}: refused"))
    problem = Problem(message=url, expected=url, hint=url, file=url)
    assert "pw" not in repr(problem)
    assert "pw" not in str(BidsplanError(problems=[problem]))


@pytest.mark.parametrize("url", ["file://me:pw@h/x", "s3:/AKIA0:pw@b", "https:/u:pw@h"])
def test_no_plan_has_user_info_in_a_root(tmp_path, url):
    write_files(tmp_path / url.removeprefix("file://"), {"sub-1/anat/sub-1_T1w.nii.gz": b"x"})
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f'manifest_version: 1\nstudy: {{id: x, url: "{url}"}}\n')
    with pytest.raises(BidsplanError) as caught:
        compile_manifest(
            load_manifest(manifest).manifest,
            base=tmp_path,
            plan_directory=tmp_path,
            access=Access(),
        )
    assert "the URL is refused" in str(caught.value) or "credential" in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_plan_whose_root_has_user_info_is_refused(tmp_path):
    path = tmp_path / "p.plan.jsonl"
    write_plan(local_plan(tmp_path), path)
    url = str(tmp_path / "source")
    path.write_text(path.read_text().replace(f'"{url}"', '"file://me:pw@h/x"'))
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    assert "user name or password" in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", SECRET)
    return SECRET


def test_results_in_json_stay_json(tmp_path, secret, capsys):
    name = f"sub-1_{secret.replace('/', '-')}_T1w.nii.gz"
    files = {f"sub-1/anat/{secret.replace('/', '')}.nii.gz": b"x", f"{secret}/x.json": b"{}"}
    write_files(tmp_path / "s", {f"sub-1/anat/{name}": b"x", **files})
    manifest = tmp_path / "m.yaml"
    manifest.write_text("manifest_version: 1\nstudy: {id: x, url: s}\nfiles: {suffixes: [T2w]}\n")
    run(["compile", str(tmp_path / secret / "m.yaml"), "--json", "--debug"])
    run(["explain", str(manifest), f"sub-1/{secret}", "--json"])
    shown = capsys.readouterr()
    assert [json.loads(line)["error"] for line in shown.out.splitlines()] == [
        "manifest",
        "selection",
    ]
    assert HIDDEN in shown.out
    assert secret not in shown.out + shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "--nothing", "https://u:cAnArY-012345@h"],
        ["cAnArY-012345:cAnArY-012345@h"],
        ["init", "https:/u:cAnArY 012345@h"],
        ["fetch", "p.plan.jsonl", "d", "--jobs", "https://u:cAnArY-012345@h"],
        ["inspect", "file://u:cAnArY-012345@h/x", "--debug"],
    ],
)
def test_what_was_mistyped_is_not_repeated(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) in {1, 2}
    shown = capsys.readouterr()
    assert "cAnArY" not in shown.out + shown.err
    assert shown.err


def test_credentials_of_the_aws_files_are_known(tmp_path, monkeypatch, capsys):
    for variable, name in (
        ("AWS_SHARED_CREDENTIALS_FILE", "aws_secret_access_key"),
        ("AWS_CONFIG_FILE", "aws_session_token"),
    ):
        (tmp_path / name).write_text(f"[a]\n{name} = first-0123\n[b]\n{name}={variable}-xyz\n")
        monkeypatch.setenv(variable, str(tmp_path / name))
    run(["explain", "first-0123", "AWS_CONFIG_FILE-xyz"])
    run(["validate", "AWS_SHARED_CREDENTIALS_FILE-xyz"])
    shown = capsys.readouterr()
    assert "first-0123" not in shown.err
    assert "-xyz" not in shown.err
    assert HIDDEN in shown.err
