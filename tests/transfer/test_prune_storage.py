"""Pruning a destination in storage: by what receipts say, as in a directory."""

from __future__ import annotations

import json

import pytest

from bidsplan.cli.main import run
from bidsplan.errors import UsageError
from bidsplan.events import Kept, KeptReason, Pruned, PruneFailed
from bidsplan.plan.file import write_plan
from bidsplan.storage import Access
from bidsplan.transfer.removal import prune
from plans import fetch, finished, local_plan, plan_of, plan_over
from servers import Rule

FILES = {
    "README": b"read me",
    "sub-1/x.json": b"{}",
    "sub-2/odd a+b [x]?\u00e9.txt": b"odd",
    "sub-2/x.json": b"{}",
}
OLD = [path for path in FILES if path.startswith("sub-2/")]


class S3Place:
    def __init__(self, bucket):
        self.url, self._bucket = f"s3://{bucket.name}/pre", bucket

    def put(self, path, data):
        self._bucket.put(f"pre/{path}", data)

    def files(self):
        return self._bucket.files("pre/")

    def receipts(self):
        page = self._bucket.get("?list-type=2&prefix=pre/.bidsplan/receipts/").decode()
        return page.count("<Key>")


class MemoryPlace:
    url = "memory://d"

    def __init__(self, fs):
        self._fs = fs

    def put(self, path, data):
        self._fs.pipe_file(f"/d/{path}", data)

    def files(self):
        return {
            path.removeprefix("/d/"): self._fs.cat_file(path)
            for path in self._fs.find("/d")
            if "/.bidsplan/" not in path
        }

    def receipts(self):
        return sum("/d/.bidsplan/receipts/" in path for path in self._fs.find("/d"))


@pytest.fixture(params=["s3", "memory"])
def place(request):
    if request.param == "memory":
        return MemoryPlace(request.getfixturevalue("memory"))
    request.getfixturevalue("s3")
    return S3Place(request.getfixturevalue("bucket"))


@pytest.fixture
def plan(tmp_path, place):
    """Fetch a study, and give the plan of less than that."""
    whole = local_plan(tmp_path, FILES)
    fetch(whole, place.url, access=Access())
    entries = [entry for entry in whole.entries if entry.path not in OLD]
    return plan_of(entries, whole.header.roots[0].url)


def pruned(plan, place, **options):
    events = list(prune(plan, place.url, access=Access(), **options))
    removed = [event.path for event in events if isinstance(event, Pruned)]
    return removed, {event.path: event.why for event in events if isinstance(event, Kept)}


def test_what_is_no_longer_planned_goes(plan, place):
    assert pruned(plan, place, dry_run=True) == (OLD, {})
    assert place.files() == FILES
    asked = []
    assert pruned(plan, place, agree=asked.append) == ([], {})
    assert [event.path for event in asked[0]] == OLD
    assert pruned(plan, place) == (OLD, {})
    assert place.files().keys() == {"README", "sub-1/x.json"}
    assert place.receipts() == 1
    assert pruned(plan, place) == ([], {})
    assert len(finished(fetch(plan, place.url, access=Access()))) == 2


def test_what_others_brought_or_changed_is_reported_and_stays(plan, place):
    place.put("mine.txt", b"mine")
    place.put("sub-2/x.json", b"[]")
    kept = {"mine.txt": KeptReason.FOREIGN, "sub-2/x.json": KeptReason.CHANGED}
    assert pruned(plan, place) == (OLD[:1], kept)
    assert place.files()["sub-2/x.json"] == b"[]"
    # A planned file is kept whatever it holds.
    place.put("README", b"mine")
    assert pruned(plan, place, everything=True) == (["mine.txt", "sub-2/x.json"], {})
    assert place.files() == {"README": b"mine", "sub-1/x.json": b"{}"}


