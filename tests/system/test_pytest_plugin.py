"""The pytest plugin, as people's test suites use it: in pytest processes of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.errors import FetchFailed
from bidsplan.plan.file import write_plan
from bidsplan.provisioning.cache import DatasetCache
from plans import BIG, plan_over
from servers import Rule

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = {"dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}'}
IMAGE = "sub-1/anat/sub-1_T1w.nii.gz"
STUDY = {**DESCRIPTION, IMAGE: BIG}

USED = """
    import pytest

    @pytest.fixture(scope="session")
    def dataset(bidsplan_dataset):
        return bidsplan_dataset("study.yaml")

    @pytest.mark.parametrize("number", range(8))
    def test_used(dataset, number):
        assert (dataset / "sub-1" / "anat" / "sub-1_T1w.nii.gz").stat().st_size == 3 << 20
"""
MARKED = """
    import pytest

    @pytest.mark.bidsplan("study.yaml")
    @pytest.mark.parametrize("number", range(8))
    def test_marked(number):
        pass

    def test_other():
        pass
"""


@pytest.fixture
def suite(pytester, bucket, counted, monkeypatch):
    """Give a suite with the manifest of a study in storage; its runs have no options but theirs."""
    # A run within a worker is none of its worker's run.
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "home"))
    bucket.fill({f"x/{key}": data for key, data in STUDY.items()})
    manifest = f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}/x}}\n"
    (pytester.path / "study.yaml").write_text(manifest)
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:timeout -p no:hypothesispytest\n")
    return pytester


def reads(proxy):
    """Count how often the image was requested; other files are read to compile, too."""
    found = [path for _, path in proxy.requests if path.endswith(IMAGE)]
    proxy.requests.clear()
    return len(found)


def image(suite):
    [path] = suite.path.glob(f"home/bidsplan/datasets/data/*/dataset/{IMAGE}")
    return path


def test_workers_fetch_once_and_then_work_offline(suite, counted):
    suite.makepyfile(USED)
    first = suite.runpytest_subprocess("-n4")
    first.assert_outcomes(passed=8)
    first.stdout.fnmatch_lines(["*= bidsplan =*", "study.yaml: 2 files, 3.1 MB, fetched: *"])
    assert reads(counted) == 1
    assert not (suite.path / "study.plan.jsonl").exists()
    second = suite.runpytest_subprocess("-p", "no:xdist", "--bidsplan=offline")
    second.assert_outcomes(passed=8)
    second.stdout.fnmatch_lines(["study.yaml: 2 files, 3.1 MB, from the cache: *"])
    assert counted.requests == []


def test_two_processes_at_once_fetch_once(suite, counted):
    suite.makepyfile(MARKED)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    processes = [suite.popen(command, **streams) for _ in range(2)]
    outputs = [process.communicate(timeout=50)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert reads(counted) == 1
    line = re.compile("^bidsplan: study.yaml: 2 files, 3.1 MB, (.*): /", re.M)
    assert sorted(line.search(output)[1] for output in outputs) == ["fetched", "from the cache"]


def test_a_failed_fetch_is_a_short_error_and_tried_once(suite, counted):
    suite.makepyfile(MARKED, test_more=USED)
    counted.rules.append(Rule("status", IMAGE, status=403, code="AccessDenied"))
    with pytest.raises(FetchFailed):
        DatasetCache(suite.path / "other").provide(suite.path / "study.yaml")
    alone = reads(counted)
    run = suite.runpytest_subprocess("-n2")
    run.assert_outcomes(passed=1, errors=16)
    assert reads(counted) == alone
    run.stdout.fnmatch_lines(
        [f"bidsplan: study.yaml: 1 of 2 files could not be fetched; *{IMAGE}: access is denied*"]
    )
    assert "Traceback" not in run.stdout.str()
    assert "provisioning" not in run.stdout.str()


def test_what_a_test_writes_is_reported_and_mended(suite, counted):
    suite.makepyfile(
        """
        def test_careless(bidsplan_dataset):
            path = bidsplan_dataset("study.yaml") / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
            path.chmod(0o644)
            with path.open("r+b") as file:
                file.write(b"damaged")
        """
    )
    run = suite.runpytest_subprocess("-n1")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines([f"warning: study.yaml: {IMAGE} changed while tests ran*"])
    assert image(suite).read_bytes() != BIG
    reads(counted)
    suite.makepyfile(test_what_a_test_writes_is_reported_and_mended=USED)
    mended = suite.runpytest_subprocess("-p", "no:xdist")
    mended.assert_outcomes(passed=8)
    mended.stdout.fnmatch_lines(
        ["study.yaml: 2 files, 3.1 MB, 1 fetched, others from the cache: *", f"*restored {IMAGE}"]
    )
    assert image(suite).read_bytes() == BIG


def test_tests_are_skipped_where_no_data_can_be_had(suite, counted):
    suite.makepyfile(MARKED, test_more=USED)
    skip = suite.runpytest_subprocess("-p", "no:xdist", "--bidsplan=skip", "-rs")
    skip.assert_outcomes(skipped=16, passed=1)
    skip.stdout.fnmatch_lines(["datasets for tests: bidsplan=skip", "*it needs a dataset*"])
    options = ("--bidsplan=offline", "--bidsplan-unavailable=skip")
    skip = suite.runpytest_subprocess("-p", "no:xdist", *options, "-rs")
    skip.assert_outcomes(skipped=16, passed=1)
    skip.stdout.fnmatch_lines(["*bidsplan: study.yaml: there is no plan, and the cache has none*"])
    assert counted.requests == []


def test_what_is_not_selected_is_not_fetched(suite, counted):
    suite.makepyfile(MARKED, test_more=USED)
    run = suite.runpytest_subprocess("-p", "no:xdist", "-m", "not bidsplan")
    run.assert_outcomes(passed=1, deselected=16)
    assert suite.runpytest_subprocess("--collect-only", "-p", "no:xdist").ret == 0
    assert counted.requests == []
    assert not (suite.path / "home").exists()


def test_where_nothing_uses_it_it_imports_nothing(suite):
    suite.makepyfile(
        """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.startswith("bidsplan")}
            assert ours == {"bidsplan", "bidsplan.pytest_plugin"}
            assert not {"pydantic", "fsspec", "numpy", "msgspec"} & sys.modules.keys()
        """
    )
    suite.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=1)


def test_a_wrong_path_plan_or_setting_says_what_is_expected(suite, bucket):
    write_plan(plan_over(f"s3://{bucket.name}/x", STUDY), suite.path / "study.plan.jsonl")
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("path", ["none\\x1b[31m", "study.yaml", "test.txt", None])
        def test_path(bidsplan_dataset, path):
            bidsplan_dataset(path)

        @pytest.mark.bidsplan(7)
        def test_marker():
            pass
        """
    )
    suite.makefile(".txt", test="")
    run = suite.runpytest_subprocess("-p", "no:xdist")
    run.assert_outcomes(failed=4, errors=1)
    for line in (
        r"bidsplan: none\x1b?31m: there is no such file; paths are relative to pytest's rootdir*",
        "bidsplan: */study.plan.jsonl: the plan was compiled from an earlier version of this *",
        "bidsplan: */test.txt: a plan's name ends in .jsonl*",
        "bidsplan: expected the path of a manifest or a plan; got None",
        "bidsplan: expected the path of a manifest or a plan; got 7",
    ):
        run.stdout.fnmatch_lines([line])
    assert "Traceback" not in run.stdout.str()
    suite.makeini("[pytest]\nbidsplan = of\n")
    run = suite.runpytest_subprocess()
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*bidsplan: expected one of fetch, offline, skip; got 'of', in *"])


