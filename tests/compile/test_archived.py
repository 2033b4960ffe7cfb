"""Planned files that must be restored before they can be read are told when a plan is made."""

from __future__ import annotations

import json

import pytest

from bidsplan.plan.file import read_plan
from pages import PagedServer

FILES = {"ds/dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.8.0"}'}
for label in range(1, 14):
    FILES[f"ds/sub-{label:02}/anat/sub-{label:02}_T1w.nii.gz"] = b"1234567"
T1W = "ds/sub-{0:02}/anat/sub-{0:02}_T1w.nii.gz"


def compiled(ask, folder, classes, *options, more=""):
    (folder / "m.yaml").write_text(
        f"manifest_version: 1\nstudy: {{id: x, url: 's3://b/ds'{more}}}\nsubjects:\n"
        "  include: ['01', '02', '03', '04', '05', '06', '07', '08', '09', '10', '11', '12']\n"
    )
    with PagedServer(FILES, page=5, classes=classes) as server:
        return ask("compile", "m.yaml", "--endpoint-url", server.url, *options)


@pytest.mark.parametrize("more", ["", ", versions: pinned"])
@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_archived_files_are_counted_and_named(ask_here, tmp_path, transport, more):
    # The last subject is not selected.
    classes = {T1W.format(2): "GLACIER", T1W.format(3): "DEEP_ARCHIVE", T1W.format(13): "GLACIER"}
    classes |= {T1W.format(4): "GLACIER_IR", T1W.format(5): "INTELLIGENT_TIERING"}
    code, _, said = compiled(ask_here, tmp_path, classes, "--transport", transport, more=more)
    assert code == 0
    [warning] = [line for line in said.splitlines() if line.startswith("warning")]
    assert warning == (
        "warning: 2 planned files are archived (storage class GLACIER or DEEP_ARCHIVE), with 14 "
        "bytes: sub-02/anat/sub-02_T1w.nii.gz, sub-03/anat/sub-03_T1w.nii.gz; restore them before "
        "they are fetched, or exclude them"
    )
    assert len(read_plan(tmp_path / "m.plan.jsonl").entries) == 13


def test_of_many_archived_files_ten_are_named(ask_here, tmp_path):
    classes = {key: "DEEP_ARCHIVE" for key in FILES if key.endswith(".gz")}
    code, out, _ = compiled(ask_here, tmp_path, classes, "--json")
    assert code == 0
    [warning] = json.loads(out)["warnings"]
    assert warning["message"].startswith("12 planned files are archived (storage class GLACIER")
    assert warning["message"].count("_T1w.nii.gz") == 10
    assert warning["message"].endswith(" and 2 more")


def test_archived_files_are_an_error_where_warnings_are(ask_here, tmp_path):
    code, _, said = compiled(ask_here, tmp_path, {T1W.format(2): "GLACIER"}, "--strict")
    assert code == 1
    assert "error: 1 planned file is archived" in said
    assert not (tmp_path / "m.plan.jsonl").exists()
