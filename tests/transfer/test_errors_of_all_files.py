"""An error that all files meet is written once, and others are grouped if they are alike."""

from __future__ import annotations

import json

import pytest

from bidsplan.errors import DeniedError
from bidsplan.help_codes import HelpCode
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import write_plan
from bidsplan.storage import Access, Transport
from plans import failures, fetch, finished, md5, plan_over
from servers import Rule, free_port

FILES = {f"sub-{number:02}/anat/x.json": b"%d" % number for number in range(40)}


@pytest.fixture
def source(counted, bucket):
    bucket.fill({f"x/{key}": data for key, data in FILES.items()})
    return f"s3://{bucket.name}/x"


def without_keys(monkeypatch, folder):
    """Choose a profile that has no keys."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (folder / "config").write_text("[profile empty]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_PROFILE", "empty")


def errors(said):
    return [line for line in said.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("transport", list(Transport)[1:])
def test_without_credentials_there_is_one_error_and_no_request(
    counted, source, ask_here, tmp_path, monkeypatch, transport
):
    without_keys(monkeypatch, tmp_path)
    root = Root(url=source, anonymous=False)
    header = {"manifest_sha256": "0" * 64, "study": "x", "roots": [root], "subjects": []}
    write_plan(Plan.build(plan_over(source, FILES).entries, **header), tmp_path / "s.plan.jsonl")
    before = len(counted.requests)
    code, out, said = ask_here("fetch", "s.plan.jsonl", "d", "--transport", transport.value)
    assert code == 1
    [error] = errors(said)
    assert "profile 'empty' of AWS_PROFILE has no AWS credentials" in error
    assert out == "d: 1 failed (denied); 39 unfinished\n"
    assert len(counted.requests) == before


def test_without_credentials_for_one_root_the_files_of_others_come(
    counted, source, tmp_path, monkeypatch
):
    without_keys(monkeypatch, tmp_path)
    entries = [
        Entry(path=path, key=path, size=len(data), reason="selected", etag=md5(data), root=at % 2)
        for at, (path, data) in enumerate(FILES.items())
    ]
    roots = [Root(url=source), Root(url=source, anonymous=False)]
    header = {"manifest_sha256": "0" * 64, "study": "x", "subjects": []}
    events = fetch(Plan.build(entries, roots=roots, **header), tmp_path / "d")
    assert set(finished(events)) == set(list(FILES)[::2])
    [error] = failures(events).values()
    assert (type(error), error.help_code) == (DeniedError, HelpCode.NO_CREDENTIALS)


@pytest.mark.parametrize("denied", [1, 2, 12, 40])
def test_denials_that_are_alike_are_written_once_and_name_the_files(
    counted, source, ask_here, tmp_path, denied
):
    names = list(FILES)
    counted.rules.extend(
        Rule("status", name, status=403, code="AccessDenied") for name in names[:denied]
    )
    write_plan(plan_over(source, FILES), tmp_path / "s.plan.jsonl")
    code, _, said = ask_here("fetch", "s.plan.jsonl", "d")
    first, *others = errors(said)
    assert code == 1
    assert "access is denied (403 AccessDenied); check whether the bucket is public" in first
    assert len(others) == (denied > 1)
    if others:
        text = f"{denied - 1} more file{'s' * (denied > 2)} failed like sub-"
        assert text in others[0]
        assert ("--json lists all" in others[0]) == (denied > 11)
        assert others[0].endswith("[BP508]")
    if denied <= 11:
        assert all(name in said for name in names[:denied])
    # None is lost, and all are listed.
    assert len(list(tmp_path.glob("d/sub-*/anat/x.json"))) == 40 - denied
    rows = map(json.loads, ask_here("fetch", "s.plan.jsonl", "d", "--json")[1].splitlines())
    assert {row["path"] for row in rows if "error" in row} == set(names[:denied])


def test_errors_that_differ_are_all_written(counted, source, ask_here, tmp_path):
    names = list(FILES)
    counted.rules.append(Rule("status", names[0], status=403, code="AccessDenied"))
    counted.rules.append(Rule("status", names[1], status=403, code="InvalidObjectState"))
    counted.rules.append(Rule("status", names[2], status=404, code="NoSuchKey"))
    write_plan(plan_over(source, FILES), tmp_path / "s.plan.jsonl")
    said = ask_here("fetch", "s.plan.jsonl", "d")[2]
    assert len(errors(said)) == 3
    assert all(name in said for name in names[:3])


@pytest.mark.parametrize(("where", "most"), [("refused", 1), ("dead", 2)])
def test_refused_credentials_and_a_dead_endpoint_are_few_errors(
    counted, source, ask_here, tmp_path, monkeypatch, where, most
):
    monkeypatch.setattr("bidsplan.storage.retry._UNREACHABLE_TRIES", 1)
    write_plan(plan_over(source, FILES), tmp_path / "s.plan.jsonl")
    counted.rules.append(Rule("status", status=403, code="InvalidAccessKeyId"))
    endpoint = counted.url if where == "refused" else f"http://127.0.0.1:{free_port()}"
    options = ("--signed", "--endpoint-url", endpoint)
    code, _, said = ask_here("fetch", *options, "s.plan.jsonl", "d")
    assert code == 1
    # What obstore says of a connection differs from what plain requests say.
    assert len(errors(said)) - said.count("failed like") <= most
    assert said.count("failed like") <= most
    assert said.count("the run stopped") == 1


def test_names_that_look_like_commands_of_ci_are_harmless_where_files_are_grouped(
    counted, source, ask_here, tmp_path, monkeypatch
):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    names = ("a.txt", "::error::b.txt", "##[error]c.txt")
    counted.rules.append(Rule("status", status=403, code="AccessDenied"))
    files = dict.fromkeys(names, b"0")
    write_plan(plan_over(source, files), tmp_path / "s.plan.jsonl")
    said = ask_here("fetch", "s.plan.jsonl", "d")[2]
    assert "2 more files failed like" in said
    assert not any(line.startswith("::error::") for line in said.splitlines())
    assert "##[error]" not in said


def test_an_access_is_needed_for_public_data_no_more(counted, source, tmp_path, monkeypatch):
    without_keys(monkeypatch, tmp_path)
    events = fetch(plan_over(source, FILES), tmp_path / "d", access=Access())
    assert len(finished(events)) == len(FILES)
