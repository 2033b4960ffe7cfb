"""Receipts, pins and carried digests bind to the place and the content of the source."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import UrlError
from bidsplan.events import Action, Failed, Skipped
from bidsplan.manifest.load import load_manifest
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import read_plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage import Access
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.pins import pin
from bidsplan.transfer.verification import verify
from plans import failures, fetch, finished, plan_of, tree, write_files
from servers import Proxy

T1W = "sub-1/anat/sub-1_T1w.nii.gz"
STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "README": b"hello",
    T1W: b"first",
}
OTHER = {**STUDY, "README": b"HELLO", T1W: b"FIRST"}


def write_manifest(folder, url):
    Path(folder).mkdir(parents=True, exist_ok=True)
    text = f"manifest_version: 1\nstudy: {{id: x, url: '{url}'}}\n"
    Path(folder, "m.yaml").write_text(text, encoding="utf-8")
    return Path(folder, "m.yaml")


@pytest.fixture
def projects(ask_here):
    """Give two projects whose manifests are one text, over files of the same sizes."""
    for name, files in (("a", STUDY), ("b", OTHER)):
        write_files(Path(name, "study"), files)
        write_manifest(f"{name}/proj", "../study")
        assert ask_here("compile", f"{name}/proj/m.yaml")[0] == 0
    assert Path("a/proj/m.plan.jsonl").read_bytes() == Path("b/proj/m.plan.jsonl").read_bytes()
    assert ask_here("fetch", "a/proj/m.yaml", "d")[0] == 0


def test_another_study_of_the_same_url_text_is_not_kept(projects, ask_here):
    code, out, _ = ask_here("fetch", "b/proj/m.yaml", "d")
    assert code == 1
    assert "1 kept" in out
    assert "2 failed (existing)" in out
    assert tree(Path("d")) == STUDY


def test_another_study_of_the_same_url_text_replaces(projects, ask_here):
    code, out, _ = ask_here("fetch", "b/proj/m.yaml", "d", "--existing", "replace")
    assert (code, "2 replaced" in out, "1 kept" in out) == (0, True, True)
    assert tree(Path("d")) == OTHER
    # What the first one's receipts say is no longer so, and it shows.
    code, out, _ = ask_here("verify", "a/proj/m.yaml", "d")
    assert (code, "2 failed (corrupt)" in out) == (1, True)
    assert ask_here("verify", "b/proj/m.yaml", "d")[1] == "3 files read and verified by receipt\n"


def test_bytes_of_another_study_are_neither_proved_nor_pinned(projects, ask_here):
    before = Path("b/proj/m.plan.jsonl").read_bytes()
    assert ask_here("verify", "a/proj/m.yaml", "d")[1] == "3 files read and verified by receipt\n"
    code, out, _ = ask_here("verify", "b/proj/m.yaml", "d")
    assert "receipt" not in out
    code, out, _ = ask_here("pin", "b/proj/m.plan.jsonl", "d")
    assert (code, "3 failed (unproved)" in out) == (1, True)
    assert Path("b/proj/m.plan.jsonl").read_bytes() == before


@pytest.mark.parametrize("url", ["../../study/", "/abs", "file:///abs", "../link/../../study"])
def test_an_equivalent_plan_has_the_same_receipts(ask_here, tmp_path, url):
    write_files(Path("study"), STUDY)
    write_manifest("one", "../study")
    # Through the link ".." leads elsewhere than the text says.
    Path("one", "deeper", "still").mkdir(parents=True)
    Path("one", "link").symlink_to("deeper/still")
    url = url.replace("/abs", str(tmp_path / "study"))
    if "link" in url:
        url = "../link/../../../study"
    write_manifest("one/two", url)
    assert ask_here("fetch", "one/m.yaml", "d")[0] == 0
    assert ask_here("compile", "one/two/m.yaml")[0] == 0
    code, out, _ = ask_here("fetch", "one/two/m.yaml", "d", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, rows[-1]["done"], rows[-1]["bytes"]) == (0, {"keep": 3}, 0)
    assert ask_here("verify", "one/two/m.yaml", "d")[1] == "3 files read and verified by receipt\n"
    Path("d", T1W).write_bytes(b"FIRST")
    code, out, _ = ask_here("verify", "one/two/m.yaml", "d")
    assert (code, "1 failed (corrupt)" in out) == (1, True)


@pytest.fixture(params=["directory", "memory"])
def destination(request, tmp_path):
    if request.param == "directory":
        return tmp_path / "d"
    request.getfixturevalue("memory")
    return "memory://d"


def rewrite(path, data, mtime_ns):
    """Write to a file in place, in the same second."""
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.mark.parametrize("existing", list(Existing))
def test_a_source_that_was_changed_in_place_is_noticed(tmp_path, destination, existing):
    write_files(tmp_path / "study", {"x": b"first", "y": b"other"})
    entries = [Entry(path=key, key=key, size=5, reason="selected") for key in "xy"]
    plan = plan_of(entries, str(tmp_path / "study"))
    os.utime(tmp_path / "study" / "x", ns=(10**18, 10**18))
    assert not failures(fetch(plan, destination))
    rewrite(tmp_path / "study" / "x", b"FIRST", 10**18 + 1)
    events = fetch(plan, destination, existing=existing)
    if existing in {Existing.REPLACE, Existing.UPDATE}:
        assert finished(events)["x"][0] is Action.REPLACE
        assert finished(fetch(plan, destination))["x"] == (Action.KEEP, CheckMethod.SIZE)
    else:
        assert {path: error.code for path, error in failures(events).items()} == {"x": "existing"}
        assert "out of date: bidsplan fetched it earlier" in str(failures(events)["x"])
    assert finished(events)["y"] == (Action.KEEP, CheckMethod.SIZE)


def test_a_source_that_was_only_touched_is_compared_once(tmp_path, destination):
    write_files(tmp_path / "study", {"x": b"first"})
    entries = [Entry(path="x", key="x", size=5, reason="selected")]
    plan = plan_of(entries, str(tmp_path / "study"))
    fetch(plan, destination)
    os.utime(tmp_path / "study" / "x", ns=(10**18, 10**18))
    read = [sum(getattr(event, "bytes", 0) for event in fetch(plan, destination)) for _ in "12"]
    assert read == [5, 0]


def test_a_source_that_is_gone_does_not_count_as_changed(tmp_path, destination):
    write_files(tmp_path / "study", {"x": b"first"})
    entries = [Entry(path="x", key="x", size=5, reason="selected")]
    plan = plan_of(entries, str(tmp_path / "study"))
    fetch(plan, destination)
    (tmp_path / "study" / "x").unlink()
    assert finished(fetch(plan, destination)) == {"x": (Action.KEEP, CheckMethod.SIZE)}


def replace_in_place(root):
    rewrite(root / "x", b"FIRST", 10**18 + 1)


def replace_the_folder(root):
    root.rename(root.with_name("old"))
    write_files(root, {"x": b"FIRST"})


@pytest.mark.parametrize("change", [replace_in_place, replace_the_folder])
def test_receipts_of_a_source_that_was_changed_prove_nothing(tmp_path, destination, change):
    write_files(tmp_path / "study", {"x": b"first"})
    plan = plan_of([Entry(path="x", key="x", size=5, reason="selected")], str(tmp_path / "study"))
    fetch(plan, destination)
    assert finished(verify(plan, destination)) == {"x": (Action.KEEP, CheckMethod.RECEIPT)}
    change(tmp_path / "study")
    assert finished(verify(plan, destination)) == {"x": (Action.KEEP, CheckMethod.SIZE)}
    assert failures(pin(plan, destination))["x"].code == "unproved"
    fetch(plan, destination, existing=Existing.REPLACE)
    assert finished(verify(plan, destination)) == {"x": (Action.KEEP, CheckMethod.RECEIPT)}
    assert not failures(pin(plan, destination))


def test_each_state_that_a_source_was_compared_in_has_its_receipt(tmp_path, destination):
    write_files(tmp_path / "study", {"x": b"first"})
    plan = plan_of([Entry(path="x", key="x", size=5, reason="selected")], str(tmp_path / "study"))
    # Receipts have names without order, so that several tell whether one depends on it.
    for time in range(1, 9):
        os.utime(tmp_path / "study" / "x", ns=(time, time))
        fetch(plan, destination)
        assert finished(verify(plan, destination)) == {"x": (Action.KEEP, CheckMethod.RECEIPT)}
    (tmp_path / "study" / "x").unlink()
    assert finished(verify(plan, destination)) == {"x": (Action.KEEP, CheckMethod.RECEIPT)}


def test_a_digest_of_the_plan_is_worth_more_than_its_source(ask_here):
    write_files(Path("study"), STUDY)
    write_manifest(".", "study")
    assert ask_here("fetch", "m.yaml", "d")[0] == 0
    assert ask_here("pin", "m.plan.jsonl", "d")[0] == 0
    assert ask_here("fetch", "m.plan.jsonl", "d")[0] == 0
    Path("study", T1W).write_bytes(b"FIRST")
    assert ask_here("fetch", "m.plan.jsonl", "d")[:2] == (
        0,
        "d: 3 kept; 1 file checked by SHA-256; 2 files checked by SHA-256 in an earlier run\n",
    )
    assert tree(Path("d")) == STUDY


@pytest.fixture
def endpoints(moto):
    """Give two endpoints; each has the one bucket."""
    proxies = [Proxy(moto.url) for _ in "12"]
    yield [proxy.url for proxy in proxies]
    for proxy in proxies:
        proxy.stop()


def test_the_same_bucket_at_another_endpoint_is_another_place(bucket, endpoints, tmp_path):
    bucket.put("x", b"hello")
    entry = Entry(path="x", key="x", size=5, reason="selected")
    plan = plan_of([entry], f"s3://{bucket.name}")
    here, there = (Access(endpoint_url=url) for url in endpoints)
    fetch(plan, tmp_path / "d", access=here)
    proofs = [
        next(verify(plan, tmp_path / "d", access=access)).proof
        for access in (here, Access(endpoint_url=f"{endpoints[0]}/"), there)
    ]
    assert proofs == [CheckMethod.RECEIPT, CheckMethod.RECEIPT, CheckMethod.SIZE]
    [event] = pin(plan, tmp_path / "d", access=there)
    assert event.error.code == "unproved"
    events = fetch(plan, tmp_path / "d", access=there)
    assert sum(getattr(event, "bytes", 0) for event in events) == 5


def compiled(folder, url, **options):
    loaded = load_manifest(write_manifest(folder, url))
    return loaded, compile_manifest(loaded.manifest, base=loaded.path.parent, **options).plan


@pytest.mark.parametrize("kind", ["s3", "local", "file", "memory"])
def test_a_slash_at_the_end_says_nothing(request, tmp_path, kind):
    access = Access()
    if kind == "s3":
        bucket = request.getfixturevalue("bucket")
        bucket.fill({f"p/{key}": data for key, data in STUDY.items()})
        access, url = Access(endpoint_url=bucket.endpoint), f"s3://{bucket.name}/p"
    elif kind == "memory":
        fs = request.getfixturevalue("memory")
        for key, data in STUDY.items():
            fs.pipe_file(f"/p/{key}", data)
        url = "memory://p"
    else:
        write_files(tmp_path / "study", STUDY)
        url = "../study" if kind == "local" else f"file://{tmp_path}/study"
    made = []
    for spelt in (url, f"{url}/"):
        loaded, plan = compiled(tmp_path / "m", spelt, access=access)
        made.append((loaded.manifest.sha256([]), list(plan.lines())))
        events = fetch(plan, tmp_path / "d", access=access, base=tmp_path / "m")
        assert not failures(events)
    assert made[0] == made[1]
    assert {action for action, _ in finished(events).values()} == {Action.KEEP}


def test_digests_survive_the_move_of_a_plan_whose_sources_stay(ask_here, tmp_path):
    write_files(Path("study"), STUDY)
    write_manifest("one", "../study")
    assert ask_here("fetch", "one/m.yaml", "d")[0] == 0
    assert ask_here("pin", "one/m.plan.jsonl", "d")[0] == 0
    # By -o, into a folder that is one deeper.
    Path("one/plans").mkdir()
    code, _, err = ask_here("compile", "one/m.yaml", "-o", "one/plans/p.plan.jsonl")
    assert (code, err) == (0, "")
    moved = read_plan("one/plans/p.plan.jsonl")
    assert moved.header.roots[0].url == "../../study"
    assert all(entry.sha256 for entry in moved.entries)
    # By hand, to a folder beside it; an absolute URL is the same place.
    write_manifest("two", str(tmp_path / "study"))
    Path("one/m.plan.jsonl").rename("two/m.plan.jsonl")
    code, _, err = ask_here("compile", "two/m.yaml")
    assert (code, err) == (0, "")
    assert all(entry.sha256 for entry in read_plan("two/m.plan.jsonl").entries)


def test_digests_that_a_move_loses_are_told(ask_here):
    write_files(Path("study"), STUDY)
    write_files(Path("deep/study"), OTHER)
    write_manifest("one", "../study")
    assert ask_here("fetch", "one/m.yaml", "d")[0] == 0
    assert ask_here("pin", "one/m.plan.jsonl", "d")[0] == 0
    write_manifest("deep/one", "../study")
    Path("one/m.plan.jsonl").rename("deep/one/m.plan.jsonl")
    # The same text, and another place: the plan beside the manifest was pinned for the first.
    write_manifest("deep/one", "../../study")
    code, _, err = ask_here("compile", "deep/one/m.yaml")
    assert code == 0
    assert "warning: 3 digests of the earlier plan are not carried over" in err
    assert all(entry.sha256 is None for entry in read_plan("deep/one/m.plan.jsonl").entries)
    assert ask_here("compile", "--strict", "deep/one/m.yaml")[0] == 0


@pytest.mark.parametrize("roots", [1, 2])
def test_a_plan_that_was_moved_alone_says_where_it_looked(tmp_path, destination, roots):
    files = {f"{number}.txt": b"x" for number in range(5)}
    write_files(tmp_path / "a" / "study", files)
    write_files(tmp_path / "there", files)
    entries = [
        Entry(path=f"{root}/{key}", key=key, size=1, reason="selected", root=root)
        for root in range(roots)
        for key in files
    ]
    urls = ["../study", str(tmp_path / "there")][:roots]
    plan = Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study="x",
        roots=[Root(url=url) for url in urls],
        subjects=[],
    )
    (tmp_path / "b" / "proj").mkdir(parents=True)
    events = fetch(plan, destination, base=tmp_path / "b" / "proj")
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.error.code == "source-missing"
    assert str(failed.error) == (
        f"../study: the plan's files come from the folder {tmp_path}/b/study, and there is no such "
        f"folder; the plan's relative URL is relative to the plan's own folder, {tmp_path}/b/proj: "
        "put the plan back beside its sources, or compile it for this folder by 'bidsplan compile "
        "-o'"
    )
    assert sum(isinstance(event, Skipped) for event in events) == len(files) - 1
    # Those of a root that is there come all the same.
    assert len(finished(events)) == len(files) * (roots - 1)
    assert not failures(fetch(plan, destination, base=tmp_path / "a" / "proj"))


def test_receipts_of_another_form_cost_a_comparison(tmp_path):
    write_files(tmp_path / "study", {"x": b"first"})
    plan = plan_of([Entry(path="x", key="x", size=5, reason="selected")], str(tmp_path / "study"))
    fetch(plan, tmp_path / "d")
    [path] = (tmp_path / "d" / ".bidsplan" / "receipts").iterdir()
    row = json.loads(path.read_bytes())
    assert "study" not in path.read_text()
    del row["source_state"]
    path.write_bytes(json.dumps(row).encode() + b"\n")
    events = fetch(plan, tmp_path / "d")
    assert finished(events) == {"x": (Action.KEEP, CheckMethod.SIZE)}
    assert sum(getattr(event, "bytes", 0) for event in events) == 5


def test_a_folder_whose_name_is_no_text_is_a_place_too(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_files(folder / "study", {"x": b"first"})
    (folder / "proj").mkdir()
    plan = plan_of([Entry(path="x", key="x", size=5, reason="selected")], "../study")
    for _ in "12":
        found = finished(fetch(plan, tmp_path / "d", base=folder / "proj"))
    assert found == {"x": (Action.KEEP, CheckMethod.SIZE)}
    proofs = [event.proof for event in verify(plan, tmp_path / "d", base=str(folder / "proj"))]
    assert proofs == [CheckMethod.RECEIPT]


@pytest.mark.parametrize(
    "url", ["a\0b", "file://\0", "s3://buc ket/x", "https://:443/", "https://[/"]
)
def test_a_root_that_is_no_url_is_refused_and_no_defect(tmp_path, url):
    write_files(tmp_path / "d", {"x": b"first"})
    plan = plan_of([Entry(path="x", key="x", size=5, reason="selected")], url)
    assert [event.proof for event in verify(plan, tmp_path / "d")] == [CheckMethod.SIZE]
    if "\0" in url:
        with pytest.raises(UrlError):
            fetch(plan, tmp_path / "d")
