"""Commands that draw a sample say how many subjects of each group they drew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from codes import without_codes

ROOT = Path(__file__).resolve().parents[2]
TABLE = ["participant_id\tgroup", "sub-1\tcontrol", "sub-2\tcontrol", "sub-10\t", "sub-11\tpatient"]


@pytest.fixture
def study(ask_here, tmp_path):
    """Copy the demo study to the working directory; gives what compiles or explains a sample."""
    shutil.copytree(ROOT / "manifests" / "demo", tmp_path / "demo")
    (tmp_path / "demo/participants.tsv").write_text("\n".join(TABLE) + "\n", encoding="utf-8")

    def ask(command, sample, *options, where="{}"):
        Path("m.yaml").write_text(
            "manifest_version: 1\nstudy: {id: x, url: demo}\nrandom_seed: 1\n"
            f"subjects: {{where: {where}, sample: {sample}}}\n",
            encoding="utf-8",
        )
        return ask_here(command, "m.yaml", *options)

    return ask


def test_compile_and_explain_count_each_group(study):
    line = "drawn: 1 of 2 control, 1 of 1 n/a, 1 of 1 patient"
    assert study("compile", "{count: 1, per: group}")[1].splitlines()[1] == line
    assert study("explain", "{count: 1, per: group}")[1].splitlines()[-1] == line
    found = study("compile", "{count: 2, stratify_by: group}")[1].splitlines()[1]
    assert found == "drawn: 1 of 2 control, 1 of 1 n/a, 0 of 1 patient"


@pytest.mark.parametrize("command", ["compile", "explain"])
def test_json_has_the_counts(study, command):
    _, out, _ = study(command, "{count: 1, per: group}", "--json", where="{group: {not: n/a}}")
    [drawn] = [row["drawn"] for row in map(json.loads, out.splitlines()) if "drawn" in row]
    assert drawn == [
        {"group": {"group": "control"}, "drawn": 1, "of": 2},
        {"group": {"group": "patient"}, "drawn": 1, "of": 1},
    ]


def test_a_sample_without_groups_has_no_line_of_its_own(study):
    assert len(study("compile", "2")[1].splitlines()) == 1
    assert json.loads(study("compile", "2", "--json")[1])["drawn"] == [
        {"group": {}, "drawn": 2, "of": 4}
    ]


def test_a_group_with_too_few_is_named_with_what_to_write(study):
    code, _, err = study("compile", "{count: 2, per: group}", where="{group: {not: n/a}}")
    assert code == 1
    assert without_codes(err) == (
        "error: m.yaml:4: subjects.sample.count: 2 subjects are to be sampled of 1 with group "
        "'patient'; sample fewer, select more by include, exclude and where, or leave this group "
        "out\n"
    )
    hint = "'where: {group: {not: n/a}}'"
    assert hint in study("compile", "{count: 2, per: group}")[2]


def test_a_group_that_other_rules_emptied_is_warned_of(study):
    warning = (
        "warning: m.yaml:4: subjects.sample.per: no subject with group 'patient' is left to sample "
        "from; select more by exclude, where and require, or leave this group out\n"
    )
    sample = "{count: 1, per: group}, exclude: [11"
    code, out, err = study("compile", f"{sample}]")
    assert (code, err) == (0, warning)
    assert "drawn: 1 of 2 control, 1 of 1 n/a\n" in out
    # Neither a group that `where` leaves out nor the subjects without a value.
    where = "{group: {not: patient}}"
    assert study("compile", f"{sample}, 10]", where=where)[2] == ""


def test_hidden_values_are_not_shown(study):
    rows = [line.replace("group", "api_key") for line in TABLE]
    Path("demo/participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    _, out, err = study("compile", "{count: 1, per: api_key}")
    assert "control" not in out + err
    assert "drawn: 1 of 2 (not shown), " in out
    _, out, err = study("compile", "{count: 2, per: api_key}")
    assert "of 1 with api_key (not shown)" in err
