"""A destination that looks like a URL, and would be a folder, is refused with what to write."""

from __future__ import annotations

import os

import pytest

from bidsplan.destination import open_destination
from bidsplan.errors import UrlError
from bidsplan.plan.file import write_plan
from bidsplan.storage import Access
from plans import fetch, local_plan, tree

MISTYPED = {
    "s3:/lab/x": "write s3://lab/x, or ./s3:/lab/x for a folder",
    "s3:lab": "write s3://lab, or ./s3:lab for a folder",
    "s3//lab/x": "write s3://lab/x, or ./s3//lab/x for a folder",
    "S3:/lab/x": "write s3://lab/x, or ./S3:/lab/x for a folder",
    "gs:/lab": "write gs://lab, or ./gs:/lab for a folder",
    "https:/host/x": "looks like a URL; write two slashes after its protocol, or ./https:/host/x",
    "memory:/x": "looks like a URL; write two slashes",
}


@pytest.mark.parametrize("text", MISTYPED)
@pytest.mark.parametrize("exists", [False, True])
def test_a_mistyped_url_is_no_folder(tmp_path, monkeypatch, text, exists):
    monkeypatch.chdir(tmp_path)
    if exists:
        (tmp_path / text).mkdir(parents=True)
    with pytest.raises(UrlError) as caught:
        open_destination(text, Access(), create=True)
    assert MISTYPED[text] in str(caught.value)
    assert exists or os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["./s3:/lab/x", "s3/lab", "data:x", "sub/s3:/x", "C:/x"])
def test_a_folder_may_have_a_name_like_a_url(tmp_path, monkeypatch, text):
    plan = local_plan(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fetch(plan, text)
    assert tree(tmp_path / "here" / text) == tree(tmp_path / "source")


@pytest.mark.parametrize("command", ["fetch", "verify", "prune", "pin"])
def test_commands_refuse_it_before_they_work(ask_here, tmp_path, command):
    write_plan(local_plan(tmp_path), tmp_path / "s.plan.jsonl")
    code, out, said = ask_here(command, "s.plan.jsonl", "s3:/lab/x")
    assert (code, out) == (2, "")
    assert "error: s3:/lab/x looks like a bucket; write s3://lab/x, or ./s3:/lab/x for" in said
    assert sorted(os.listdir(tmp_path)) == ["s.plan.jsonl", "source"]


@pytest.mark.parametrize("text", ["s3://lab/x.yaml", "s3:/lab/x.plan.jsonl", "S3://lab/x.yaml"])
def test_a_document_is_a_file_of_this_machine(ask_here, tmp_path, text):
    code, _, said = ask_here("fetch", text, "data")
    assert code == 2
    assert "is a URL, and manifests and plans are read from this machine" in said
    (tmp_path / "s3:").mkdir()
    write_plan(local_plan(tmp_path), tmp_path / "s3:" / "x.plan.jsonl")
    assert ask_here("show", "./s3:/x.plan.jsonl")[0] == 0
