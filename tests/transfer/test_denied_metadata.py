"""A storage may allow to read objects and deny their metadata: they are read without."""

from __future__ import annotations

import pytest

from bidsplan.errors import CredentialsError, ExistingFileError, UnprovedError
from bidsplan.events import Action
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access, Transport
from plans import FILES, failures, fetch, finished, md5, plan_of, plan_over, tree
from servers import Rule

IMAGE = "sub-1/anat/image.nii.gz"
PART = 5_500_000


@pytest.fixture(params=[Transport.OBSTORE, Transport.FSSPEC])
def access(request):
    return Access(transport=request.param)


@pytest.fixture
def source(counted, bucket):
    bucket.fill({f"x/{key}": data for key, data in FILES.items()})
    counted.rules.append(Rule("status", "/x/", status=403, method="HEAD"))
    return f"s3://{bucket.name}/x"


def damage(folder, key):
    """Change a file's bytes, and not its size."""
    data = bytearray(FILES[key])
    data[0] ^= 1
    (folder / key).write_bytes(data)


@pytest.mark.parametrize("key", ["a.txt", IMAGE], ids=["whole", "streamed"])
def test_a_damaged_file_of_unchanged_size_is_found_and_replaced(source, tmp_path, access, key):
    plan, folder = plan_over(source, FILES), tmp_path / "d"
    assert failures(fetch(plan, folder, access=access)) == {}
    damage(folder, key)
    [error] = failures(fetch(plan, folder, access=access)).values()
    assert isinstance(error, ExistingFileError)
    assert "a different file already exists; it was not changed" in str(error)
    events = fetch(plan, folder, access=access, existing="replace")
    assert failures(events) == {}
    assert {path: action for path, (action, _) in finished(events).items()} == {
        path: Action.REPLACE if path == key else Action.KEEP for path in FILES
    }
    assert tree(folder) == FILES


def test_files_that_only_a_checksum_would_prove_come_by_their_size(source, tmp_path, access):
    events = fetch(plan_over(source, FILES, tags=False), tmp_path / "d", access=access)
    assert failures(events) == {}
    assert {proof for _, proof in finished(events).values()} == {CheckMethod.SIZE}


def planned(key, size, etag):
    return Entry(path=key, key=key, size=size, reason="selected", etag=etag)


def test_an_object_in_parts_is_fetched_without_its_checksum(source, bucket, tmp_path, access):
    # A size of parts that nobody guesses, so that a checksum would be the only proof.
    body = bytes(2 * PART + 1)
    tag = bucket.put_in_parts("x/parts.nii", body, PART)
    plan = plan_of([planned("parts.nii", len(body), tag)], source)
    events = fetch(plan, tmp_path / "d", access=access)
    assert failures(events) == {}
    assert finished(events) == {"parts.nii": (Action.FETCH, CheckMethod.SIZE)}
    assert tree(tmp_path / "d") == {"parts.nii": body}


def test_bytes_that_no_tag_proves_are_not_taken(source, tmp_path, access, counted):
    headers = {"ETag": f'"{md5(b"else")}"'}
    counted.rules.insert(0, Rule("unbind", "/x/a.txt", headers=headers))
    plan = plan_of([planned("a.txt", len(FILES["a.txt"]), md5(b"else"))], source)
    [error] = failures(fetch(plan, tmp_path / "d", access=access)).values()
    assert isinstance(error, UnprovedError), error
    assert tree(tmp_path / "d") == {}


def test_credentials_that_end_are_told_as_such(source, tmp_path, access, counted):
    # The answer to HEAD has no body that says so.
    counted.rules.append(Rule("status", status=403, code="ExpiredToken"))
    entries = [planned(key, len(data), "opaque-1") for key, data in FILES.items()]
    errors = failures(fetch(plan_of(entries, source), tmp_path / "d", access=access)).values()
    assert {type(error) for error in errors} == {CredentialsError}