def test_the_page_about_tests_is_true(pytester, monkeypatch):
    """Run the files that the page shows, as a reader would who copies them."""
    page = (ROOT / "docs" / "how-to" / "testing.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "manifests", pytester.path / "manifests")
    [(name, code)] = re.findall(r"^```python title=\"(\S+)\"\n(.*?)^```", page, re.M | re.S)
    (pytester.path / name).parent.mkdir()
    (pytester.path / name).write_text(code)
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "home"))
    run = pytester.runpytest_subprocess(
        "-p", "no:xdist", "-p", "no:hypothesispytest", "-W", "error"
    )
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["bidsplan: manifests/demo.yaml: 23 files, *, fetched: *"])


def test_only_the_cache_of_the_machine_needs_the_extra(suite):
    suite.makepyfile(MARKED)
    suite.makeconftest("import sys\nsys.modules['platformdirs'] = None\n")
    run = suite.runpytest_subprocess("-p", "no:xdist")
    run.assert_outcomes(passed=1, errors=8)
    run.stdout.fnmatch_lines(["bidsplan: study.yaml: * run pip install 'bidsplan?pytest?', or *"])
    chosen = suite.runpytest_subprocess("-p", "no:xdist", "--bidsplan-cache=here")
    chosen.assert_outcomes(passed=9)


def test_the_tests_of_a_stranger_get_no_local_file(suite, monkeypatch):
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", "1")
    (suite.path / "study.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: /etc}\n")
    suite.makepyfile(MARKED)
    run = suite.runpytest_subprocess("-p", "no:xdist")
    run.assert_outcomes(passed=1, errors=8)
    run.stdout.fnmatch_lines(["*an untrusted manifest may not name file URLs or local paths*"])
