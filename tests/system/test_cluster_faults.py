"""What is wrong with a cluster is told in the words of who runs it, and no secret is sent to it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("distributed")

from bidsplan.cli.main import run
from bidsplan.plan.file import write_plan
from canary_cases import CANARY
from canary_runs import leaks_in
from clusters import SOURCE, Cluster, Recorder
from plans import local_plan, plan_over, tree

FILES = {f"sub-{number:02}/sub-{number:02}_T1w.json": b"%d" % number for number in range(20)}
SECRETS = {
    name: f"{CANARY}-{name.lower()}"
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"),
        *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_CLIENT_SECRET"),
        *("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_OAUTH_ACCESS_TOKEN", "MY_TOKEN"),
    )
} | {f"{name}_PROXY": f"http://me:{CANARY}-proxy@127.0.0.1:1" for name in ("HTTP", "HTTPS", "ALL")}


@pytest.fixture
def start(tmp_path):
    """Start a cluster; its scheduler may have another Python path."""
    clusters = []

    def begin(**more):
        folder = tmp_path / f"cluster{len(clusters)}"
        folder.mkdir()
        clusters.append(Cluster(folder, **more))
        return clusters[-1]

    yield begin
    for cluster in clusters:
        cluster.stop()


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "x.plan.jsonl"
    write_plan(local_plan(tmp_path, FILES), path)
    return path


@pytest.fixture
def other(tmp_path):
    """Give a Python path with a package of the same name, that has other modules."""
    (tmp_path / "other" / "bidsplan").mkdir(parents=True)
    (tmp_path / "other" / "bidsplan" / "__init__.py").write_text("")
    return str(tmp_path / "other")


def test_a_worker_of_another_version_is_refused(start, plan, tmp_path, ask):
    metadata = tmp_path / "path" / "bidsplan-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: bidsplan\nVersion: 9.9\n")
    cluster = start()
    [address] = cluster.add(1, "--no-nanny", path=f"{metadata.parents[1]}{os.pathsep}{SOURCE}")
    code, _, said = ask("fetch", "--dask", cluster.address, plan, tmp_path / "d")
    assert code == 2
    assert "a worker has bidsplan 9.9; install the same version" in said
    assert f"(worker {address})" in said


def test_a_worker_without_bidsplan_is_named(start, plan, other, tmp_path, ask):
    cluster = start()
    [address] = cluster.add(1, "--no-nanny", path=other)
    code, _, said = ask("fetch", "--dask", cluster.address, plan, tmp_path / "d")
    assert code == 2
    assert "a worker has no bidsplan, or another one" in said
    assert f"on the worker {address}; install bidsplan" in said


def test_a_scheduler_needs_no_bidsplan(start, plan, other, tmp_path, ask):
    cluster = start(path=other)
    cluster.add(1, "--no-nanny")
    assert ask("fetch", "--dask", cluster.address, plan, tmp_path / "d")[0] == 0
    assert tree(tmp_path / "d") == FILES


def test_a_path_that_is_another_directory_on_a_worker_is_refused(start, plan, tmp_path, ask):
    cluster = start()
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        cluster.add(1, "--no-nanny", cwd=folder)
    destination = "/proc/self/cwd/d"
    code, _, said = ask("fetch", "--dask", cluster.address, plan, destination)
    assert code == 1
    assert "not the directory that other workers have" in said
    assert "(worker tcp://" in said
    # One of them has no file of the plan.
    assert not all(tree(folder) for folder in folders)


@pytest.mark.parametrize("to", ["storage", "directory"])
def test_no_secret_reaches_a_cluster_or_a_file(start, bucket, tmp_path, to):
    """The workers fetch with keys of their own, and to storage beside the source's."""
    bucket.fill(FILES)
    path = tmp_path / "x.plan.jsonl"
    write_plan(plan_over(f"s3://{bucket.name}", FILES), path)
    destination = f"s3://{bucket.name}/copy" if to == "storage" else str(tmp_path / "d")
    cluster = start()
    own = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    cluster.add(2, "--no-nanny", AWS_ENDPOINT_URL_S3=bucket.endpoint, **own)
    recorder = Recorder(cluster.address)
    done = fetch(recorder, path, destination, tmp_path)
    recorder.stop()
    assert done.returncode == 0, done.stderr
    assert b"20 fetched" in done.stdout
    copied = bucket.files("copy/") if to == "storage" else tree(tmp_path / "d")
    assert copied == FILES
    noted = [file.read_bytes() for file in (tmp_path / "d").rglob("*") if file.is_file()]
    if to == "storage":
        listing = bucket.get("?list-type=2&prefix=copy/.bidsplan/").decode()
        keys = [part.partition("</Key>")[0] for part in listing.split("<Key>")[1:]]
        noted = [bucket.get(f"/{key}") for key in keys]
    assert noted
    said = recorder.said()
    # What the tasks hold is seen, also what is compressed.
    assert b"fetch_share" in said
    assert b'"path":"sub-07/sub-07_T1w.json"' in said
    logs = cluster.logs().encode()
    found = [said, logs, path.read_bytes(), *noted, done.stdout, done.stderr]
    assert [leaks_in(data) for data in found] == [[]] * len(found)


def fetch(recorder, path, destination, tmp_path):
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = {CANARY}-file\naws_secret_access_key = {CANARY}-file\n"
    )
    (home / "google.json").write_text(f'{{"private_key": "{CANARY}-google"}}')
    environment = {
        **{name: os.environ[name] for name in ("PATH",)},
        **SECRETS,
        "HOME": str(home),
        "PYTHONPATH": SOURCE,
        "AWS_ENDPOINT_URL_S3": f"http://me:{CANARY}-endpoint@127.0.0.1:1",
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "google.json"),
    }
    command = [sys.executable, "-m", "bidsplan", "fetch", "--dask", recorder.address]
    return subprocess.run(
        [*command, path, destination], capture_output=True, env=environment, check=False
    )


def test_a_secret_that_is_sent_is_found(start, tmp_path):
    """The check above can fail: in a task's arguments, and in the compressed plan."""
    cluster = start()
    cluster.add(1, "--no-nanny")
    recorder = Recorder(cluster.address)
    path = tmp_path / "x.plan.jsonl"
    write_plan(local_plan(tmp_path, {f"{CANARY}.json": b"{}"}), path)
    code = run(["fetch", "--dask", recorder.address, "--quiet", str(path), str(tmp_path / "d")])
    recorder.stop()
    assert code == 0
    [_, *inside] = recorder.said().split(b'"plan_version"')
    assert any(leaks_in(lines) for lines in inside)
    recorder = Recorder(cluster.address)
    arguments = ["fetch", "--dask", recorder.address, "--profile", CANARY, "--quiet"]
    run([*arguments, str(path), str(tmp_path / "d")])
    recorder.stop()
    # A profile's name is sent, as a task's argument.
    assert leaks_in(recorder.said().split(b'"plan_version"')[0])
