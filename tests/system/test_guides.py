"""The guides show what their commands print."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import boto3
import pytest
import trustme

import exports
import guides
import studies
from plans import write_files
from servers import HOST, Bucket, Proxy

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "how-to"
AMAZON = "https://s3.amazonaws.com"
COMMITTER = {
    f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


@pytest.fixture
def check(tmp_path, moto):
    """Run a guide, and compare it with what it shows."""

    def call(name, real=(), errors=0, **environment):
        page = GUIDES / name
        environment = {"AWS_ENDPOINT_URL_S3": moto.url} | environment
        played = guides.play(page, tmp_path, real={AMAZON: moto.url, **dict(real)}, **environment)
        (tmp_path / name).write_text(played, encoding="utf-8")
        shown = page.read_text(encoding="utf-8")
        assert played == shown, f"what the commands print now is in {tmp_path / name}"
        assert len(re.findall("^error: ", shown, re.M)) == errors
        return tmp_path / "work"

    return call


@pytest.fixture
def openneuro(moto):
    Bucket(moto.url, "openneuro.org").versioned()
    for name, files in (("ds000114", studies.test_retest()), ("ds000001", studies.gamblers())):
        studies.upload(moto.url, "openneuro.org", name, files)
    files = studies.preprocessed_gamblers()
    studies.upload(moto.url, "openneuro-derivatives", "fmriprep/ds000001-fmriprep", files)


def test_the_guide_to_openneuro_prints_what_it_shows(check, openneuro, moto):
    work = check("openneuro.md")
    assert (work / "data" / "dwi.bval").exists()


def test_the_guide_to_fmriprep_prints_what_it_shows(check, openneuro):
    check("fmriprep.md")


def test_the_guide_to_hbn_prints_what_it_shows(check, moto):
    labels = ("NDARAA306NT2", "NDARAB458VK9", "NDARAC349YUC", "NDARAA948VFH", "NDARAD459XJK")
    files = studies.brain_network("Site-RU", labels[:3])
    files |= studies.brain_network("Site-CBIC", labels[3:])
    studies.upload(moto.url, "fcp-indi", "data/Projects/HBN/MRI", files)
    check("hbn.md")


@pytest.fixture
def lab(moto, tmp_path):
    """Give an S3 server of a private authority with a private study, as the guide names it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    bundle, keys = tmp_path / "ca.pem", tmp_path / "get-keys"
    authority.cert_pem.write_to_path(bundle)
    secret = '{"Version": 1, "AccessKeyId": "lab", "SecretAccessKey": "secret"}'
    keys.write_text(f"#!/bin/sh\necho '{secret}'\n", encoding="utf-8")
    keys.chmod(0o755)
    options = {"aws_access_key_id": "lab", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=moto.url, region_name="us-east-1", **options)
    for bucket in ("lab-data", "lab-copies"):
        client.create_bucket(Bucket=bucket)
    for path, data in studies.gamblers().items():
        client.put_object(Bucket="lab-data", Key=f"cohort/{path}", Body=data)
    server = Proxy(moto.url, tls=context)
    yield {
        "https://minio.lab.example:9000": server.url,
        "minio.lab.example": HOST,
        "/etc/ssl/lab-ca.pem": str(bundle),
        "/opt/lab/get-keys": str(keys),
    }
    server.stop()


def test_the_guide_to_private_storage_prints_what_it_shows(check, lab):
    work = check("private-storage.md", lab, 2, AWS_ENDPOINT_URL_S3="")
    assert sorted(path.name for path in work.iterdir()) == [
        "cohort.plan.jsonl",
        "cohort.yaml",
        "data",
    ]


def test_the_guide_to_cohorts_prints_what_it_shows(check, moto):
    studies.upload(moto.url, "openneuro.org", "ds000001", studies.sixteen_gamblers())
    check("cohort.md")


def test_the_guide_to_datalad_prints_what_it_shows(check, openneuro):
    exports.needed("git", "git-annex")
    # git-annex asks no host of this machine unless told to.
    allowed = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": HOST}
    allowed["GIT_CONFIG_KEY_0"] = "annex.security.allowed-ip-addresses"
    names = {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    check("datalad.md", errors=2, **allowed, **names)


def test_the_guide_to_moving_prints_what_it_shows(check, openneuro, moto, tmp_path):
    pytest.importorskip("s3bids")
    exports.needed("s5cmd")
    # Stands for what `downloadcmd` has downloaded.
    write_files(tmp_path / "work" / "nda" / "fmriresults01", studies.gamblers())
    keys = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    check("migrating.md", S3_ENDPOINT_URL=moto.url, **keys)
