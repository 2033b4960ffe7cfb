"""Deciding: what stands in the destination is kept, replaced or refused, and why is said."""

from __future__ import annotations

import os
import threading
import time

import pytest

from bidsplan.errors import UrlError
from bidsplan.events import Action, Decided, Finished
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from bidsplan.transfer import scheduler
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.verification import verify
from plans import (
    FILES,
    failures,
    fetch,
    finished,
    leftovers,
    local_plan,
    md5,
    moved,
    plan_of,
    plan_over,
    tree,
    write_files,
)
from servers import Rule

IMAGE = "sub-1/anat/image.nii.gz"


@pytest.fixture
def s3_plan(bucket):
    bucket.fill(FILES)
    return plan_over(f"s3://{bucket.name}", FILES)


@pytest.fixture
def access(proxy):
    return Access(endpoint_url=proxy.url)


def messages(events):
    return {path: str(error) for path, error in failures(events).items()}


def test_refusals_say_what_stands_there_and_what_to_do(s3_plan, access, tmp_path):
    folder = tmp_path / "d"
    write_files(folder, {"a.txt": b"hellO", IMAGE: b"short"})
    (folder / "sub-1" / "empty").symlink_to(tmp_path)
    why = "a different file already exists; it was not changed"
    hint = "'--existing replace' replaces it"
    tags = f"by etag-md5, expected {md5(b'hello')}, got {md5(b'hellO')}"
    assert messages(fetch(s3_plan, folder, access=access)) == {
        "a.txt": f"a.txt: {why}; {tags}; {hint}",
        IMAGE: f"{IMAGE}: {why}; expected {len(FILES[IMAGE])} bytes, got 5; {hint}",
        "sub-1/empty": "sub-1/empty: a link or a directory exists there, and only regular files "
        "are replaced; move it away",
    }


def test_links_are_refused_even_where_files_are_replaced(s3_plan, access, tmp_path):
    folder, target = tmp_path / "d", tmp_path / "target"
    folder.mkdir()
    target.write_bytes(b"mine")
    (folder / "a.txt").symlink_to(target)
    events = fetch(s3_plan, folder, access=access, existing=Existing.REPLACE)
    assert list(failures(events)) == ["a.txt"]
    assert target.read_bytes() == b"mine"


def test_refuse_takes_what_bidsplan_brought_for_its_own(s3_plan, access, tmp_path):
    folder = tmp_path / "d"
    fetch(s3_plan, folder, access=access)
    events = fetch(s3_plan, folder, access=access, existing=Existing.REFUSE)
    assert {action for action, _ in finished(events).values()} == {Action.KEEP}
    other = tmp_path / "other"
    write_files(other, {"a.txt": b"hello"})
    found = messages(fetch(s3_plan, other, access=access, existing=Existing.REFUSE))
    assert found == {
        "a.txt": "a.txt: a file exists that bidsplan did not fetch; it was not changed; "
        "'--existing keep' compares it with the plan"
    }


@pytest.mark.parametrize("existing", list(Existing))
@pytest.mark.parametrize(("found", "left"), [(FILES[IMAGE], None), (b"mine", b"mine")])
def test_what_others_put_there_meanwhile_is_not_overwritten(
    s3_plan, proxy, access, tmp_path, existing, found, left
):
    folder = tmp_path / "d"
    hook = lambda: write_files(folder, {IMAGE: found})  # noqa: E731
    proxy.rules.append(Rule("call", "image", times=1, hook=hook))
    events = fetch(s3_plan, folder, access=access, existing=existing)
    if left is None:
        assert not failures(events)
        assert finished(events)[IMAGE][0] is Action.KEEP
    elif existing is Existing.REPLACE:
        assert finished(events)[IMAGE] == (Action.REPLACE, CheckMethod.ETAG_MD5)
        assert tree(folder) == FILES
    else:
        assert {path: error.code for path, error in failures(events).items()} == {IMAGE: "existing"}
        assert tree(folder)[IMAGE] == left
    assert leftovers(folder) == []