def test_all_spares_what_is_hidden_and_other_destinations(plan, place):
    spared = {
        ".git/config": b"",
        "code/.git/HEAD": b"",
        ".bidsignore": b"",
        "sub-2/.mine": b"",
        "inner/x.txt": b"x",
    }
    for path, data in spared.items():
        place.put(path, data)
    place.put("inner/.bidsplan/README", b"x")
    assert pruned(plan, place, everything=True) == (OLD, {})
    assert place.files().keys() == {"README", "sub-1/x.json", *spared}
    assert place.receipts() == 1


def test_markers_of_directories_are_no_files_to_remove(plan, place):
    markers = {"sub-2_$folder$", "sub-1/anat_$folder$"}
    for path in markers:
        place.put(path, b"")
    place.put("notes_$folder$", b"x")
    assert pruned(plan, place, everything=True) == (["notes_$folder$", *OLD], {})
    assert place.files().keys() == {"README", "sub-1/x.json", *markers}


def test_what_was_only_compared_and_kept_is_someone_elses(tmp_path, place):
    for path, data in FILES.items():
        place.put(path, data)
    whole = local_plan(tmp_path, FILES)
    fetch(whole, place.url, access=Access())
    removed, kept = pruned(plan_of([], str(tmp_path / "source")), place)
    assert (removed, set(kept.values())) == ([], {KeptReason.FOREIGN})
    assert place.files() == FILES


def test_a_file_that_changes_meanwhile_stays(plan, place):
    def change(_found):
        place.put("sub-2/x.json", b"mended")
        return True

    assert pruned(plan, place, agree=change) == (OLD[:1], {"sub-2/x.json": KeptReason.CHANGED})
    assert place.files()["sub-2/x.json"] == b"mended"


def test_where_the_files_come_from_is_left_alone(place):
    for path, data in FILES.items():
        place.put(path, data)
    with pytest.raises(UsageError, match="the plan's own files come from there"):
        pruned(plan_over(place.url, {}), place, everything=True)
    above = place.url.removesuffix("/pre") if "s3" in place.url else "memory://"
    with pytest.raises(UsageError, match="the plan's own files come from there"):
        pruned(plan_over(above, {}), place, everything=True)
    inside = plan_over(f"{place.url}/sub-2", {})
    assert pruned(inside, place, everything=True) == (["README", "sub-1/x.json"], {})


def test_what_can_not_be_removed_is_reported_and_the_rest_goes(counted, bucket, tmp_path):
    whole = local_plan(tmp_path, FILES)
    url = f"s3://{bucket.name}/pre"
    fetch(whole, url, access=Access())
    counted.rules.append(Rule("status", "/sub-2/x.json", method="DELETE", status=403))
    events = list(prune(plan_of([], whole.header.roots[0].url), url, access=Access()))
    [failed] = [event for event in events if isinstance(event, PruneFailed)]
    assert (failed.path, failed.error.code) == ("sub-2/x.json", "denied")
    assert sum(isinstance(event, Pruned) for event in events) == len(FILES) - 1
    assert bucket.files("pre/") == {"sub-2/x.json": b"{}"}


def test_the_command_takes_a_url(plan, place, tmp_path, capsys):
    write_plan(plan, tmp_path / "p.plan.jsonl")
    assert run(["prune", str(tmp_path / "p.plan.jsonl"), place.url, "--yes", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows[:-1]] == OLD
    assert rows[-1]["removed"] == len(OLD)


@pytest.mark.parametrize(
    "spelling",
    [
        "https://{bucket}.s3.amazonaws.com/pre/raw",
        "https://s3.us-east-1.amazonaws.com/{bucket}/pre/raw",
        "s3a://{bucket}/pre/raw",
    ],
)
def test_a_root_is_spared_however_its_url_is_written(bucket, s3, spelling):
    for key in ("pre/raw/a.txt", "pre/other.txt"):
        bucket.put(key, b"data")
    plan = plan_over(spelling.format(bucket=bucket.name), {})
    place = S3Place(bucket)
    access = Access(allow_protocols=frozenset({"s3a"}))
    events = list(prune(plan, place.url, access=access, everything=True, dry_run=True))
    assert [event.path for event in events] == ["other.txt"]
