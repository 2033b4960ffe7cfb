"""Verifying: every byte is read, and what it was shown by is said."""

from __future__ import annotations

import os
import resource
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bidsplan.destination import open_destination
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.receipts import Receipt, ReceiptWriter
from bidsplan.destination.sources import Sources
from bidsplan.errors import IntegrityError, MissingFileError, UnprovedError
from bidsplan.events import Action, Decided, Warned
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from bidsplan.transfer.doubts import Doubts
from bidsplan.transfer.receipt_check import check_receipts
from bidsplan.transfer.verification import verify
from lab import limited
from plans import (
    FILES,
    failures,
    fetch,
    finished,
    local_plan,
    md5,
    plan_of,
    plan_over,
    write_files,
)
from servers import Rule


def one(path, data, **fields):
    return Entry(path=path, key=path, size=len(data), reason="selected", **fields)


def proofs(events):
    return {path: proof for path, (_, proof) in finished(events).items()}


def test_each_file_is_shown_by_the_strongest_that_is_known(tmp_path):
    data = b"hello"
    entries = [
        one(
            "1-sha256",
            data,
            sha256="2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ),
        one("2-md5", data, md5=md5(data), etag="opaque"),
        one("3-etag", data, etag=md5(data)),
        one("4-multipart", data, etag=f"{md5(bytes.fromhex(md5(data)))}-1"),
        one("5-opaque", data, etag="0x8D4BCC2E4835CD0"),
        one("6-nothing", data),
    ]
    write_files(tmp_path / "d", {entry.path: data for entry in entries})
    assert list(proofs(verify(plan_of(entries, "s3://b"), tmp_path / "d")).values()) == [
        CheckMethod.SHA256,
        CheckMethod.MD5,
        CheckMethod.ETAG_MD5,
        CheckMethod.MULTIPART,
        CheckMethod.SIZE,
        CheckMethod.SIZE,
    ]


def test_local_sources_are_shown_by_what_was_noted_when_they_came(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    assert set(proofs(verify(plan, folder)).values()) == {CheckMethod.RECEIPT}


@pytest.mark.parametrize("position", [0, 1 << 20, -1])
def test_one_changed_byte_is_found_wherever_it_is(tmp_path, position):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    victim = folder / "sub-1/anat/image.nii.gz"
    before = victim.stat()
    data = bytearray(victim.read_bytes())
    data[position] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(failures(verify(plan, folder))) == ["sub-1/anat/image.nii.gz"]


def test_messages_say_what_was_expected_and_what_to_do(tmp_path):
    files = {"a": b"hello", "b": b"hello", "c": b"hello"}
    plan, folder = plan_over("s3://b", files), tmp_path / "d"
    write_files(folder, {"a": b"hellO", "b": b"hell"})
    errors = failures(verify(plan, folder))
    hint = "fetch again with '--existing replace' to replace it"
    assert {path: str(error) for path, error in errors.items()} == {
        "a": f"a: not shown to be the planned file: by etag-md5, expected {md5(b'hello')}, got "
        f"{md5(b'hellO')}; it differs, or its entity tag is no MD5, and no receipt of it shows "
        f"which; {hint}",
        "b": f"b: not the planned file: by size, expected 5 bytes, got 4 bytes; {hint}",
        "c": "c: there is no such file; fetch the plan to get it",
    }
    assert [type(error) for error in errors.values()] == [
        UnprovedError,
        IntegrityError,
        MissingFileError,
    ]


def test_an_encrypted_objects_tag_is_known_to_be_none_from_its_receipt(tmp_path):
    folder = tmp_path / "d"
    plan = plan_of([one("a", b"hello", etag="a" * 32)], "s3://b")
    write_files(folder, {"a": b"hello"})
    assert {error.code for error in failures(verify(plan, folder)).values()} == {"unproved"}
    destination = LocalDestination(str(folder), create=False)
    notes = ReceiptWriter(destination.write_receipts)
    notes.add(
        Receipt(
            path="a",
            size=5,
            mtime_ns=0,
            source=Sources(plan.header.roots, Access()).fingerprint(plan.entries[0]),
            content="b5e9c1ad071b3e7fc779cfaa5e523818",
            proof=CheckMethod.SIZE,
            etag_is_not_digest=True,
        )
    )
    notes.flush()
    destination.close()
    assert proofs(verify(plan, folder)) == {"a": CheckMethod.RECEIPT}
    (folder / "a").write_bytes(b"hellO")
    assert {error.code for error in failures(verify(plan, folder)).values()} == {"corrupt"}


def test_a_file_whose_tag_is_no_digest_is_not_out_of_date_at_another_endpoint(
    bucket, proxy, tmp_path
):
    bucket.fill({"a.txt": b"hello"})
    tagged = {"x-amz-server-side-encryption": "aws:kms", "Content-Length": "5"}
    answer = {"ETag": f'"{md5(b"other")}"'}
    proxy.rules += [
        Rule("status", "a.txt", status=200, headers=tagged, method="HEAD"),
        Rule("status", "a.txt", status=200, headers=answer, body=b"hello"),
    ]
    plan, folder = plan_over(f"s3://{bucket.name}", {"a.txt": b"other"}), tmp_path / "d"
    access = Access(endpoint_url=proxy.url)
    assert not failures(fetch(plan, folder, access=access))
    assert proofs(verify(plan, folder, access=access)) == {"a.txt": CheckMethod.RECEIPT}
    assert [error.code for error in failures(verify(plan, folder)).values()] == ["unproved"]


def test_entries_are_told_in_the_plans_order_by_any_number_of_readers(tmp_path):
    files = {f"{number:04}": os.urandom(number % 50) for number in range(600)}
    plan, folder = local_plan(tmp_path, files), tmp_path / "d"
    fetch(plan, folder)
    for jobs in (1, 7):
        assert [event.entry.path for event in verify(plan, folder, jobs=jobs)] == sorted(files)


def test_verifying_makes_no_request_and_writes_nothing(bucket, proxy, tmp_path):
    bucket.fill(FILES)
    plan, folder = plan_over(f"s3://{bucket.name}", FILES), tmp_path / "d"
    fetch(plan, folder, access=Access(endpoint_url=proxy.url))
    assert proxy.requests
    proxy.requests.clear()
    before = sorted((path, path.lstat().st_mtime_ns) for path in folder.rglob("*"))
    assert not failures(verify(plan, folder))
    assert proxy.requests == []
    assert sorted((path, path.lstat().st_mtime_ns) for path in folder.rglob("*")) == before


def test_what_is_no_plain_file_is_told_and_not_waited_for(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    folder.mkdir()
    os.mkfifo(folder / "a.txt")
    (folder / "sub-1" / "empty").mkdir(parents=True)
    codes = {path: error.code for path, error in failures(verify(plan, folder)).items()}
    assert codes == {
        "a.txt": "corrupt",
        "sub-1/anat/image.nii.gz": "missing",
        "sub-1/empty": "existing",
    }


def test_a_destination_that_is_not_there_is_an_error_and_is_not_made(tmp_path):
    with pytest.raises(MissingFileError, match="there is no such directory; fetch the plan"):
        list(verify(local_plan(tmp_path), tmp_path / "d"))
    assert not (tmp_path / "d").exists()


def is_open(path):
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if link.readlink() == path:
                return True
    return False


def test_closing_stops_readers_in_the_middle_of_a_file(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    sizes = {"0": 0, "1": 200 << 30}
    for name, size in sizes.items():
        # A file with nothing in it takes no room, and minutes to read.
        with (folder / name).open("wb") as file:
            file.truncate(size)
    entries = [
        Entry(path=name, key=name, size=size, reason="selected") for name, size in sizes.items()
    ]
    events = verify(plan_of(entries, "s3://b"), folder, jobs=2)
    assert next(events).entry.path == "0"
    end = time.monotonic() + 30
    while not is_open(folder / "1") and time.monotonic() < end:
        time.sleep(0.01)
    assert is_open(folder / "1")
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 10
    assert not [t for t in threading.enumerate() if t.name.startswith("bidsplan-verify")]


def rot(path):
    """Change a byte, as a failing disk does: neither the size nor the time shows it."""
    before = path.stat()
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("local", [True, False])
def test_a_file_that_was_found_wrong_is_not_kept_by_its_receipt(bucket, tmp_path, local):
    bucket.fill(FILES)
    plan = local_plan(tmp_path) if local else plan_over(f"s3://{bucket.name}", FILES)
    options = {} if local else {"access": Access(endpoint_url=bucket.endpoint)}
    folder = tmp_path / "d"
    fetch(plan, folder, **options)
    rot(folder / "a.txt")
    for _ in range(2):
        assert list(failures(verify(plan, folder, **options))) == ["a.txt"]
        assert "a.txt" in failures(fetch(plan, folder, **options))
        assert "a.txt" in failures(check_receipts(plan, folder, **options))
    found = finished(fetch(plan, folder, existing="replace", **options))
    assert [path for path, (action, _) in found.items() if action is not Action.KEEP] == ["a.txt"]
    assert not failures(verify(plan, folder, **options))
    assert not failures(check_receipts(plan, folder, **options))


def test_a_file_that_is_right_after_all_is_kept_by_its_receipt_again(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    for _ in range(2):
        rot(folder / "a.txt")
        assert list(failures(verify(plan, folder))) == ["a.txt"]
        rot(folder / "a.txt")
        decided = [event for event in fetch(plan, folder) if isinstance(event, Decided)]
        assert [event.entry.path for event in decided] == ["a.txt"]
        assert not [event for event in fetch(plan, folder) if isinstance(event, Decided)]


@pytest.mark.parametrize("tags", [True, False])
def test_an_object_that_was_found_wrong_is_read_whatever_its_tag(s3, bucket, tmp_path, tags):
    write_files(tmp_path / "source", FILES)
    plan, url = plan_over(str(tmp_path / "source"), FILES, tags=tags), f"s3://{bucket.name}/copy"
    if tags:
        bucket.fill({f"copy/{key}": data for key, data in FILES.items()})
    fetch(plan, url)
    doubts = Doubts(open_destination(url, Access(), create=False))
    doubts.add(plan.entries[0], Sources(plan.header.roots, Access()).fingerprint(plan.entries[0]))
    doubts.flush()
    decided = [event for event in fetch(plan, url) if isinstance(event, Decided)]
    assert [event.entry.path for event in decided] == ["a.txt"]
    assert not [event for event in fetch(plan, url) if isinstance(event, Decided)]


def test_what_can_not_be_recorded_is_told(tmp_path):
    plan, folder = local_plan(tmp_path), tmp_path / "d"
    fetch(plan, folder)
    rot(folder / "a.txt")
    with limited(resource.RLIMIT_FSIZE, 0):
        events = list(verify(plan, folder))
    assert [str(event.problem) for event in events if isinstance(event, Warned)] == [
        f"{folder}: the receipts of the wrong files could not be changed (File too large), so a "
        "fetch still keeps these files; verify again with permission to write there"
    ]
