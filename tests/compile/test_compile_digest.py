"""``compile --digest``: plans that prove content from the start."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from pathlib import Path

import pytest

from bidsplan.compile import digests as module
from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import SourceChangedError
from bidsplan.events import Digested, Digesting, Progressed
from bidsplan.manifest.load import load_manifest
from bidsplan.plan.file import read_plan
from bidsplan.progress import Counts
from bidsplan.storage import Access, open_store
from plans import fetch, finished, write_files

T1W = "sub-1/anat/sub-1_T1w.nii.gz"
STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "README": b"hello",
    T1W: b"first" * 500_000,
}
OLD = 10**18


def sha256s(files):
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def digests(plan):
    return {entry.path: entry.sha256 for entry in plan.entries}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bidsplan" / "digests-1.sqlite"


@pytest.fixture
def study(tmp_path):
    write_files(tmp_path / "study", STUDY)
    for path in STUDY:
        os.utime(tmp_path / "study" / path, ns=(OLD, OLD))
    return tmp_path / "study"


@pytest.fixture
def old(monkeypatch):
    """Take files that were just written for old ones, as no program can set their ctime back."""
    monkeypatch.setattr(module, "_YOUNG_NS", -(10**9))


def compiled(tmp_path, url, **options):
    text = f"manifest_version: 1\nstudy: {{id: x, url: '{url}'}}\n"
    (tmp_path / "m.yaml").write_text(text)
    events = []
    manifest = load_manifest(tmp_path / "m.yaml").manifest
    made = compile_manifest(manifest, base=tmp_path, notify=events.append, digest=True, **options)
    return made.plan, events


def read(events):
    return sum(not event.cached for event in events if isinstance(event, Digested))


def test_local_files_get_digests_and_events(study, tmp_path):
    plan, events = compiled(tmp_path, "study")
    assert digests(plan) == sha256s(STUDY)
    total = sum(map(len, STUDY.values()))
    [began] = [event for event in events if isinstance(event, Digesting)]
    assert (began.files, began.bytes) == (3, total)
    assert sum(event.bytes for event in events if isinstance(event, Progressed)) == total
    assert {e.entry.path: e.entry.sha256 for e in events if isinstance(e, Digested)} == sha256s(
        STUDY
    )
    found = finished(fetch(plan, tmp_path / "d", base=tmp_path))
    assert {proof.value for _, proof in found.values()} == {"sha256"}


def test_memory_and_web_servers_too_and_digests_that_are_known_are_not_read(
    memory, bucket, tmp_path
):
    for key, data in STUDY.items():
        memory.pipe_file(f"/study/{key}", data)
    assert digests(compiled(tmp_path, "memory://study")[0]) == sha256s(STUDY)
    bucket.fill(STUDY)
    plan, events = compiled(
        tmp_path, f"s3://{bucket.name}", access=Access(endpoint_url=bucket.endpoint)
    )
    assert set(digests(plan).values()) == {None}
    assert read(events) == 0


def test_what_has_not_changed_is_read_once(study, tmp_path, old):
    assert read(compiled(tmp_path, "study")[1]) == 3
    plan, events = compiled(tmp_path, "study")
    assert (read(events), digests(plan)) == (0, sha256s(STUDY))
    total = sum(map(len, STUDY.values()))
    assert sum(event.bytes for event in events if isinstance(event, Progressed)) == total


@pytest.mark.parametrize("how", ["in place", "times set back", "another file"])
def test_what_has_changed_is_read_again(study, tmp_path, old, how):
    compiled(tmp_path, "study")
    path = study / "README"
    if how == "another file":
        (tmp_path / "new").write_bytes(b"HELLO")
        (tmp_path / "new").rename(path)
    else:
        with path.open("r+b") as file:
            file.write(b"HELLO")
    if how == "times set back":
        os.utime(path, ns=(OLD, OLD))
    plan, events = compiled(tmp_path, "study")
    assert digests(plan) == sha256s({**STUDY, "README": b"HELLO"})
    assert read(events) == 1


def test_what_was_just_written_is_not_cached(study, tmp_path):
    # Its times may be those of another change right after.
    compiled(tmp_path, "study")
    assert read(compiled(tmp_path, "study")[1]) == 3


HARM = {
    "no database": lambda path: path.write_bytes(b"x" * 5000),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "nonsense": lambda path: execute(path, "UPDATE digests SET sha256 = 'nonsense'"),
    "another table": lambda path: execute(path, "DROP TABLE digests"),
    "other columns": lambda path: execute(path, "ALTER TABLE digests RENAME COLUMN sha256 TO md5"),
    "locked": lambda path: execute(path, "BEGIN EXCLUSIVE", keep=True),
}


def execute(path, statement, *, keep=False):
    connection = sqlite3.connect(path)
    connection.execute(statement)
    if keep:
        return connection
    connection.commit()
    connection.close()
    return None


@pytest.mark.parametrize("harm", HARM)
def test_a_broken_cache_costs_reading_again(study, tmp_path, old, cache, harm, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    compiled(tmp_path, "study")
    held = HARM[harm](cache)
    plan, events = compiled(tmp_path, "study")
    assert (digests(plan), read(events)) == (sha256s(STUDY), 3)
    if isinstance(held, sqlite3.Connection):
        held.close()


def test_where_no_cache_can_be_it_does_without(study, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digests(compiled(tmp_path, "study")[0]) == sha256s(STUDY)


@pytest.mark.parametrize("data", [b"HELLO!", b"HELL"])
def test_a_source_that_changes_meanwhile_is_an_error(study, tmp_path, data):
    def opener(url, **options):
        store = open_store(url, **options)
        children = store.children

        def late(prefix=""):
            found = children(prefix)
            (study / "README").write_bytes(data)
            return found

        store.children = late
        return store

    with pytest.raises(SourceChangedError) as caught:
        compiled(tmp_path, "study", opener=opener)
    assert str(caught.value) == (
        "study.url: README: its source has changed since it was listed: 5 bytes were listed, and "
        f"it has {len(data)}; compile again"
    )


def test_the_command_reads_and_a_digest_of_now_beats_one_of_before(study, ask_here):
    Path("m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: study}\n")
    assert ask_here("compile", "m.yaml", "--digest")[0] == 0
    assert digests(read_plan("m.plan.jsonl")) == sha256s(STUDY)
    (study / "README").write_bytes(b"HELLO")
    # Without reading, the one of before is carried over, and holds a fetch up.
    assert ask_here("compile", "--check", "m.yaml")[0] == 0
    code, out, _ = ask_here("fetch", "m.yaml", "d")
    assert (code, "1 failed (corrupt)" in out) == (1, True)
    code, out, _ = ask_here("compile", "--check", "--digest", "m.yaml", "--json")
    assert (code, json.loads(out)["differences"][1:]) == (1, ["~ README (sha256 changed)"])
    assert ask_here("compile", "--digest", "m.yaml")[0] == 0
    assert digests(read_plan("m.plan.jsonl"))["README"] == hashlib.sha256(b"HELLO").hexdigest()
    assert ask_here("fetch", "m.yaml", "d")[0] == 0
    assert ask_here("verify", "m.yaml", "d")[1] == "3 files read and verified by SHA-256\n"


def test_what_the_limits_refuse_is_not_read(study, ask_here, cache):
    Path("m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: study}\n")
    code, _, err = ask_here("compile", "m.yaml", "--digest", "--max-bytes", "10")
    assert (code, "more than 10" in err) == (1, True)
    assert not cache.exists()


def test_the_progress_of_digests_is_counted(study, tmp_path):
    _, events = compiled(tmp_path, "study")
    counts = Counts()
    for event in events:
        counts.add(event)
    assert counts.reached == counts.digesting > 0
    assert counts.moved == {}
    assert counts.listed >= 3
    assert counts.listing.endswith("study")