def test_without_a_digest_an_existing_file_is_compared_with_the_source(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    write_files(folder, FILES)
    before = (folder / "a.txt").stat()
    events = fetch(plan, folder)
    assert finished(events)["a.txt"] == (Action.KEEP, CheckMethod.SIZE)
    assert {e.action for e in events if isinstance(e, Decided)} == {Action.COMPARE}
    assert (folder / "a.txt").stat().st_ino == before.st_ino


def test_every_entry_is_decided_before_it_is_finished_and_progress_adds_up(
    s3_plan, access, tmp_path
):
    folder = tmp_path / "d"
    write_files(folder, {"a.txt": b"hello"})
    events = fetch(s3_plan, folder, access=access)
    for entry in s3_plan.entries:
        own = [e for e in events if getattr(e, "entry", None) is entry]
        assert isinstance(own[0], Decided)
        assert isinstance(own[-1], Finished)
        assert moved(events, entry.path) == (0 if entry.path == "a.txt" else entry.size)


def test_generated_files_count_as_progress(tmp_path):
    entry = Entry(path="dataset_description.json", size=2, reason="dataset", content="{}")
    events = fetch(plan_of([entry], "s3://b"), tmp_path / "d")
    assert moved(events, entry.path) == 2


def test_a_destination_may_be_a_file_url(tmp_path):
    fetch(local_plan(tmp_path), f"file://{tmp_path}/d")
    assert tree(tmp_path / "d") == FILES


def test_a_destination_is_refused_without_repeating_it(tmp_path):
    with pytest.raises(UrlError) as caught:
        fetch(local_plan(tmp_path), "s3://user:secret@bucket/x")
    assert str(caught.value) == (
        "the destination's URL is refused: it holds a user name or password; credentials come "
        "from the environment"
    )


def test_a_root_that_is_refused_stops_the_run(tmp_path):
    with pytest.raises(UrlError):
        fetch(plan_over("ftp://host/x", FILES), tmp_path / "d")
    assert tree(tmp_path / "d") == {}


def test_changed_objects_are_told_with_both_tags(s3_plan, bucket, access, tmp_path):
    bucket.put("a.txt", b"HELLO")
    error = failures(fetch(s3_plan, tmp_path / "d", access=access))["a.txt"]
    tags = f": the planned entity tag is {md5(b'hello')}, now it is {md5(b'HELLO')}"
    assert f"{tags} at {access.endpoint_url}; compile the plan again" in str(error)


def test_what_broke_off_is_asked_for_from_there_on(s3_plan, proxy, access, tmp_path):
    proxy.rules.append(Rule("cut", "image", times=1))
    events = fetch(s3_plan, tmp_path / "d", access=access)
    assert tree(tmp_path / "d") == FILES
    taken_back = [e.bytes for e in events if getattr(e, "bytes", 0) < 0]
    assert taken_back == []


def test_stopping_does_not_wait_for_what_had_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "_PATIENCE", 60.0)
    files = {f"{number:03}": bytes([number]) for number in range(200)}
    events = materialise(local_plan(tmp_path, files), tmp_path / "d", access=Access(jobs=1))
    next(event for event in events if isinstance(event, Finished))
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 20
    assert 0 < len(tree(tmp_path / "d")) < len(files)


def test_stopping_does_not_wait_for_a_server_that_hangs(
    s3_plan, proxy, access, tmp_path, monkeypatch
):
    monkeypatch.setattr(scheduler, "_PATIENCE", 0.2)
    folder, released, asked = tmp_path / "d", threading.Event(), threading.Event()

    def hang():
        asked.set()
        released.wait(60)

    proxy.rules.append(Rule("call", "image", hook=hang))
    events = materialise(s3_plan, folder, access=access)
    for event in events:
        if isinstance(event, Finished):
            assert asked.wait(30)
            break
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 8
    there = tree(folder)
    released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("bidsplan"):
            thread.join(30)
    assert tree(folder) == there
    assert IMAGE not in there
    assert leftovers(folder) == []


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("remote", [True, False])
def test_an_update_replaces_only_what_bidsplan_fetched_and_nobody_changed(
    s3, bucket, tmp_path, local, remote
):
    old = {"a": b"old", "same": b"same", "longer": b"1", "edited": b"one", "foreign": b"mine"}
    new = {"a": b"new", "same": b"same", "longer": b"12", "edited": b"two", "foreign": b"your"}
    folder = tmp_path / "d"
    destination = f"s3://{bucket.name}/copy" if remote else folder

    def planned(files):
        if local:
            return local_plan(tmp_path, files)
        bucket.fill({f"source/{key}": data for key, data in files.items()})
        return plan_over(f"s3://{bucket.name}/source", files)

    def put(files):
        if remote:
            bucket.fill({f"copy/{key}": data for key, data in files.items()})
        else:
            write_files(folder, files)

    put({"foreign": b"mine"})
    assert not failures(fetch(planned(old), destination))
    put({"edited": b"own"})
    plan = planned(new)
    found = failures(fetch(plan, destination))
    assert {path: error.help_code for path, error in found.items()} == {
        "a": "BP712",
        "longer": "BP712",
        "edited": "BP701",
        "foreign": "BP701",
    }
    outdated = {"a", "longer"}
    errors = failures(verify(plan, destination))
    if not local:
        assert {path for path, error in errors.items() if error.code == "outdated"} == outdated
    events = fetch(plan, destination, existing="update")
    assert {path for path, (action, _) in finished(events).items() if action is Action.REPLACE} == (
        outdated
    )
    assert set(failures(events)) == {"edited", "foreign"}
    left = bucket.files("copy/") if remote else tree(folder)
    assert {path: left[path] for path in new} == {
        **new,
        "edited": b"own",
        "foreign": b"mine",
    }
    assert not set(failures(fetch(plan, destination))) & outdated


def test_an_update_does_not_replace_what_somebody_changes_meanwhile(
    s3_plan, bucket, access, proxy, tmp_path
):
    folder, newer = tmp_path / "d", {**FILES, IMAGE: FILES[IMAGE][::-1], "a.txt": b"later"}
    fetch(s3_plan, folder, access=access)
    bucket.fill(newer)
    plan = plan_over(f"s3://{bucket.name}", newer)
    for path in ("image", "a.txt"):
        hook = lambda: write_files(folder, {IMAGE: b"mine", "a.txt": b"mine too"})  # noqa: E731
        proxy.rules.append(Rule("call", path, times=1, hook=hook))
    events = fetch(plan, folder, access=access, existing="update")
    assert {error.code for error in failures(events).values()} == {"existing"}
    assert tree(folder)[IMAGE] == b"mine"


def test_a_damaged_file_of_an_earlier_plan_is_not_updated(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    before = (folder / "a.txt").stat()
    (folder / "a.txt").write_bytes(b"hellO")
    os.utime(folder / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    newer = local_plan(tmp_path, {**FILES, "a.txt": b"later"})
    found = failures(fetch(newer, folder))
    assert found["a.txt"].help_code == "BP701"
    assert "a.txt" in failures(fetch(newer, folder, existing="update"))
