"""What receipts say of a destination, looked up without reading any file of it."""

from __future__ import annotations

import os

import pytest

from bidsplan.errors import DestinationError
from bidsplan.events import Failed, Finished
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from bidsplan.transfer.materialisation import materialise
from bidsplan.transfer.receipt_check import check_receipts
from plans import plan_over
from servers import Bucket

FILES = {"README": b"read me", "sub-1/anat/sub-1_T1w.nii.gz": b"x" * 1000, "sub-2/empty": b""}
IMAGE = "sub-1/anat/sub-1_T1w.nii.gz"


@pytest.fixture
def access(bucket):
    bucket.fill(FILES)
    return Access(endpoint_url=bucket.endpoint, anonymous=True)


def looked_up(plan, destination, access):
    """Give the proof of each path, or the code of what is wrong with it."""
    return {
        event.entry.path: event.proof if isinstance(event, Finished) else event.error.code
        for event in check_receipts(plan, destination, access=access)
    }


def fetch(plan, destination, access):
    events = list(materialise(plan, destination, access=access))
    assert not [event for event in events if isinstance(event, Failed)]


def test_a_directory_is_recalled_and_not_read(bucket, access, tmp_path):
    plan = plan_over(f"s3://{bucket.name}", FILES)
    fetch(plan, tmp_path, access)
    assert looked_up(plan, tmp_path, access) == dict.fromkeys(FILES, CheckMethod.ETAG_MD5)
    (tmp_path / "README").unlink()
    state = (tmp_path / IMAGE).stat()
    (tmp_path / IMAGE).write_bytes(b"y" * 1000)
    assert looked_up(plan, tmp_path, access) == {
        "README": "missing",
        IMAGE: "unproved",
        "sub-2/empty": CheckMethod.ETAG_MD5,
    }
    (tmp_path / IMAGE).write_bytes(b"y")
    assert looked_up(plan, tmp_path, access)[IMAGE] == "existing"
    # Only reading would find a change that hides itself.
    (tmp_path / IMAGE).write_bytes(b"y" * 1000)
    os.utime(tmp_path / IMAGE, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert looked_up(plan, tmp_path, access)[IMAGE] is CheckMethod.ETAG_MD5


def test_a_plan_of_other_bytes_is_not_proved_by_old_receipts(bucket, access, tmp_path):
    fetch(plan_over(f"s3://{bucket.name}", FILES), tmp_path, access)
    other = plan_over(f"s3://{bucket.name}", {**FILES, IMAGE: b"z" * 1000})
    assert looked_up(other, tmp_path, access)[IMAGE] == "unproved"


def test_a_destination_in_storage_is_recalled(bucket, access, s3):
    target = Bucket(bucket.endpoint, f"{bucket.name}-copy")
    plan, url = plan_over(f"s3://{bucket.name}", FILES), f"s3://{target.name}/copy"
    fetch(plan, url, access)
    assert looked_up(plan, url, access) == dict.fromkeys(FILES, CheckMethod.ETAG_MD5)
    target.delete("copy/README")
    assert looked_up(plan, url, access)["README"] == "missing"


def test_a_directory_that_is_not_there_is_an_error(bucket, access, tmp_path):
    with pytest.raises(DestinationError, match="nowhere"):
        looked_up(plan_over(f"s3://{bucket.name}", FILES), tmp_path / "nowhere", access)
    assert not (tmp_path / "nowhere").exists()
