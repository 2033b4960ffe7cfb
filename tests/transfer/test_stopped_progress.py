"""A run that is stopped reports the bytes that it keeps for the next one, and no others."""

from __future__ import annotations

import pytest

from bidsplan.events import Finished, Progressed, Resumable, Resumed, Skipped
from bidsplan.storage import Access, Transport
from bidsplan.transfer.materialisation import materialise
from plans import plan_over, tree

KEY = "sub-1/x.nii"


def run(plan, folder, transport, *, until, rate=None):
    """Run a plan, and stop once so many bytes of its file have come."""
    stopping, events, came = [], [], 0
    access = Access(transport=transport, limit_rate=rate)
    for event in materialise(plan, folder, access=access, stopping=lambda: bool(stopping)):
        events.append(event)
        came += event.bytes if isinstance(event, Progressed) else 0
        if came >= until:
            stopping.append(True)
    return events


def total(events, kind):
    return sum(event.bytes for event in events if isinstance(event, kind))


@pytest.mark.parametrize("transport", [Transport.OBSTORE, Transport.FSSPEC])
@pytest.mark.parametrize("size", [9 << 20, 40 << 20], ids=["streamed", "ranged"])
def test_kept_bytes_are_reported_once(counted, bucket, tmp_path, transport, size):
    files = {KEY: bytes(size)}
    bucket.fill({f"x/{key}": data for key, data in files.items()})
    plan = plan_over(f"s3://{bucket.name}/x", files)
    stopped = run(plan, tmp_path / "d", transport, until=size // 4, rate=size)
    assert any(isinstance(event, Skipped) for event in stopped)
    assert size // 4 <= total(stopped, Progressed) < size
    # The last block of a range may be there in part, and what is in a buffer is not on the disk.
    assert abs(total(stopped, Resumable) - total(stopped, Progressed)) <= 16 << 20
    rest = run(plan, tmp_path / "d", transport, until=size + 1)
    assert total(rest, Progressed) + total(rest, Resumed) == size
    assert total(rest, Resumed) > 0
    assert [type(event) for event in rest].count(Finished) == 1
    assert tree(tmp_path / "d") == files


@pytest.mark.parametrize("to_storage", [False, True], ids=["directory", "bucket"])
def test_bytes_that_are_lost_are_taken_back(counted, bucket, tmp_path, to_storage):
    """Nothing binds the file to its object, or the destination keeps no unfinished files."""
    files = {KEY: bytes(9 << 20)}
    bucket.fill({f"x/{key}": data for key, data in files.items()})
    plan = plan_over(f"s3://{bucket.name}/x", files, tags=to_storage)
    folder = f"s3://{bucket.name}/copy" if to_storage else tmp_path / "d"
    stopped = run(plan, folder, Transport.OBSTORE, until=2 << 20, rate=9 << 20)
    assert any(event.bytes < 0 for event in stopped if isinstance(event, Progressed))
    assert (total(stopped, Progressed), total(stopped, Resumable)) == (0, 0)
