"""The GitHub Action: its steps, run as a runner does, with a folder as the cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest

from actions import ACTION, ROOT, Runner
from bidsplan.cli.main import run
from bidsplan.plan.file import read_plan, write_plan
from plans import plan_over, tree
from servers import Rule

sys.path.insert(0, str(ROOT / ".github" / "action"))

import provision

FILES = {f"sub-{number:02}/anat/sub-{number:02}_T1w.json": b"{}" for number in range(4)}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Check out a repository with the demo study and its plan, and work in it."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "manifests" / "demo", folder / "manifests" / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", folder / "manifests")
    monkeypatch.chdir(folder)
    assert run(["compile", "--quiet", "manifests/demo.yaml"]) == 0
    return folder


@pytest.fixture
def runner(checkout, tmp_path):
    return Runner(checkout, tmp_path)


@pytest.fixture
def stored(checkout, bucket, counted):
    """Add a plan over S3; the proxy counts requests."""
    bucket.fill(FILES)
    write_plan(plan_over(f"s3://{bucket.name}", FILES), checkout / "s3.plan.jsonl")
    return counted


def cached(runner):
    return sorted(path.stem for path in runner.cache.iterdir())


def test_the_demo_comes_from_the_cache_the_second_time(runner, checkout):
    first = runner.run(manifest="manifests/demo.yaml")
    assert first.code == 0, first.log
    header = read_plan("manifests/demo.plan.jsonl").header
    key = f"bidsplan-{header.entries_sha256}"
    told = {
        "path": str(checkout / "data"),
        "cache-key": key,
        "files": str(header.files),
        "bytes": str(header.bytes),
    }
    assert first.outputs == {**told, "cache-hit": "false", "changed": "true"}
    assert first.steps[-1] == "Save the data"
    assert cached(runner) == [key]
    before = tree(checkout / "data")
    shutil.rmtree(checkout / "data")
    second = runner.run(manifest="manifests/demo.yaml")
    assert second.outputs == {**told, "cache-hit": "true", "changed": "false"}
    assert second.steps[-1] == "Fetch and verify the data"
    assert tree(checkout / "data") == before
    kept = "23 kept&#59; 23 files checked by size only in an earlier run"
    assert f"| fetched | {kept} |" in second.summary
    assert "| verified | 23 files read and verified by receipt |" in second.summary
    assert second.log.splitlines()[-2:] == [
        "fetch: 23 kept; 23 files checked by size only in an earlier run",
        "verify: 23 files read and verified by receipt",
    ]
    shutil.rmtree(checkout / "data")
    third = runner.run(manifest="manifests/demo.yaml", cache="off")
    assert third.outputs == {**told, "cache-hit": "false", "changed": "true"}


def test_a_workflow_may_restore_only(runner):
    job = runner.run(manifest="manifests/demo.yaml", cache="restore-only")
    assert (job.code, job.steps[2], cached(runner)) == (0, "Restore the data", [])


def test_what_is_cached_needs_no_request(runner, checkout, stored):
    first = runner.run(plan="s3.plan.jsonl", path="data/s3")
    assert (first.code, first.outputs["changed"]) == (0, "true"), first.log
    assert stored.requests
    stored.requests.clear()
    shutil.rmtree(checkout / "data")
    second = runner.run(plan="s3.plan.jsonl", path="data/s3", report="report.html")
    assert (second.code, second.outputs["cache-hit"], second.outputs["changed"]) == (
        0,
        "true",
        "false",
    )
    assert stored.requests == []
    assert {name: (checkout / "data/s3" / name).read_bytes() for name in FILES} == FILES
    assert "data/s3" in (checkout / "report.html").read_text(encoding="utf-8")


def test_nothing_is_cached_of_a_run_that_failed(runner, checkout, stored):
    stored.rules.append(Rule("status", "/sub-03", status=404))
    job = runner.run(plan="s3.plan.jsonl")
    assert (job.code, job.steps[-1], cached(runner)) == (1, "Fetch and verify the data", [])
    assert (checkout / "data" / "sub-00").exists()
    assert job.outputs["changed"] == ""
    assert "::error title=bidsplan::fetch: 3 fetched; " in job.log
    assert "| fetched | failed |" in job.summary
    assert "| cache | nothing is saved |" in job.summary


def test_nothing_is_cached_of_a_run_that_was_killed(runner, checkout, stored):
    started, ended = threading.Event(), threading.Event()
    stored.rules.append(Rule("call", "/sub-03", hook=lambda: started.set() or ended.wait(30)))

    def interrupted(step):
        return step["id"] == "fetch" and started.wait(30)

    job = runner.run(plan="s3.plan.jsonl", interrupted=interrupted)
    ended.set()
    assert (job.code, job.steps[-1], cached(runner)) == (-9, "Fetch and verify the data", [])


def test_a_damaged_cache_fails_and_says_how_to_delete_it(runner, checkout):
    runner.run(manifest="manifests/demo.yaml")
    path = checkout / "data" / "README.md"
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    [key] = cached(runner)
    runner.save("data", key)
    job = runner.run(manifest="manifests/demo.yaml")
    assert job.code == 1
    verified = "22 files read and verified by receipt; 1 failed"
    assert f"::error title=bidsplan::verify: {verified}" in job.log
    assert f"gh cache delete {key}" in job.log


def test_a_plan_above_the_limit_is_not_cached_and_the_run_says_so(runner):
    job = runner.run(manifest="manifests/demo.yaml", **{"max-cache-size": "7kB"})
    assert (job.code, cached(runner)) == (0, [])
    warned = "::warning title=bidsplan::the plan has 7,738 bytes, and max-cache-size is 7,000"
    assert warned in job.log
    assert "as the plan is larger than max-cache-size" in job.summary


def test_a_stale_plan_fails_at_its_manifest_unless_the_workflow_unlocks_it(runner, checkout):
    manifest = checkout / "manifests" / "demo.yaml"
    text = manifest.read_text().replace("random_seed: 42", "random_seed: 46")
    manifest.write_text(text)
    job = runner.run(manifest="manifests/demo.yaml")
    assert (job.code, job.steps[-1]) == (1, "Read the plan")
    assert "the plan was compiled from an earlier version of this manifest" in job.log
    job = runner.run(manifest="manifests/demo.yaml", locked="false")
    assert (job.code, "::error" in job.log) == (0, False)
    assert read_plan("manifests/demo.plan.jsonl").header.random_seed == 46


OURS, THEIRS = {"full_name": "lab/study"}, {"full_name": "stranger/study"}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({}, False),
        ({"schedule": "17 4 * * 1"}, False),
        ({"pull_request": {"head": {"repo": OURS}}}, False),
        ({"pull_request": {"head": {"repo": THEIRS}}}, True),
        ({"pull_request": {"head": {"repo": None}}}, True),
        ({"workflow_run": {"head_repository": OURS}}, False),
        ({"workflow_run": {"head_repository": THEIRS}}, True),
        ({"issue": {"pull_request": {}}, "comment": {}}, True),
        ({"issue": {}, "comment": {}}, False),
    ],
)
def test_events_of_strangers_are_known(event, expected):
    assert provision.is_strangers(event, "lab/study") is expected


def test_a_fork_gets_no_local_file_and_no_cache(checkout, tmp_path):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"repo": THEIRS}}}))
    runner = Runner(checkout, tmp_path, event=event)
    job = runner.run(manifest="manifests/demo.yaml")
    assert (job.code, cached(runner)) == (1, [])
    assert "untrusted" in job.log


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected one of the inputs 'manifest' and 'plan'"),
        ({"manifest": "a.yaml", "plan": "b.jsonl"}, "expected one of the inputs"),
        ({"manifest": "manifests/demo.yaml", "path": "a\nchanged=x"}, "'path' has control"),
        ({"manifest": "manifests/demo.yaml", "path": "s3://a/b"}, "expected a directory"),
        (
            {"manifest": "manifests/demo.yaml", "cache": "always"},
            "expected one of auto",
        ),
        ({"manifest": "manifests/demo.yaml", "locked": "yes"}, "expected one of true, false"),
        ({"manifest": "manifests/demo.yaml", "max-cache-size": "big"}, "expected a size such as"),
        ({"manifest": "manifests/demo.yaml", "bidsplan": "no-such-command"}, "names no command"),
        ({"manifest": "missing.yaml"}, "No such file"),
        ({"manifest": "manifests/demo.yaml", "jobs": "many"}, "'many' is not a valid"),
    ],
)
def test_wrong_inputs_get_one_message(inputs, message, runner):
    job = runner.run(**inputs)
    assert job.code == 1
    assert len([line for line in job.log.splitlines() if line.startswith("::error")]) == 1
    assert message in job.log
    assert "Traceback" not in job.log


def test_inputs_are_never_shell(runner, checkout):
    job = runner.run(manifest="manifests/demo.yaml", path="$(touch pwned);`touch pwned` \"'&")
    assert job.code == 0, job.log
    assert not (checkout / "pwned").exists()
    assert (checkout / "$(touch pwned);`touch pwned` \"'&" / "README.md").exists()


def test_no_script_holds_an_expression():
    assert [step for step in ACTION["runs"]["steps"] if "${{" in step.get("run", "")] == []


def test_no_step_imports_code_of_the_checkout(runner, checkout):
    for name in ("json", "subprocess", "pathlib", "venv"):
        (checkout / f"{name}.py").write_text("open('/dev/stderr', 'w').write('pwned')")
    assert "pwned" not in runner.run(manifest="manifests/demo.yaml").log
    install = (ROOT / ".github" / "action" / "install.sh").read_text(encoding="utf-8")
    run_by = re.findall(r"python3 (-\S)", install)
    assert len(run_by) >= 2
    assert set(run_by) == {"-I"}


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("1.5 GiB", 3 << 29), ("7kB", 7000), ("10m", 10**7), ("12", 12)],
)
def test_sizes_are_those_of_the_command(text, size):
    assert provision.parsed_size(text) == size


def test_a_command_that_the_system_stops_is_named(tmp_path, monkeypatch):
    command = tmp_path / "bidsplan"
    command.write_text("#!/bin/sh\nprintf '{\"path\":'\nkill -KILL $$\n")
    command.chmod(0o755)
    monkeypatch.setenv("BIDSPLAN", str(command))
    with pytest.raises(provision.StepError, match="bidsplan fetch was stopped by signal 9"):
        provision.bidsplan("fetch", "--json")


def test_the_summary_shows_hostile_text_as_it_is():
    shown = provision.markdown("<script>|`**a**`@lab [x](https://y)\n\u202e")
    assert re.sub(r"&#[0-9]+;", "", shown) == "scriptalab xhttps//y"


def test_the_install_step_needs_a_recent_python(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / ".github" / "action" / "install.sh"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "INPUT_BIDSPLAN": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "use actions/setup-python before it" in done.stdout) == (1, True)
