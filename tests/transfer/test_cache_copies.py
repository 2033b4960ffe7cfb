"""How a cached content becomes a destination's file: read once, proved, and nothing lost for it."""

from __future__ import annotations

import os
import random
import stat
import tempfile
from pathlib import Path

import pytest

from bidsplan import CacheOptions
from bidsplan.destination import content_cache
from bidsplan.destination.local import LocalWriter
from bidsplan.events import Finished
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from caches import contents, proved_plan
from plans import failures, fetch, finished, leftovers, plan_of, tree
from servers import Bucket, Rule

PARTS = random.Random(4).randbytes(12 << 20)


@pytest.fixture(scope="module")
def uploaded(moto):
    """Give a plan of one object that was uploaded in parts."""
    bucket = Bucket(moto.url, f"copies{os.getpid()}")
    tag = bucket.put_in_parts("sub-01/f.bin", PARTS, 5 << 20)
    key = "sub-01/f.bin"
    entry = Entry(path=key, key=key, size=len(PARTS), reason="selected", etag=tag)
    return plan_of([entry], f"s3://{bucket.name}")


@pytest.fixture
def access(proxy):
    return Access(endpoint_url=proxy.url, anonymous=True)


def test_parts_are_digested_of_the_bytes_that_were_written(uploaded, access, tmp_path, monkeypatch):
    """Another process mends a wrong byte between the read that is written and any later one."""
    cache = tmp_path / "cache"
    fetch(uploaded, tmp_path / "a", access=access, cache=cache)
    (path,) = contents(cache).values()
    with path.open("r+b") as cached:
        cached.write(bytes([PARTS[0] ^ 1]))
        cached.flush()
        write = LocalWriter.write
        monkeypatch.setattr(content_cache, "clone", lambda *_: False)

        def mend(writer, data):
            os.pwrite(cached.fileno(), PARTS[:1], 0)
            write(writer, data)

        monkeypatch.setattr(LocalWriter, "write", mend)
        events = fetch(uploaded, tmp_path / "b", access=access, cache=cache)
    assert not failures(events)
    assert tree(tmp_path / "b") == {"sub-01/f.bin": PARTS}
    assert finished(events)["sub-01/f.bin"][1] is CheckMethod.MULTIPART


def test_a_wrong_content_costs_no_bytes_of_an_interrupted_file(uploaded, proxy, access, tmp_path):
    cache = tmp_path / "cache"
    fetch(uploaded, tmp_path / "a", access=access, cache=cache)
    (path,) = contents(cache).values()
    proxy.rules.append(Rule("cut", match="f.bin"))
    assert failures(fetch(uploaded, tmp_path / "b", access=access))
    (kept,) = leftovers(tmp_path / "b")
    held = kept.stat().st_blocks * 512
    assert held
    proxy.rules.clear()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    events = fetch(uploaded, tmp_path / "b", access=access, cache=cache)
    (done,) = [event for event in events if isinstance(event, Finished)]
    assert not done.cached
    assert tree(tmp_path / "b") == {"sub-01/f.bin": PARTS}
    assert any(type(event).__name__ == "Resumed" for event in events)


@pytest.fixture
def elsewhere():
    """Give a directory of another file system than that of temporary files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield folder


def test_links_to_another_file_system_are_not_tried(elsewhere, tmp_path, monkeypatch):
    if Path(elsewhere).stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    plan = proved_plan(tmp_path / "source", {"f.bin": PARTS})
    cache = CacheOptions(directory=tmp_path / "cache", link="hard")
    fetch(plan, tmp_path / "a", cache=cache)
    (path,) = contents(tmp_path / "cache").values()
    path.chmod(0o644)
    taken = []
    read = os.pread

    def pread(*arguments):
        taken.append(len(data := read(*arguments)))
        return data

    monkeypatch.setattr(os, "pread", pread)
    events = fetch(plan, elsewhere, cache=cache)
    assert finished(events)["f.bin"][1] is CheckMethod.SHA256
    assert sum(taken) == len(PARTS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_link_is_made_of_what_nobody_may_write_to_any_more(tmp_path, monkeypatch):
    plan = proved_plan(tmp_path / "source", {"f.bin": PARTS})
    fetch(plan, tmp_path / "a", cache=tmp_path / "cache")
    (path,) = contents(tmp_path / "cache").values()
    modes = set()
    read = os.pread

    def pread(*arguments):
        modes.add(stat.S_IMODE(path.stat().st_mode) & 0o222)
        return read(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    cache = CacheOptions(directory=tmp_path / "cache", link="hard")
    fetch(plan, tmp_path / "b", cache=cache)
    assert path.samefile(tmp_path / "b" / "f.bin")
    assert modes == {0}
