"""The main job, on the tree that pyAFQ tests its S3 classes on and on S3's real protocol."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner

from bidsplan.cli.main import bidsplan, run
from bidsplan.compile.compiler import compile_manifest
from bidsplan.manifest.load import load_manifest
from bidsplan.paths import printable
from bidsplan.plan.file import read_plan
from bidsplan.storage import Access, Transport, open_store
from corpora import FOLDER, needs_corpora
from servers import Proxy, Rule, free_port

MANIFEST = """\
manifest_version: 1
study: {{id: ds000102-mimic, url: "{url}"}}
subjects: {{sample: {{count: 5, method: shuffle}}}}
random_seed: 42
"""


@pytest.fixture(scope="module")
def mimic():
    if not FOLDER.is_dir():
        pytest.skip("no corpora here")
    files = {}
    with tarfile.open(FOLDER / "ds000102-mimic.tar.xz") as archive:
        for member in archive:
            if member.isfile():
                files[member.name.partition("/")[2]] = archive.extractfile(member).read()
    return files


@pytest.fixture
def study(mimic, bucket):
    bucket.fill({f"ds000102-mimic/{key}": data for key, data in mimic.items()})
    return f"s3://{bucket.name}/ds000102-mimic"


def write(folder, url, name="study.yaml"):
    path = folder / name
    path.write_text(MANIFEST.format(url=url), encoding="utf-8")
    return path


def command(*arguments):
    return run([str(argument) for argument in arguments])


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".bidsplan" not in path.parts
    }


@needs_corpora
def test_the_main_job(mimic, study, proxy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    manifest, data = write(tmp_path, study), tmp_path / "data"
    assert command("fetch", manifest, data) == 0
    plan = read_plan(tmp_path / "study.plan.jsonl")
    labels = sorted(key.split("/")[0] for key in mimic if key.startswith("sub-"))
    expected = sorted(set(labels))
    np.random.RandomState(42).shuffle(expected)
    assert list(plan.header.subjects) == sorted(name[4:] for name in expected[:5])
    got = tree(data)
    assert got == {entry.path: mimic[entry.key] for entry in plan.entries}
    assert {path.split("/")[0] for path in got if path.startswith("sub-")} == set(expected[:5])

    proxy.requests.clear()
    assert command("fetch", manifest, data) == 0
    assert proxy.requests == []
    assert command("verify", tmp_path / "study.plan.jsonl", data) == 0
    assert proxy.requests == []

    victim = next(entry for entry in plan.entries if entry.size > 10)
    path = data / victim.path
    before = path.stat()
    damaged = bytearray(path.read_bytes())
    damaged[3] ^= 1
    path.write_bytes(damaged)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    capsys.readouterr()
    assert command("verify", tmp_path / "study.plan.jsonl", data) == 1
    assert victim.path in capsys.readouterr().err


def entries(plan):
    return [(e.key, e.path, e.size, e.reason) for e in plan.entries]


@needs_corpora
def test_every_transport_makes_the_same_plan(mimic, study, bucket, tmp_path):
    local = tmp_path / "local"
    for key, data in mimic.items():
        (local / key).parent.mkdir(parents=True, exist_ok=True)
        (local / key).write_bytes(data)
    manifest = load_manifest(write(tmp_path, study)).manifest
    plans = [
        compile_manifest(
            manifest, access=Access(transport=transport, endpoint_url=bucket.endpoint)
        ).plan
        for transport in (Transport.OBSTORE, Transport.FSSPEC)
    ]
    assert list(plans[0].lines()) == list(plans[1].lines())
    copy = load_manifest(write(tmp_path, "local", "local.yaml"))
    found = compile_manifest(copy.manifest, base=tmp_path).plan
    assert entries(found) == entries(plans[0])


class Shuffled:
    """A store whose listings come in another order."""

    def __init__(self, store, seed):
        self._store, self._random = store, random.Random(seed)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def list(self, prefix=""):
        found = list(self._store.list(prefix))
        self._random.shuffle(found)
        return iter(found)

    def children(self, prefix=""):
        found = self._store.children(prefix)
        shuffled = [list(found.objects), list(found.directories)]
        for some in shuffled:
            self._random.shuffle(some)
        return type(found)(*map(tuple, shuffled))


@needs_corpora
def test_neither_hash_seed_nor_listing_order_matters(mimic, study, bucket, tmp_path):
    manifest = write(tmp_path, study)
    outputs = []
    for seed in ("0", "1"):
        out = tmp_path / f"plan{seed}.plan.jsonl"
        arguments = ["compile", str(manifest), "-o", str(out), "--endpoint-url", bucket.endpoint]
        subprocess.run(
            [sys.executable, "-m", "bidsplan", *arguments],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        outputs.append(out.read_bytes())
    access = Access(endpoint_url=bucket.endpoint)
    for seed in range(2):
        compiled = compile_manifest(
            load_manifest(manifest).manifest,
            access=access,
            opener=lambda url, seed=seed, **more: Shuffled(open_store(url, **more), seed),
        )
        outputs.append(b"".join(compiled.plan.lines()))
    assert len(set(outputs)) == 1


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_what_is_fetched_by_either_transport_is_the_source(transport, bucket, tmp_path):
    files = {
        "dataset_description.json": b"{}",
        "sub-1/anat/sub-1_T1w.nii.gz": random.Random(1).randbytes(3 << 20),
        "sub-1/anat/sub 1+%25 caf\u00e9_T1w.json": b"{}",
    }
    bucket.fill(files)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}}}\n", encoding="utf-8"
    )
    code = command(
        *("fetch", manifest, tmp_path / "d"),
        *("--endpoint-url", bucket.endpoint, "--transport", transport),
    )
    assert code == 0
    assert tree(tmp_path / "d") == files


def failing(arguments, capsys):
    code = command(*arguments)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.err


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"

    def make(url):
        path.write_text(f"manifest_version: 1\nstudy: {{id: x, url: {url}}}\n", encoding="utf-8")
        return path

    return make


@pytest.mark.timeout(30)
def test_three_ways_not_to_find_a_study_are_three_errors(bucket, moto, small, capsys):
    denied = Proxy(moto.url)
    denied.rules.append(Rule("status", "list-type=2", status=403))
    manifest = small(f"s3://{bucket.name}/nothing-here")
    found = [
        failing(["compile", manifest, "--endpoint-url", url], capsys)
        for url in (denied.url, f"http://127.0.0.1:{free_port()}", bucket.endpoint)
    ]
    denied.stop()
    assert [code for code, _ in found] == [1, 1, 1]
    assert "access is denied (403)" in found[0][1]
    assert "refused the connection" in found[1][1]
    assert "there is nothing at " in found[2][1]
    assert not manifest.with_name("small.plan.jsonl").exists()


def test_results_are_json_where_asked_for(tmp_path, capsys):
    manifest = tmp_path / "bad.yaml"
    manifest.write_text("manifest_version: 1\nstdy: {}\n", encoding="utf-8")
    assert command("validate", "--json", manifest) == 2
    data = json.loads(capsys.readouterr().out)
    assert data["valid"] is False
    assert {problem["line"] for problem in data["problems"]} == {1, 2}


def test_help_names_every_command():
    text = CliRunner().invoke(bidsplan, ["--help"]).output
    for name in ("validate", "compile", "fetch", "verify", "schema"):
        assert f"\n  {name} " in text


SAFE = {
    "sub-1/anat/with space.txt": b"1",
    "sub-1/anat/plus+percent%25hash#question?.txt": b"2",
    "sub-1/anat/caf\u00e9.txt": b"composed",
    "sub-1/anat/cafe\u0301.txt": b"decomposed",
    "sub-1/anat/[brackets]*{}~$'!().txt": b"3",
    "sub-1/both/inside.txt": b"4",
    "sub-1/marker/inside.txt": b"5",
    "sub-1/notes_$folder$": b"6",
}
REFUSED = {
    "sub-1//anat/double.txt": "it has an empty segment",
    "sub-1/../up.txt": "it has a '..' segment",
    "sub-1/./dot.txt": "it has a '.' segment",
    "sub-1/anat/bell\x07.txt": "it has the character U+0007",
    "sub-1/anat/over\u202eride.txt": "it has the character U+202E",
    "sub-1/anat/back\\slash.txt": "it has a backslash",
    "sub-1/full/": "it has an empty segment",
    "sub-1/both": "it is also a directory",
}
PASSED_OVER = ("sub-1/", "sub-1/anat/", "sub-1/marker", "sub-1_$folder$", "sub-1/anat_$folder$")


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_odd_keys_are_fetched_right_or_refused_by_name(transport, bucket, small, tmp_path, capsys):
    bucket.fill(SAFE)
    bucket.fill(dict.fromkeys(REFUSED, b"x"))
    bucket.fill(dict.fromkeys(PASSED_OVER, b""))
    manifest = small(f"s3://{bucket.name}")
    code = command(
        *("fetch", manifest, tmp_path / "d"),
        *("--endpoint-url", bucket.endpoint, "--transport", transport),
    )
    told = capsys.readouterr().err
    assert code == 0
    got = tree(tmp_path / "d")
    del got["dataset_description.json"]
    assert got == SAFE
    for key, reason in REFUSED.items():
        shown = printable(key)
        assert f"s3://{bucket.name}: the key {shown!r} is not planned: {reason}" in told
    assert "are the same file where case or Unicode form is ignored" in told
    assert told.count("warning: ") == len(REFUSED) + 1


def test_the_endpoint_that_is_for_s3_beats_the_one_for_all(bucket, small, tmp_path, monkeypatch):
    bucket.fill({"sub-1/anat/sub-1_T1w.json": b"{}"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    manifest = small(f"s3://{bucket.name}")
    for transport in ("obstore", "fsspec"):
        arguments = ["fetch", manifest, tmp_path / transport, "--transport", transport]
        assert command(*arguments) == 0
        manifest.with_name("small.plan.jsonl").unlink()


def test_signed_requests_use_the_profile_that_is_named(bucket, small, tmp_path, monkeypatch):
    watcher = Proxy(bucket.endpoint)
    bucket.fill({"sub-1/anat/sub-1_T1w.json": b"{}"})
    (tmp_path / "no-aws-credentials").write_text(
        "[lab]\naws_access_key_id = AKIACANARYCANARY00\naws_secret_access_key = canary-secret\n"
    )
    manifest = small(f"s3://{bucket.name}, anonymous: false")
    for transport in ("obstore", "fsspec"):
        code = command(
            *("fetch", manifest, tmp_path / transport, "--transport", transport),
            *("--endpoint-url", watcher.url, "--profile", "lab"),
        )
        assert code == 0
        plan = manifest.with_name("small.plan.jsonl")
        assert "canary" not in plan.read_text().lower()
        plan.unlink()
    assert watcher.keys == {"AKIACANARYCANARY00"}
    watcher.stop()


def test_without_credentials_a_signed_request_says_so(bucket, small, capsys):
    manifest = small(f"s3://{bucket.name}, anonymous: false")
    code, err = failing(["compile", manifest, "--endpoint-url", bucket.endpoint], capsys)
    assert code == 1
    said = (
        "no AWS credentials were found for signed requests (the default profile); set AWS_PROFILE"
    )
    assert said in err


def test_a_profile_that_is_not_there_is_wrong_usage(bucket, small, capsys):
    manifest = small(f"s3://{bucket.name}")
    code, err = failing(["compile", manifest, "--profile", "nobody"], capsys)
    assert code == 2
    assert "nobody" in err
