"""Whatever the storage asks for, a run ends in a time that is known, and says what was slow."""

from __future__ import annotations

import importlib
import json
import time
from email.utils import formatdate

import jsonschema
import pytest

from bidsplan.cli.json_schemas import report_schema
from bidsplan.cli.main import run
from bidsplan.plan.file import write_plan
from bidsplan.storage.http_errors import status_error
from bidsplan.transfer.concurrency import ConcurrencyLimit
from plans import plan_over, tree
from servers import Rule

REPORT = jsonschema.Draft202012Validator(report_schema())
KEY = "sub-1/anat/target_T1w.nii.gz"
OTHERS = {"README": b"read me", "sub-2/x.json": b"{}"}
SIZES = {"whole": 100_000, "streamed": 5 << 20}
LONG = "100000"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Heed a fifth of a second, and wait a hundredth between tries."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)
    monkeypatch.setattr(module, "_LONGEST_REQUESTED_WAIT", 0.2)
    return module


@pytest.fixture(params=["obstore", "fsspec"])
def transport(request):
    return request.param


@pytest.fixture(params=SIZES)
def files(request, bucket):
    found = {**OTHERS, KEY: bytes(SIZES[request.param])}
    bucket.fill(found)
    return found


@pytest.fixture
def fetch(bucket, proxy, tmp_path, transport, capsys):
    """Give a call that fetches files and gives its code, rows by path, sum, and what was said."""

    def call(files, *arguments):
        path = tmp_path / "p.plan.jsonl"
        write_plan(plan_over(f"s3://{bucket.name}", files), path)
        command = ["fetch", str(path), str(tmp_path / "d"), "--json", "--transport", transport]
        code = run([*command, "--endpoint-url", proxy.url, *arguments])
        told = capsys.readouterr()
        rows = [json.loads(line) for line in told.out.splitlines()]
        assert all(REPORT.is_valid(row) for row in rows)
        return code, {row["path"]: row for row in rows[:-1]}, rows[-1], told.err

    return call


def test_one_request_to_wait_for_a_day_costs_a_moment(files, proxy, fetch, tmp_path):
    # The first refusals may come to requests of obstore's, which are not told how long.
    proxy.rules.append(Rule("status", KEY, times=3, headers={"Retry-After": LONG}))
    began = time.monotonic()
    code, _, total, said = fetch(files)
    assert code == 0
    assert time.monotonic() - began < 10
    assert tree(tmp_path / "d") == files
    assert total["slow"]["throttled"] == 3
    assert total["slow"]["retry_after"] == 100_000
    assert total["slow"]["path"] == KEY
    assert total["slow"]["late"] == 0
    assert 0.2 <= total["slow"]["waited"] < 1
    assert total["slow"]["seconds"] >= 0.2
    assert "asked 3 times to slow down, it asked to wait up to 100,000 s" in said
    assert KEY in said


def test_a_storage_that_only_asks_to_wait_ends_the_run(bucket, proxy, fetch, monkeypatch, quick):
    monkeypatch.setattr(quick, "_LONGEST_REQUESTED_WAIT", 0.02, raising=False)
    files = {f"sub-{number:03}/x.json": b"{}" for number in range(200)}
    proxy.rules.append(Rule("status", "/sub-", headers={"Retry-After": LONG}))
    began = time.monotonic()
    code, rows, total, said = fetch(files, "--jobs", "16")
    assert code == 1
    assert time.monotonic() - began < 10
    assert {row["error"] for row in rows.values() if "error" in row} == {"throttled"}
    assert total["slow"]["throttled"] > 20
    assert "20 files in a row failed (throttled)" in said


def test_a_date_is_waited_for_as_a_number_is(bucket, proxy, fetch):
    files = {**OTHERS, KEY: bytes(SIZES["streamed"])}
    bucket.fill(files)
    until = formatdate(time.time() + 3600, usegmt=True)
    proxy.rules.append(Rule("status", KEY, times=3, headers={"Retry-After": until}))
    code, _, total, _ = fetch(files)
    assert code == 0
    assert 3590 <= total["slow"]["retry_after"] <= 3600
    assert 0.2 <= total["slow"]["waited"] < 1


