"""Manifests and plans are regular files, and a stranger's are no links."""

from __future__ import annotations

import os

import pytest

CANARY = "canary-0123456789"
MANIFEST = "manifest_version: 1\nstudy: {id: x, url: s3://bucket/x}\n"


@pytest.fixture
def linked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/m.yaml").write_text(f"{CANARY}: 1\n")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/m.yaml").symlink_to("../secrets/m.yaml")
    (tmp_path / "repository/folder").symlink_to("../secrets")
    monkeypatch.chdir("repository")


@pytest.mark.parametrize("name", ["m.yaml", "folder/m.yaml"])
@pytest.mark.parametrize("command", ["validate", "compile", "explain", "fetch", "inspect"])
def test_a_strangers_manifest_is_no_link(linked, ask, monkeypatch, name, command):
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", "1")
    code, out, err = ask(command, name, *(["d"] if command == "fetch" else []), "--debug")
    assert code == 2
    assert "symbolic links to an untrusted manifest are not followed" in err
    assert CANARY not in out + err


def test_ones_own_may_be(linked, ask, tmp_path):
    (tmp_path / "secrets/m.yaml").write_text(MANIFEST)
    assert ask("validate", "m.yaml", "folder/m.yaml")[0] == 0


@pytest.mark.parametrize("name", ["m.yaml", "p.plan.jsonl", "p.plan.jsonl.gz"])
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_never_waited_for(tmp_path, ask_here, name, kind):
    os.mkfifo(name) if kind == "pipe" else (tmp_path / name).mkdir()
    code, _, err = ask_here("fetch", name, "d")
    assert code == 2
    assert "can't be read" in err
    assert "not a regular file" in err or "Is a directory" in err


def test_a_plan_to_be_replaced_is_never_waited_for(ask_here, tmp_path):
    (tmp_path / "study/sub-1/anat").mkdir(parents=True)
    (tmp_path / "study/sub-1/anat/sub-1_T1w.nii.gz").write_bytes(b"x")
    (tmp_path / "m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: study}\n")
    os.mkfifo("m.plan.jsonl")
    code, _, err = ask_here("compile", "m.yaml")
    assert code == 0
    assert "digests are not carried over" in err
