"""The Python interface: every name in every order of imports, and fetching by one call."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import bidsplan
from plans import FILES, local_plan, plan_over, tree

ROOT = Path(__file__).resolve().parents[2]

ORDERS = """
import gc, importlib, os, sys

# What is not ours is loaded once, and ours in each of the processes below.
import bidsschematools.schema, botocore.session, click, lxml.etree, msgspec, nibabel, numpy
import pydantic, tenacity, urllib3, yaml

names = {names!r}
firsts = [*{homes!r}, "*", "bidsplan.s3bids", "bidsplan.cli.main"]
gc.freeze()

def load(first):
    if first == "*":
        exec("from bidsplan import *", {{}})
    elif first in names:
        exec(f"from bidsplan import {{first}}", {{}})
    else:
        importlib.import_module(first)

def in_child(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        os._exit(1)

def check(*some):
    import bidsplan
    # Also those names that nobody asked for, which an import of a module may have set.
    for name in {{*some, *vars(bidsplan)}} & names.keys():
        found = getattr(bidsplan, name)
        assert found is getattr(sys.modules[names[name]], name), name
        assert not isinstance(found, type(sys)), name

def second(first, then):
    load(then)
    check(first, then)

def after(first):
    load(first)
    # A fifth of the pairs, another one for each: all of them take half a minute.
    for then in firsts[firsts.index(first) % 5 :: 5]:
        if then != "*":
            in_child(lambda: second(first, then))
    load("*")
    check(*names)

assert "bidsplan" not in sys.modules
for first in firsts:
    in_child(lambda: after(first))
print(len(firsts))
"""


@pytest.mark.timeout(240)  # ten seconds where nothing else runs
def test_every_name_is_there_whatever_is_imported_first():
    """Import a name of each module first, then one of a fifth of the others."""
    names = {name: f"bidsplan.{module}" for name, module in bidsplan._MODULES.items()}
    homes = {module: name for name, module in names.items()}
    code = ORDERS.format(names=names, homes=sorted(homes.values()))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == len(homes) + 3


def test_the_interface_is_all_that_is_shown():
    assert dir(bidsplan) == sorted([*bidsplan.__all__, "__version__"])
    code = "import bidsplan; print(dir(bidsplan) == sorted([*bidsplan.__all__, '__version__']))"
    code += "; print(bidsplan.Existing.REPLACE, bidsplan.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"True\nreplace {bidsplan.__version__}\n"
    with pytest.raises(AttributeError, match="has no attribute 'fetsh'"):
        bidsplan.fetsh  # noqa: B018


def test_no_default_is_a_lambda():
    for name in bidsplan.__all__:
        found = getattr(bidsplan, name)
        if callable(found):
            assert "lambda" not in str(inspect.signature(found)), name


@pytest.mark.parametrize(
    ("call", "values"),
    [
        (
            lambda: bidsplan.materialise(None, "d", existing="replaced"),
            "'keep', 'replace', 'update', 'refuse'",
        ),
        (lambda: bidsplan.materialise(None, "d", checking="none"), "'full', 'size'"),
        (
            lambda: bidsplan.fetch("p.jsonl", "d", existing="KEEP"),
            "'keep', 'replace', 'update', 'refuse'",
        ),
        (lambda: bidsplan.fetch("p.jsonl", "d", checking=True), "'full', 'size'"),
        (lambda: bidsplan.Access(transport="boto"), "'auto', 'obstore', 'fsspec'"),
        (lambda: bidsplan.Existing(None), "'keep', 'replace', 'update', 'refuse'"),
    ],
)
def test_options_that_have_no_such_value_are_refused(call, values):
    with pytest.raises(ValueError, match=f"expected one of {values}") as caught:
        call()
    assert isinstance(caught.value, bidsplan.BidsplanError)


def test_options_are_taken_as_text(tmp_path):
    plan = local_plan(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("other")
    access = bidsplan.Access(transport="fsspec")
    assert access.transport is bidsplan.Transport.FSSPEC
    done = bidsplan.fetch(
        plan, tmp_path / "d", existing="replace", checking="size", access=access, progress=False
    )
    assert (done.fetched, done.replaced) == (2, 1)
    assert tree(tmp_path / "d") == FILES


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Copy the demo study to a folder, and make it the working directory."""
    shutil.copytree(ROOT / "manifests" / "demo", tmp_path / "manifests" / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", tmp_path / "manifests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


MANIFEST, PLAN = Path("manifests/demo.yaml"), Path("manifests/demo.plan.jsonl")


def test_a_fetch_returns_what_it_did(study, capsys):
    done = bidsplan.fetch(str(MANIFEST), "d")
    assert (done.fetched, done.replaced, done.kept, done.failed, done.warnings) == (
        23,
        0,
        0,
        (),
        (),
    )
    assert done.bytes == done.plan.header.bytes == sum(map(len, tree(Path("d")).values()))
    assert done.checks == {bidsplan.CheckMethod.SIZE: 23}
    assert "entries" not in repr(done)
    printed = capsys.readouterr()
    # Only a terminal or a notebook gets a bar.
    assert (printed.out, printed.err) == ("", "")
    assert list(bidsplan.read_plan(PLAN).entries) == list(done.plan.entries)
    # The plan that is there now is this manifest's.
    before = PLAN.stat()
    assert bidsplan.fetch(MANIFEST, "d", progress=False, locked=True).kept == 23
    assert bidsplan.fetch(PLAN, Path("d"), progress=False).kept == 23
    assert PLAN.stat() == before
    assert capsys.readouterr().err == ""


def test_objects_are_fetched_as_well(study):
    loaded = bidsplan.load_manifest(MANIFEST)
    base = loaded.path.parent
    assert bidsplan.fetch(loaded.manifest, "d", base=base, progress=False).fetched == 23
    assert not PLAN.exists()
    done = bidsplan.fetch(loaded, "d", progress=False)
    assert done.kept == 23
    assert PLAN.exists()
    assert bidsplan.fetch(done.plan, "d", base=base, progress=False).kept == 23


def test_a_plan_of_another_manifest_is_compiled_again_refused_or_used(study):
    bidsplan.fetch(MANIFEST, "d", progress=False)
    old = PLAN.read_bytes()
    MANIFEST.write_text(MANIFEST.read_text().replace("random_seed: 42", "random_seed: 7"))
    with pytest.raises(bidsplan.StalePlanError, match="earlier version of this manifest; update"):
        bidsplan.fetch(MANIFEST, "d", progress=False, locked=True)
    assert bidsplan.fetch(MANIFEST, "d", progress=False, frozen=True).kept == 23
    assert PLAN.read_bytes() == old
    bidsplan.fetch(MANIFEST, "e", progress=False)
    assert PLAN.read_bytes() != old
    PLAN.unlink()
    for option in ("locked", "frozen"):
        with pytest.raises(bidsplan.StalePlanError, match="there is no plan; write it with"):
            bidsplan.fetch(MANIFEST, "d", progress=False, **{option: True})


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("x.yaml", {"locked": True, "frozen": True}, "cannot be used together"),
        ("x.plan.jsonl", {"locked": True}, "x.plan.jsonl is a plan"),
        (7, {}, "`source` must be a path, a Manifest, a ManifestFile or a Plan; got int"),
        ("nothing.yaml", {}, "nothing.yaml: can't be read: No such file"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, source, options, message):
    with pytest.raises(ValueError, match=message):
        bidsplan.fetch(source, tmp_path, **options)


def test_files_that_fail_are_raised_and_named(study):
    Path("d").mkdir()
    Path("d/README.md").write_text("mine")
    with pytest.raises(
        bidsplan.FetchFailed, match="1 of 23 files could not be fetched; all ot"
    ) as e:
        bidsplan.fetch(MANIFEST, "d", progress=False)
    [failed] = e.value.failed
    assert (failed.path, failed.error.code, e.value.skipped) == ("README.md", "existing", ())
    assert str(failed.error) in str(e.value)
    assert len(tree(Path("d"))) == 23
    assert Path("d/README.md").read_text() == "mine"


def test_warnings_are_issued_and_returned(study):
    text = MANIFEST.read_text().replace("suffixes: [T1w]", "suffixes: [T1w, T2w, T1W]")
    MANIFEST.write_text(text)
    with pytest.warns(UserWarning, match="T1W") as issued:
        done = bidsplan.fetch(MANIFEST, "d", progress=False)
    assert "is not a BIDS suffix" in str(issued[0].message)
    assert [str(warning.message) for warning in issued] == [*map(str, done.warnings)]
    assert {warning.filename for warning in issued} == {__file__}
    assert len(issued) == 3


def test_a_run_that_stops_early_names_what_it_left(bucket, tmp_path):
    plan = plan_over(f"s3://{bucket.name}", FILES)
    access = bidsplan.Access(endpoint_url="http://127.0.0.1:9", jobs=1)
    with pytest.raises(bidsplan.FetchFailed) as caught:
        bidsplan.fetch(plan, tmp_path / "d", access=access, progress=False)
    named = [*(failed.path for failed in caught.value.failed), *caught.value.skipped]
    assert sorted(named) == sorted(FILES)


def test_it_runs_where_a_loop_runs_and_in_threads(bucket, tmp_path):
    """As in a notebook, and beside others."""
    bucket.fill(FILES)
    head = "manifest_version: 1\nstudy: {{id: x, url: 's3://{}'}}\n"
    (tmp_path / "m.yaml").write_text(head.format(bucket.name))
    access = bidsplan.Access(endpoint_url=bucket.endpoint)
    found = {}

    def fetch(name):
        found[name] = bidsplan.fetch(tmp_path / "m.yaml", tmp_path / name, access=access).fetched

    async def in_a_loop():
        fetch("loop")

    asyncio.run(in_a_loop())
    threads = [threading.Thread(target=fetch, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(("loop", "first", "second"), found["loop"])
    assert tree(tmp_path / "first") == tree(tmp_path / "loop") == tree(tmp_path / "second")


def test_a_plan_makes_a_table(study):
    import pandas as pd

    done = bidsplan.fetch(MANIFEST, "d", progress=False)
    rows = done.plan.to_dicts()
    assert rows == bidsplan.read_plan(PLAN).to_dicts()
    fields = [
        "path",
        "key",
        "size",
        "reason",
        "root",
        "etag",
        "version",
        "md5",
        "sha256",
        "content",
    ]
    places = ("subject", "session", "datatype", "suffix", "extension", "pipeline")
    assert {tuple(row) for row in rows} == {(*fields, "url", *places)}
    table = pd.DataFrame(rows)
    image = table[table["path"].str.endswith("sub-1_ses-baseline_T1w.nii.gz")].iloc[0]
    assert [image[name] for name in places[:5]] == ["1", "baseline", "anat", "T1w", ".nii.gz"]
    assert table["pipeline"].value_counts().to_dict() == {"afq": 5}
    (row,) = (row for row in rows if row["path"] == "dataset_description.json")
    assert [row[name] for name in places] == [None, None, None, None, ".json", None]
    assert table["size"].sum() == done.plan.header.bytes
    assert set(table["url"].dropna()) == {"demo"}


@pytest.mark.parametrize("value", ["1", "true", "anything"])
def test_a_run_for_strangers_refuses_local_files_from_python_too(tmp_path, monkeypatch, value):
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", value)
    plan = local_plan(tmp_path)
    with pytest.raises(bidsplan.UsageError, match="an untrusted manifest may not name file URLs"):
        bidsplan.fetch(plan, tmp_path / "d", progress=False)
    with pytest.raises(bidsplan.UsageError, match="an untrusted manifest may not name file URLs"):
        bidsplan.filesystem(plan, access=bidsplan.Access(timeout=5)).cat_file("a.txt")
    (tmp_path / "link.yaml").symlink_to(ROOT / "manifests" / "demo.yaml")
    with pytest.raises(bidsplan.BidsplanError, match="symbolic links to an untrusted manifest"):
        bidsplan.load_manifest(tmp_path / "link.yaml")
    # What the code says outweighs what the environment says.
    bidsplan.load_manifest(tmp_path / "link.yaml", untrusted=False)
    own = bidsplan.Access(untrusted=False)
    assert bidsplan.fetch(plan, tmp_path / "d", access=own, progress=False).fetched == len(FILES)


@pytest.mark.parametrize("value", ["", "0", "false", " No "])
def test_a_run_of_ones_own_is_no_run_for_strangers(tmp_path, monkeypatch, value):
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", value)
    summary = bidsplan.fetch(local_plan(tmp_path), tmp_path / "d", progress=False)
    assert summary.fetched == len(FILES)
