"""URLs that no storage has, in manifests and in plans: one clear message, and no crash."""

from __future__ import annotations

import pytest

from bidsplan.cli.main import run
from bidsplan.plan import Entry
from bidsplan.plan.file import write_plan
from bidsplan.urls import refused_url
from codes import without_codes
from plans import plan_of

BUCKETS = ["buc ket", "..", "b%20", "b:9", "b\\x", "-", "é", "b;x", "x" * 256, ".b", "b*"]
NO_BUCKET = "the URL is refused: its bucket or container name is invalid"
HOSTS = [":443", "h:99999", "[", "[::1", "a b", "xn--", "%", "1.2.3.4.5"]


def compiled(url, folder):
    text = f"manifest_version: 1\nstudy:\n  id: x\n  url: '{url}'\n"
    (folder / "m.yaml").write_text(text, encoding="utf-8")
    return run(["compile", str(folder / "m.yaml")])


def fetched(url, folder):
    entry = Entry(path="a", key="a", size=1, reason="selected")
    write_plan(plan_of([entry], url), folder / "p.plan.jsonl")
    return run(["fetch", str(folder / "p.plan.jsonl"), str(folder / "d")])


@pytest.mark.parametrize("use", [compiled, fetched])
@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_that_can_not_be_is_refused(tmp_path, capfd, monkeypatch, use, bucket):
    # Nothing is asked for; if it were, then of this machine.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    assert use(f"s3://{bucket}/x", tmp_path) == 2
    said = capfd.readouterr().err
    assert NO_BUCKET in said
    assert without_codes(said).count("\n") == 1
    assert bucket not in said.replace(NO_BUCKET, "").replace(str(tmp_path), "") or len(bucket) < 3


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("protocol", ["s3", "gs", "az"])
def test_the_same_names_are_refused_of_all_object_stores(bucket, protocol):
    assert NO_BUCKET.endswith(refused_url(f"{protocol}://{bucket}/x") or "-")


@pytest.mark.parametrize("use", [compiled, fetched])
@pytest.mark.parametrize("url", ["az://container/x", *(f"https://{host}/" for host in HOSTS)])
def test_what_can_not_be_opened_is_told(tmp_path, capfd, monkeypatch, use, url):
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    assert use(url, tmp_path) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert "defect" not in said
    assert without_codes(said).count("\n") == 1
    if url.startswith("az"):
        assert "AZURE_STORAGE_ACCOUNT_NAME must name the account" in said


ENDPOINTS = ["http://127.0.0.1:99999", "http://a b", "http://127.0.0.1:abc", "http://%zz/"]
ENDPOINTS += ["http://127.0.0.1:1/p q", "http://[", "ftp://127.0.0.1:1", "http://x\\@127.0.0.1:1"]


@pytest.mark.parametrize("use", [compiled, fetched])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_endpoint_that_can_not_be_is_told(tmp_path, capfd, monkeypatch, use, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    assert use("s3://bucket/x", tmp_path) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert "can't be used" in said
    assert without_codes(said).count("\n") == 1


@pytest.mark.parametrize("name", ["openneuro.org", "A_b", "$web", "1", "fcp-indi", "x" * 63])
def test_buckets_that_there_are_pass(name):
    assert refused_url(f"s3://{name}/x") is None
