"""Fetching to a URL: the same guarantees as in a directory, and nothing left behind by a fault."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import signal
import subprocess
import sys
import threading

import msgspec
import pytest

from bidsplan.cli.main import run
from bidsplan.errors import DeniedError
from bidsplan.events import Action, Decided, Finished, Warned
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.verification import verify
from plans import failures, fetch, finished, local_plan, plan_of, plan_over
from servers import Bucket, Rule

KEY = "sub-1/anat/target_T1w.nii.gz"
OTHERS = {"README": b"read me", "sub-1/empty": b"", "odd/a+b %25#[x]?\u00e9.txt": b"odd"}
BODIES = {
    "small": random.Random(1).randbytes(200_000),
    "in parts": random.Random(2).randbytes(17 << 20),
}


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries: how long is another matter than how often."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


class Site:
    """A bucket to fetch from and one to fetch to, behind one proxy."""

    def __init__(self, source, proxy, folder, body):
        self.source, self.proxy, self.body = source, proxy, body
        self.target = Bucket(source.endpoint, f"{source.name}-target")
        self.files = {**OTHERS, KEY: body}
        source.fill(self.files)
        self.url = f"s3://{self.target.name}/pre"
        self.plan = plan_over(f"s3://{source.name}", self.files)
        self.path = folder / "p.plan.jsonl"
        write_plan(self.plan, self.path)

    def command(self, name="fetch"):
        return [name, str(self.path), self.url, "--endpoint-url", self.proxy.url, "--json"]

    def run(self, capsys, *arguments, name="fetch"):
        """Give the exit code, a row for each path, and what was said."""
        code = run([*self.command(name), "--timeout", "2", *arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        rows = [json.loads(line) for line in told.out.splitlines()]
        return code, {row["path"]: row for row in rows if "path" in row}, told.err

    def there(self):
        assert self.target.uploads() == []
        return self.target.files("pre/")

    def converges(self, capsys):
        self.proxy.rules.clear()
        assert self.run(capsys)[0] == 0
        assert self.there() == self.files


@pytest.fixture(params=BODIES)
def site(s3, bucket, proxy, tmp_path, request):
    return Site(bucket, proxy, tmp_path, BODIES[request.param])


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_one_connection_is_enough(site, transport, capsys):
    # A source that was throttled is read over plain requests, as the destination is written.
    site.proxy.rules.append(Rule("status", f"{site.source.name}/{KEY}", status=503, times=1))
    assert site.run(capsys, "-j", "1", "--transport", transport)[0] == 0
    assert site.there() == site.files


def changes(proxy):
    return [path for method, path in proxy.requests if method in {"PUT", "POST", "DELETE"}]


def test_from_one_bucket_to_another_and_again(site, capsys):
    assert site.run(capsys, "-n")[:2] == (
        0,
        {
            key: {"path": key, "action": "fetch", "size": len(data)}
            for key, data in site.files.items()
        },
    )
    assert changes(site.proxy) == []
    code, rows, _ = site.run(capsys)
    assert code == 0
    assert rows[KEY] == {"path": KEY, "action": "fetch", "proof": "etag-md5"}
    assert site.there() == site.files
    site.proxy.requests.clear()
    code, rows, _ = site.run(capsys)
    assert (code, {row["action"] for row in rows.values()}) == (0, {"keep"})
    assert changes(site.proxy) == []
    # Nothing is asked for each file: listings, and the receipts of one run.
    assert len(site.proxy.requests) == 3
    code, rows, _ = site.run(capsys, name="verify")
    assert (code, {row["proof"] for row in rows.values()}) == (0, {"etag-md5"})


PASSING = {
    "source cut off": Rule("cut", "/sub-1", times=2),
    "source damaged": Rule("flip", "/sub-1", times=1),
    "refused by 503": Rule("status", "/pre/sub-1", method="PUT", status=503, times=3),
    "failed by 500": Rule("status", "/pre/sub-1", method="PUT", status=500, times=2),
    "damaged on its way": Rule("spoil", "/pre/sub-1", method="PUT", times=1),
    "an answer is lost": Rule("lose", "/pre/sub-1", method="PUT", times=1),
    "not completed": Rule("status", "uploadId", method="POST", status=500, times=2),
    "not completed, and told late": Rule(
        "status", "uploadId", method="POST", status=200, code="InternalError", times=2
    ),
    "the last answer is lost": Rule("lose", "uploadId", method="POST", times=1),
}


@pytest.mark.parametrize("rule", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_is_lived_through(site, rule, capsys):
    site.proxy.rules.append(Rule(**vars(rule)))
    code, rows, _ = site.run(capsys)
    assert (code, rows[KEY]["action"]) == (0, "fetch")
    assert site.there() == site.files


LASTING = {
    "source cut off": (Rule("cut", "/sub-1/anat"), "unreachable"),
    "source damaged": (Rule("flip", "/sub-1/anat"), "unproved"),
    "source gone": (Rule("status", "/sub-1/anat", status=404, code="NoSuchKey"), "source-missing"),
    "refused by 503": (Rule("status", "/pre/sub-1/anat", method="PUT", status=503), "throttled"),
    "failed by 500": (Rule("status", "/pre/sub-1/anat", method="PUT", status=500), "unreachable"),
    "denied": (Rule("status", "/pre/sub-1/anat", method="PUT", status=403), "denied"),
    "expired": (
        Rule("status", "/pre/sub-1/anat", method="PUT", status=400, code="ExpiredToken"),
        "credentials",
    ),
    "full": (
        Rule("status", "/pre/sub-1/anat", method="PUT", status=403, code="QuotaExceeded"),
        "disk-full",
    ),
    "refused": (
        Rule("status", "/pre/sub-1/anat", method="PUT", status=400, code="InvalidRequest"),
        "destination",
    ),
    "damaged on its way": (Rule("spoil", "/pre/sub-1/anat", method="PUT"), "corrupt"),
}


@pytest.mark.parametrize(("rule", "name"), LASTING.values(), ids=LASTING)
def test_a_fault_that_lasts_is_named_and_leaves_nothing(site, rule, name, capsys):
    site.proxy.rules.append(Rule(**vars(rule)))
    code, rows, said = site.run(capsys)
    assert (code, rows[KEY]["error"]) == (1, name)
    assert KEY in said
    assert KEY not in site.there()
    assert site.there().items() <= site.files.items()
    site.converges(capsys)


@pytest.mark.parametrize("site", ["in parts"], indirect=True)
@pytest.mark.parametrize(
    "rule",
    [
        Rule("status", "uploadId", method="POST", status=500),
        Rule("status", "uploadId", method="POST", status=200, code="InternalError"),
        Rule("status", "partNumber=2", method="PUT", status=500),
        Rule("status", "?uploads", method="POST", status=500),
    ],
    ids=["completing", "completing, told late", "a part", "beginning"],
)
def test_parts_are_taken_back(site, rule, capsys):
    site.proxy.rules.append(Rule(**vars(rule)))
    code, rows, _ = site.run(capsys)
    assert (code, rows[KEY]["error"]) == (1, "unreachable")
    assert site.there() == OTHERS
    site.converges(capsys)


@pytest.mark.parametrize("site", ["in parts"], indirect=True)
def test_parts_that_can_not_be_taken_back_are_told(site, capsys):
    site.proxy.rules += [
        Rule("status", "partNumber=2", method="PUT", status=500),
        Rule("status", "uploadId", method="DELETE", status=500),
    ]
    code, _, said = site.run(capsys)
    assert code == 1
    assert f"1 uploads were given up and could not be removed, as that of {KEY}" in said
    assert len(site.target.uploads()) == 1


@pytest.mark.parametrize("length", [0, 1000])
def test_a_source_that_is_replaced_is_named(site, length, capsys):
    other = random.Random(3).randbytes(len(site.body) + length)
    hook = Rule("call-mid", "/sub-1/anat", times=1, hook=lambda: site.source.put(KEY, other))
    site.proxy.rules.append(hook)
    code, rows, _ = site.run(capsys)
    assert (code, rows[KEY]["error"]) == (1, "source-changed")
    assert site.there() == OTHERS


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_part_behind(s3, bucket, proxy, tmp_path, number, code):
    site = Site(bucket, proxy, tmp_path, BODIES["in parts"])
    process = None
    parts = []

    def stop():
        parts.append(1)
        process.send_signal(number)

    # The source goes silent behind the first part, and the thread that reads it with it.
    site.proxy.rules += [
        Rule("call", "partNumber=1", method="PUT", hook=stop, times=1),
        Rule("stall", f"{bucket.name}/{KEY}"),
    ]
    command = [sys.executable, "-m", "bidsplan", *site.command()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, b"Traceback" in err, parts) == (code, False, [1])
    assert KEY not in site.there()


def test_a_destination_that_denies_writing_is_found_out_before_anything_is_read(site, capsys):
    site.proxy.rules.append(Rule("status", "/pre/", method="PUT", status=403, code="AccessDenied"))
    site.proxy.requests.clear()
    code, rows, said = site.run(capsys)
    assert code == 1
    assert {row.get("error", row.get("action")) for row in rows.values()} <= {"denied", "skip"}
    why = "since other files would fail in the same way: the destination can't be written"
    assert f"the run stopped, {why}" in said
    assert not [path for _, path in site.proxy.requests if path.startswith(f"/{site.source.name}/")]


@pytest.mark.parametrize("where", ["/pre/.bidsplan/README", "/pre/sub-1"])
def test_credentials_that_are_renewed_in_time_are_taken(site, where, tmp_path, monkeypatch, capsys):
    place = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(place))

    def write(name):
        secrets = f"aws_access_key_id={name}\naws_secret_access_key=s\naws_session_token=t\n"
        written = tmp_path / f"{name}-{threading.get_ident()}"
        written.write_text(f"[default]\n{secrets}")
        written.replace(place)

    write("OLD")
    expired = {"status": 400, "code": "ExpiredToken", "key": "OLD", "method": "PUT"}
    site.proxy.rules.append(Rule("status", where, hook=lambda: write("NEW"), **expired))
    assert site.run(capsys)[0] == 0
    assert site.proxy.keys == {"OLD", "NEW"}
    assert site.there() == site.files


def test_a_listing_that_is_denied_is_no_empty_destination(site, capsys):
    site.proxy.rules.append(Rule("status", f"/{site.target.name}?", status=403))
    code, rows, said = site.run(capsys)
    assert (code, rows) == (1, {})
    assert "access is denied" in said
    with pytest.raises(DeniedError):
        fetch(site.plan, site.url, access=Access(endpoint_url=site.proxy.url), dry_run=True)


def test_a_bucket_that_is_not_there_is_named(s3, bucket, tmp_path):
    events = local_plan(tmp_path)
    with pytest.raises(OSError, match="there is no such bucket"):
        fetch(events, f"s3://{bucket.name}-nowhere/x", access=Access())


@pytest.fixture
def target(s3, bucket):
    return bucket


def to_bucket(plan, bucket, **options):
    return fetch(plan, f"s3://{bucket.name}/pre", access=Access(), **options)


FILES = {"a.txt": b"hello", "sub-1/x.json": b"{}"}
WHY = "a different file already exists; it was not changed"


@pytest.mark.parametrize("tags", [True, False])
def test_existing_files_are_kept_refused_or_replaced(target, tmp_path, tags):
    plan = local_plan(tmp_path, FILES)
    if tags:
        source = Bucket(target.endpoint, f"{target.name}-source")
        source.fill(FILES)
        plan = plan_over(f"s3://{source.name}", FILES)
    target.fill({"pre/a.txt": b"hellO", "pre/sub-1/x.json": b"{}", "pre/other": b"mine"})
    proof = CheckMethod.ETAG_MD5 if tags else CheckMethod.SIZE
    events = to_bucket(plan, target)
    assert finished(events) == {"sub-1/x.json": (Action.KEEP, proof)}
    assert str(failures(events)["a.txt"]).startswith(f"a.txt: {WHY}; ")
    events = to_bucket(plan, target, existing=Existing.REFUSE)
    assert "a file exists that bidsplan did not fetch" in str(failures(events)["a.txt"])
    dry = to_bucket(plan, target, existing=Existing.REPLACE, dry_run=True)
    decided = {event.entry.path: event.action for event in dry if isinstance(event, Decided)}
    assert decided["a.txt"] is (Action.REPLACE if tags else Action.COMPARE)
    assert target.files("pre/")["a.txt"] == b"hellO"
    events = to_bucket(plan, target, existing=Existing.REPLACE)
    assert finished(events)["a.txt"] == (Action.REPLACE, proof)
    assert target.files("pre/") == {**FILES, "other": b"mine"}
    # What was compared or brought is known from now on, also where only a receipt can tell.
    events = to_bucket(plan, target, existing=Existing.REFUSE if not tags else Existing.KEEP)
    assert {action for action, _ in finished(events).values()} == {Action.KEEP}
    assert len(finished(events)) == 2


def test_a_file_of_another_size_is_refused_without_reading_it(target, tmp_path):
    target.put("pre/a.txt", b"something else")
    events = to_bucket(local_plan(tmp_path, FILES), target)
    assert f"{WHY}; expected 5 bytes, got 14" in str(failures(events)["a.txt"])


def test_a_pinned_plan_is_compared_by_reading_what_no_receipt_names(target, tmp_path):
    entries = [
        msgspec.structs.replace(entry, sha256=hashlib.sha256(FILES[entry.path]).hexdigest())
        for entry in local_plan(tmp_path, FILES).entries
    ]
    plan = plan_of(entries, str(tmp_path / "source"))
    target.fill({"pre/a.txt": b"hello", "pre/sub-1/x.json": b"[]"})
    events = to_bucket(plan, target)
    assert finished(events) == {"a.txt": (Action.KEEP, CheckMethod.SHA256)}
    assert list(failures(events)) == ["sub-1/x.json"]


def test_what_comes_to_stand_there_meanwhile_is_kept_if_it_is_the_same(counted, bucket, tmp_path):
    target = Bucket(bucket.endpoint, f"{bucket.name}-target")
    bucket.fill(FILES)
    plan = plan_over(f"s3://{bucket.name}", FILES)
    others = {"pre/a.txt": b"hellO", "pre/sub-1/x.json": b"{}"}
    # After the listing, and before the first file is written.
    hook = Rule(
        "call", "/pre/.bidsplan/README", method="PUT", times=1, hook=lambda: target.fill(others)
    )
    counted.rules.append(hook)
    events = fetch(plan, f"s3://{target.name}/pre", access=Access())
    [error] = failures(events).values()
    assert str(error).startswith(f"a.txt: {WHY}; expected content ")
    assert list(finished(events)) == ["sub-1/x.json"]
    assert target.files() == others


def test_receipts_that_are_no_receipts_are_passed_over(target, tmp_path):
    plan = local_plan(tmp_path, FILES)
    to_bucket(plan, target)
    target.put("pre/.bidsplan/receipts/x.jsonl", b'\xff\n{"path": 1}\n[[[[\n' + b"[" * 100_000)
    assert {a for a, _ in finished(to_bucket(plan, target)).values()} == {Action.KEEP}
    # A file that was written over has another tag than its receipt says.
    target.put("pre/a.txt", b"hellO")
    assert list(failures(to_bucket(plan, target))) == ["a.txt"]


def test_verifying_reads_back_what_was_written(target, tmp_path):
    plan = local_plan(tmp_path, {**FILES, "sub-1/y.nii": b"no image"})
    url = f"s3://{target.name}/pre"
    to_bucket(plan, target)

    def outcomes(**options):
        events = list(verify(plan, url, access=Access(), **options))
        return [e.proof if isinstance(e, Finished) else str(e.error) for e in events]

    assert outcomes() == [CheckMethod.RECEIPT] * 3
    assert "sub-1/y.nii: " in outcomes(deep=True)[2]
    target.put("pre/a.txt", b"hellO")
    target.delete("pre/sub-1/x.json")
    changed, missing, _ = outcomes()
    assert changed.startswith("a.txt: not the planned file: by receipt, expected ")
    assert missing == "sub-1/x.json: there is no such file; fetch the plan to get it"


def test_generated_files_are_written_too(target):
    entry = Entry(path="dataset_description.json", size=2, reason="dataset", content="{}")
    plan = plan_of([entry], "s3://unused")
    assert finished(to_bucket(plan, target)) == {entry.path: (Action.FETCH, CheckMethod.CONTENT)}
    assert finished(to_bucket(plan, target)) == {entry.path: (Action.KEEP, CheckMethod.CONTENT)}
    assert target.files("pre/") == {entry.path: b"{}"}


def test_memory_is_a_destination(memory, tmp_path):
    plan = local_plan(tmp_path)
    assert {a for a, _ in finished(fetch(plan, "memory://d")).values()} == {Action.FETCH}
    assert {a for a, _ in finished(fetch(plan, "memory://d")).values()} == {Action.KEEP}
    there = {name: memory.cat_file(name) for name in memory.find("/d")}
    receipts = [name for name in there if "/.bidsplan/" in name]
    assert len(receipts) == 1
    planned = {entry.path: (tmp_path / "source" / entry.key) for entry in plan.entries}
    assert {name: data for name, data in there.items() if name not in receipts} == {
        f"/d/{path}": source.read_bytes() for path, source in planned.items()
    }
    memory.pipe("/d/a.txt", b"hellO")
    assert list(failures(fetch(plan, "memory://d"))) == ["a.txt"]
    assert not any(isinstance(event, Warned) for event in fetch(plan, "memory://d"))


def test_a_note_tells_what_was_kept_from_what_was_written(memory, tmp_path):
    plan = local_plan(tmp_path)
    memory.pipe("/d/a.txt", (tmp_path / "source" / "a.txt").read_bytes())
    assert finished(fetch(plan, "memory://d"))["a.txt"][0] is Action.KEEP
    [name] = memory.find("/d/.bidsplan/receipts")
    notes = [json.loads(line) for line in memory.cat_file(name).splitlines()]
    assert {note["path"]: note.get("kept", False) for note in notes} == {
        entry.path: entry.path == "a.txt" for entry in plan.entries
    }


def test_a_fault_leaves_nothing_in_memory(site, memory):
    site.proxy.rules.append(Rule("flip", KEY))
    events = fetch(site.plan, "memory://d", access=Access(endpoint_url=site.proxy.url))
    assert {error.code for error in failures(events).values()} == {"unproved"}
    there = {name for name in memory.find("/d") if "/.bidsplan/receipts/" not in name}
    assert there == {f"/d/{key}" for key in OTHERS}


def test_keys_that_are_no_paths_are_passed_over_in_the_destination(target, tmp_path):
    odd = {f"pre/{key}": b"mine" for key in ("../up", "/lead", "a//b", "dir/", "a.txt/x")}
    target.fill(odd)
    plan = local_plan(tmp_path, FILES)
    for action in (Action.FETCH, Action.KEEP):
        assert {found for found, _ in finished(to_bucket(plan, target)).values()} == {action}
    assert target.files() == {**odd, **{f"pre/{key}": data for key, data in FILES.items()}}


def test_the_destination_has_an_endpoint_of_its_own(rclone, s3, bucket, tmp_path, capsys):
    bucket.fill(FILES)
    plan = tmp_path / "p.plan.jsonl"
    write_plan(plan_over(f"s3://{bucket.name}", FILES), plan)
    other = Bucket(rclone.url, f"{bucket.name}-other")
    command = ["fetch", str(plan), f"s3://{other.name}/d", "--dest-endpoint-url", rclone.url]
    assert run(command) == 0
    assert f"from {bucket.endpoint}; to {rclone.url};" in capsys.readouterr().out
    there = rclone.root / other.name / "d"
    assert {key: (there / key).read_bytes() for key in FILES} == FILES


def test_requests_are_signed_though_the_source_is_public(s3, bucket, proxy):
    target = Bucket(bucket.endpoint, f"{bucket.name}-target")
    bucket.fill(FILES)
    plan = plan_over(f"s3://{bucket.name}", FILES)
    fetch(plan, f"s3://{target.name}/d", access=Access(endpoint_url=proxy.url))
    assert proxy.keys == {"test"}
    proxy.keys.clear()
    fetch(plan, f"s3://{target.name}/d", access=Access(endpoint_url=proxy.url, anonymous=True))
    assert proxy.keys == {"test"}
