"""Whatever goes wrong, a path is absent or right, the failure has its name, and a re-run converges.

Each fault is tried on both transports, on an object that is read whole and on one that is streamed.
"""

from __future__ import annotations

import importlib
import json
import random
import threading
import time

import jsonschema
import pytest

from bidsplan.cli.json_schemas import report_schema
from bidsplan.cli.main import run
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from plans import leftovers, md5, plan_of, plan_over, tree
from servers import Rule

REPORT = jsonschema.Draft202012Validator(report_schema())
TRANSPORTS = ["obstore", "fsspec"]
SIZES = {"whole": 200_000, "streamed": 9 << 20}
KEY = "sub-1/anat/target_T1w.nii.gz"
OTHERS = {"README": b"read me", "sub-1/anat/other_T1w.nii.gz": bytes(1000), "sub-2/x.json": b"{}"}
BODIES = {name: random.Random(name).randbytes(size) for name, size in SIZES.items()}


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries: how long is another matter than how often."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture(params=SIZES)
def body(request):
    return BODIES[request.param]


class Site:
    """A bucket behind a proxy, a plan of it, and a destination."""

    def __init__(self, bucket, proxy, folder, body, transport, plan):
        self.bucket, self.proxy, self.body = bucket, proxy, body
        self.files = {**OTHERS, KEY: body}
        self.destination = folder / "d"
        self._paths = sorted(entry.path for entry in plan.entries)
        self._plan, self._transport, self._folder = folder / "p.plan.jsonl", transport, folder
        write_plan(plan, self._plan)

    def fetch(self, capsys, *arguments):
        """Give the exit code, a row for each path, and what was said."""
        command = ["fetch", str(self._plan), str(self.destination), "--json", "--timeout", "1"]
        command += ["--transport", self._transport, "--endpoint-url", self.proxy.url]
        code = run([*command, *arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        rows = [json.loads(line) for line in told.out.splitlines()]
        assert all(REPORT.is_valid(row) for row in rows)
        by_path = {row["path"]: row for row in rows if "path" in row}
        # One for each planned file, however it ended, and the sum.
        assert sorted(by_path) == self._paths, told.err
        assert len(rows) == len(by_path) + 1
        return code, by_path, told.err

    def converges(self, capsys):
        """Fetch again without faults, after which all is there and right."""
        self.proxy.rules.clear()
        code, rows, _ = self.fetch(capsys)
        assert (code, {row["action"] for row in rows.values()} <= {"fetch", "keep"}) == (0, True)
        assert tree(self.destination) == self.files
        assert leftovers(self.destination) == []

    def requests(self, key=KEY):
        return sum(path.startswith(f"/{self.bucket.name}/{key}") for _, path in self.proxy.requests)


@pytest.fixture
def site(bucket, proxy, tmp_path, body, transport):
    files = {**OTHERS, KEY: body}
    bucket.fill(files)
    plan = plan_over(f"s3://{bucket.name}", files)
    return Site(bucket, proxy, tmp_path, body, transport, plan)


PASSING = {
    "reset": Rule("reset", times=2),
    "cut off": Rule("cut", times=2),
    "stalled": Rule("stall", times=1),
    "too short": Rule("short", times=1),
    "without a length": Rule("unsized", times=1),
    "damaged": Rule("flip", times=1),
    "throttled by 503": Rule("status", status=503, times=3, code="SlowDown"),
    "throttled by 429": Rule("status", status=429, times=3),
    "failed by 500": Rule("status", status=500, times=2, code="InternalError"),
}


@pytest.mark.parametrize("rule", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_is_lived_through(site, rule, capsys):
    site.proxy.rules.append(Rule(**{**vars(rule), "match": KEY}))
    code, rows, _ = site.fetch(capsys)
    assert rows[KEY] == {"path": KEY, "action": "fetch", "proof": "etag-md5"}
    assert code == 0
    assert site.proxy.rules[0].times == 0
    assert tree(site.destination) == site.files
    assert leftovers(site.destination) == []


LASTING = {
    "reset": (Rule("reset"), "unreachable"),
    "cut off": (Rule("cut"), "unreachable"),
    "too short": (Rule("short"), "unreachable"),
    "without a length": (Rule("unsized"), "unreachable"),
    "a web page": (Rule("page"), "unreachable"),
    "damaged": (Rule("flip"), "unproved"),
    "throttled by 503": (Rule("status", status=503, code="SlowDown"), "throttled"),
    "throttled by 429": (Rule("status", status=429), "throttled"),
    "failed by 500": (Rule("status", status=500), "unreachable"),
    "denied": (Rule("status", status=403, code="AccessDenied"), "denied"),
    "gone": (Rule("status", status=404, code="NoSuchKey"), "source-missing"),
}


@pytest.mark.parametrize(("rule", "name"), LASTING.values(), ids=LASTING)
def test_a_fault_that_lasts_is_named_and_nothing_wrong_is_left(site, rule, name, capsys):
    site.proxy.rules.append(Rule(**{**vars(rule), "match": KEY}))
    code, rows, said = site.fetch(capsys)
    assert (code, rows[KEY]["error"]) == (1, name)
    assert KEY in said
    assert tree(site.destination) == OTHERS
    left = leftovers(site.destination)
    assert len(left) <= (name in {"unreachable", "throttled"} and len(site.body) > 8 << 20)
    # s3fs alone asks 25 times for a file that is throttled.
    assert site.requests() <= 25
    site.converges(capsys)


def test_a_stall_that_lasts_is_named(site, capsys):
    site.proxy.rules.append(Rule("stall", KEY))
    code, rows, _ = site.fetch(capsys, "--timeout", "0.3")
    assert (code, rows[KEY]["error"]) == (1, "unreachable")
    assert tree(site.destination) == OTHERS
    site.converges(capsys)


def test_a_body_that_never_ends_is_broken_off(site, transport, monkeypatch, capsys):
    monkeypatch.setattr("bidsplan.storage.retry.BODY_SECONDS", 0.5)
    site.proxy.rules.append(Rule("trickle", KEY))
    code, rows, _ = site.fetch(capsys)
    assert (code, rows[KEY]["error"]) == (1, "unreachable")
    assert tree(site.destination) == OTHERS
    site.converges(capsys)


def test_a_server_that_knows_no_ranges_is_asked_for_all_of_it(site, capsys):
    site.proxy.rules += [Rule("cut", KEY, times=1), Rule("whole", KEY)]
    assert site.fetch(capsys)[0] == 0
    assert tree(site.destination) == site.files


@pytest.mark.parametrize("length", ["same", "shorter", "longer"])
@pytest.mark.parametrize("when", ["call", "call-mid"])
def test_a_source_that_is_replaced_is_named_and_never_spliced(site, when, length, capsys):
    size = {"same": 0, "shorter": -1000, "longer": 1000}[length] + len(site.body)
    other = random.Random(1).randbytes(size)
    site.proxy.rules.append(
        Rule(when, KEY, times=1, hook=lambda: site.bucket.put(KEY, other)),
    )
    code, rows, said = site.fetch(capsys)
    assert (code, rows[KEY]["error"]) == (1, "source-changed")
    assert md5(site.body) in said
    assert md5(other) in said
    assert tree(site.destination) == OTHERS
    site.bucket.put(KEY, site.body)
    site.converges(capsys)


@pytest.mark.parametrize("when", ["call", "call-mid"])
def test_a_source_that_is_deleted_is_named(site, when, capsys):
    site.proxy.rules.append(
        Rule(when, KEY, times=1, hook=lambda: site.bucket.delete(KEY)),
    )
    code, rows, _ = site.fetch(capsys)
    assert (code, rows[KEY]["error"]) == (1, "source-missing")
    assert tree(site.destination) == OTHERS
    site.bucket.put(KEY, site.body)
    site.converges(capsys)


@pytest.fixture
def versioned(bucket, proxy, tmp_path, body, transport):
    """Give a site whose plan names the version of each object."""
    bucket.versioned()
    entries = []
    for key, data in {**OTHERS, KEY: body}.items():
        version = bucket.put(key, data)["x-amz-version-id"]
        fields = {"size": len(data), "etag": md5(data), "version": version}
        entries.append(Entry(path=key, key=key, reason="selected", **fields))
    plan = plan_of(entries, f"s3://{bucket.name}")
    return Site(bucket, proxy, tmp_path, body, transport, plan)


@pytest.mark.parametrize("when", ["call", "call-mid"])
@pytest.mark.parametrize("what", ["replaced", "deleted"])
def test_a_pinned_version_comes_whatever_happens_to_its_key(versioned, when, what, capsys):
    site = versioned

    def change():
        if what == "replaced":
            site.bucket.put(KEY, b"another")
        else:
            site.bucket.delete(KEY)

    site.proxy.rules.append(Rule(when, KEY, times=1, hook=change))
    assert site.fetch(capsys)[0] == 0
    assert site.proxy.rules[0].times == 0
    assert tree(site.destination) == site.files


def test_the_storage_is_waited_for_as_long_as_it_asks(site, capsys):
    # The first refusals may come to those that are not told how long: to requests of obstore's.
    site.proxy.rules.append(
        Rule("status", KEY, status=503, times=3, headers={"Retry-After": "1"}),
    )
    began = time.monotonic()
    assert site.fetch(capsys)[0] == 0
    assert time.monotonic() - began >= 1
    assert tree(site.destination) == site.files


@pytest.mark.parametrize(("status", "word"), [(400, "ExpiredToken"), (403, "InvalidAccessKeyId")])
def test_refused_credentials_stop_the_run(bucket, proxy, tmp_path, transport, status, word, capsys):
    files = {f"sub-{number:04}/x.json": b"{}" for number in range(600)}
    bucket.fill({next(iter(files)): b"{}"})
    plan = plan_over(f"s3://{bucket.name}", files)
    site = Site(bucket, proxy, tmp_path, b"", transport, plan)
    proxy.rules.append(Rule("status", "/sub-", status=status, code=word))
    code, rows, said = site.fetch(capsys, "--jobs", "16")
    assert code == 1
    errors = [row["error"] for row in rows.values() if "error" in row]
    skipped = [row for row in rows.values() if row.get("action") == "skip"]
    assert set(errors) == {"credentials"}
    assert len(errors) < 100
    assert len(errors) + len(skipped) == len(files)
    assert len(proxy.requests) < 100
    assert "the credentials are refused" in said
    assert "run it again to resume" in said


def test_credentials_that_are_renewed_in_time_are_taken(
    bucket, proxy, tmp_path, transport, monkeypatch, capsys
):
    place = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(place))

    def write(name):
        secrets = f"aws_access_key_id={name}\naws_secret_access_key=s\naws_session_token=t\n"
        written = tmp_path / f"{name}-{threading.get_ident()}"
        written.write_text(f"[default]\n{secrets}")
        written.replace(place)

    files = {f"sub-{number:02}/x.json": b"{}" for number in range(40)}
    bucket.fill(files)
    site = Site(bucket, proxy, tmp_path, b"", transport, plan_over(f"s3://{bucket.name}", files))
    write("OLD")
    proxy.rules.append(
        Rule(
            "status",
            "/sub-",
            status=400,
            code="ExpiredToken",
            key="OLD",
            hook=lambda: write("NEW"),
        )
    )
    assert site.fetch(capsys, "--signed")[0] == 0
    assert proxy.keys == {"OLD", "NEW"}
    assert tree(site.destination) == files


@pytest.mark.parametrize(("status", "name"), [(500, "unreachable"), (503, "throttled")])
def test_a_server_that_is_gone_stops_the_run(
    bucket, proxy, tmp_path, transport, status, name, capsys
):
    files = {f"sub-{number:04}/x.json": b"{}" for number in range(600)}
    plan = plan_over(f"s3://{bucket.name}", files)
    site = Site(bucket, proxy, tmp_path, b"", transport, plan)
    proxy.rules.append(Rule("status", "/sub-", status=status))
    code, rows, said = site.fetch(capsys, "--jobs", "16")
    assert code == 1
    assert len([row for row in rows.values() if "error" in row]) < 100
    # Not even one for each file.
    assert len(proxy.requests) < len(files)
    assert f"20 files in a row failed ({name})" in said


def test_a_listing_that_is_denied_is_no_empty_plan(bucket, proxy, tmp_path, transport, capsys):
    bucket.fill(OTHERS)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}}}\n")
    proxy.rules.append(Rule("status", f"/{bucket.name}", status=403, code="AccessDenied"))
    code = run(
        ["compile", str(manifest), "--endpoint-url", proxy.url, "--transport", transport, "--json"]
    )
    assert (code, json.loads(capsys.readouterr().out)["error"]) == (1, "denied")
    assert not (tmp_path / "m.plan.jsonl").exists()


@pytest.mark.parametrize("when", ["call", "call-mid"])
def test_no_size_is_large_enough_to_be_spliced(bucket, proxy, tmp_path, transport, when, capsys):
    # s3fs and others read what has over 50 MiB in parts, each of whatever object is there then.
    before, after = bytes(60 << 20), b"\1" * (60 << 20)
    bucket.fill({KEY: before, **OTHERS})
    plan = plan_over(f"s3://{bucket.name}", {KEY: before, **OTHERS})
    site = Site(bucket, proxy, tmp_path, before, transport, plan)
    proxy.rules.append(Rule(when, KEY, times=1, hook=lambda: bucket.put(KEY, after)))
    code, rows, _ = site.fetch(capsys, "--timeout", "30")
    assert (code, rows[KEY]["error"]) == (1, "source-changed")
    assert tree(site.destination) == OTHERS
    assert leftovers(site.destination) == []
