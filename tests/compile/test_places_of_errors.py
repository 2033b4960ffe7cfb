"""An error about a place that a manifest names says which: file, line and dotted place."""

from __future__ import annotations

from pathlib import Path

import pytest

import bidsplan
from servers import Rule
from studies import gamblers, preprocessed_gamblers

GONE = "s3://no-such-bucket/x"
AFQ = f"afq: {{url: {GONE}}}"


@pytest.fixture
def study(ask_here, counted, bucket):
    """Give the URL of a study with derivatives, whose requests a proxy may refuse."""
    derived = preprocessed_gamblers().items()
    files = gamblers() | {f"derivatives/fmriprep/{path}": data for path, data in derived}
    bucket.fill({f"study/{path}": data for path, data in files.items()})
    return f"s3://{bucket.name}/study"


def write(url, *lines):
    head = ["manifest_version: 1", f"study: {{id: x, url: {url}}}"]
    Path("m.yaml").write_text("\n".join([*head, *lines, ""]))


def check(answer, place):
    code, _, said = answer
    assert code == 1, said
    [line] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: m.yaml:{place}: "), line


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([], "2: study.url"),
        ([f"derivatives: {{{AFQ}}}"], "3: derivatives.afq.url"),
        (["derivatives:", "  afq:", f"    url: {GONE}"], "5: derivatives.afq.url"),
        ([f"derivatives: {{afq: {{url: {GONE}, scope: whole}}}}"], "3: derivatives.afq.url"),
        (
            [
                "subjects: {require: [{derivative: afq}]}",
                "derivatives:",
                f"  {AFQ}",
            ],
            "5: derivatives.afq.url",
        ),
    ],
)
@pytest.mark.parametrize("command", ["compile", "explain"])
def test_a_missing_bucket(ask_here, study, lines, place, command):
    write(study if lines else GONE, *lines)
    check(ask_here(command, "m.yaml"), place)


@pytest.mark.parametrize(
    ("lines", "match", "place"),
    [
        ([], "prefix=study", "2: study.url"),
        (["subjects: all"], "study/dataset_description.json", "2: study.url"),
        (["derivatives: all"], "derivatives%2Ffmriprep", "2: study.url"),
        (["derivatives: fmriprep"], "derivatives%2Ffmriprep", "3: derivatives"),
        (
            ["subjects: {require: [{derivative: fmriprep}]}"],
            "derivatives%2Ffmriprep",
            "2: study.url",
        ),
    ],
)
def test_a_denial_while_a_study_is_listed_or_read(ask_here, study, counted, lines, match, place):
    write(study, *lines)
    denied = Rule("status", match, status=403, code="AccessDenied")
    counted.rules.append(denied)
    check(ask_here("compile", "m.yaml"), place)
    counted.rules.clear()
    assert ask_here("compile", "m.yaml")[0] == 0


def test_a_denial_while_versions_are_looked_up(ask_here, study, counted, bucket):
    bucket.versioned()
    write(f"{study}, versions: pinned")
    denials = {"GET": "versions", "HEAD": "study"}
    counted.rules += [
        Rule("status", match, status=403, code="AccessDenied", method=method)
        for method, match in denials.items()
    ]
    check(ask_here("compile", "m.yaml"), "2: study.url")


@pytest.mark.parametrize("url", [GONE, "missing"])
def test_an_inspected_study(ask_here, study, url):
    write(url)
    check(ask_here("inspect", "m.yaml"), "2: study.url")
    said = ask_here("inspect", url)[2]
    assert "study.url" not in said


def test_errors_in_python_have_their_place_and_keep_their_kind(study):
    write(study, f"derivatives: {{{AFQ}}}")
    loaded = bidsplan.load_manifest("m.yaml")
    with pytest.raises(bidsplan.errors.SourceMissingError) as caught:
        bidsplan.compile_manifest(loaded.manifest)
    [problem] = caught.value.problems
    assert problem.at == ("derivatives", "afq", "url")
    assert caught.value.help_code == problem.help_code == "BP518"