def test_an_object_that_trickles_is_given_up_and_the_others_come(
    files, proxy, fetch, transport, tmp_path, monkeypatch, quick
):
    monkeypatch.setattr(quick, "_OBJECT_SECONDS", 0.5, raising=False)
    monkeypatch.setattr(quick, "_LOWEST_RATE", 1 << 30, raising=False)
    if transport == "obstore":
        monkeypatch.setattr("bidsplan.storage.retry.BODY_SECONDS", 0.3)
    proxy.rules.append(Rule("trickle", KEY))
    began = time.monotonic()
    code, rows, total, said = fetch(files)
    assert (code, rows[KEY]["error"]) == (1, "unreachable")
    assert time.monotonic() - began < 5
    assert tree(tmp_path / "d") == OTHERS
    assert "it arrives too slowly" in rows[KEY]["message"]
    assert total["slow"]["late"] == 1
    assert total["slow"]["seconds"] >= 0.5
    assert "1 file was given up at the deadline" in said


@pytest.mark.parametrize("transport", ["obstore"], indirect=True)
def test_a_body_that_trickles_after_a_refusal_is_given_up_as_well(
    bucket, proxy, fetch, tmp_path, monkeypatch, quick
):
    # obstore's requests are not told how long to wait, so that plain ones follow.
    monkeypatch.setattr(quick, "_LOWEST_RATE", 1 << 30, raising=False)
    monkeypatch.setattr(quick, "_OBJECT_SECONDS", 0.5, raising=False)
    files = {**OTHERS, KEY: bytes(SIZES["streamed"])}
    bucket.fill(files)
    proxy.rules += [Rule("status", KEY, times=2), Rule("trickle", KEY)]
    code, rows, total, _ = fetch(files, "--timeout", "2")
    assert (code, rows[KEY]["error"]) == (1, "unreachable")
    assert total["slow"]["late"] == 1
    assert tree(tmp_path / "d") == OTHERS


@pytest.mark.parametrize("transport", ["obstore"], indirect=True)
def test_a_run_that_nothing_slows_down_says_nothing_of_it(bucket, fetch):
    bucket.fill(OTHERS)
    code, _, total, said = fetch(OTHERS)
    assert (code, total["slow"], said) == (0, None, "")


def test_where_some_requests_are_refused_only_those_wait(bucket, proxy, fetch, tmp_path):
    files = {f"sub-{number:03}/x.json": b"{}" for number in range(300)}
    bucket.fill(files)
    proxy.rules.append(Rule("status", "/sub-2", times=30))
    began = time.monotonic()
    code, _, total, _ = fetch(files)
    assert code == 0
    assert time.monotonic() - began < 10
    assert tree(tmp_path / "d") == files
    assert total["slow"]["throttled"] == 30
    assert 0 < total["slow"]["waited"] < 1


@pytest.mark.parametrize("place", ["directory", "bucket"])
def test_a_limit_of_the_rate_holds_for_downloads_and_copies(files, bucket, s3, tmp_path, place):
    plan = tmp_path / "p.plan.jsonl"
    write_plan(plan_over(f"s3://{bucket.name}", files), plan)
    there = str(tmp_path / "d") if place == "directory" else f"s3://{bucket.name}/copies"
    rate = 2 * sum(map(len, files.values()))
    command = ["fetch", str(plan), there, "-q", "--anonymous", "--endpoint-url", bucket.endpoint]
    began = time.monotonic()
    assert run([*command, "--limit-rate", str(rate)]) == 0
    assert time.monotonic() - began > 0.45


NOW = "Wed, 21 Oct 2026 07:28:00 GMT"
ASKED = {
    "5": 5,
    " 5 ": 5,
    "0": 0,
    "9" * 5000: 1e9,
    "-5": None,
    "1e9": None,
    "5.5": None,
    "٥": None,
    "soon": None,
    "": None,
    "Wed, 21 Oct 2026 07:29:00 GMT": 60,
    "Wed, 21 Oct 2026 07:00:00 GMT": 0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 1e9,
    "Wed, 99 Oct 2026 07:29:00 GMT": None,
}


@pytest.mark.parametrize("text", ASKED, ids=lambda text: text[:30])
def test_what_an_answer_asks_for_is_read_or_passed_over(text):
    headers = {"Retry-After": text, "Date": NOW}
    assert status_error(503, "x", "SlowDown", headers).retry_after == ASKED[text]


def test_no_single_answer_holds_the_pace_up():
    time_ = 0.0
    pace = ConcurrencyLimit(64, now=lambda: time_, computed=lambda: 0.0)
    pace.refused(float("inf"))
    assert 0 < pace.delay() < 1


def test_a_deadline_moves_on_with_what_comes(quick):
    late = quick._OBJECT_SECONDS + 100
    deadline = quick.Deadline(time.monotonic() - late)
    assert deadline.left() < 0
    deadline.reached(200 * quick._LOWEST_RATE)
    assert 90 < deadline.left() <= 100
    # What comes again after a new beginning counts once.
    deadline.reached(0)
    assert 90 < deadline.left() <= 100
