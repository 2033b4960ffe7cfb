"""Errors of the storage that files come from, and how their entries mend them."""

from __future__ import annotations

import shutil
import ssl

import trustme

from bidsplan.help_codes import HelpCode
from lab import LISTING, STUDY, stored
from mended_requests import openneuro
from mending import mends
from servers import HOST, Proxy, Rule, free_port
from sites import Page, Site

IMAGE = "study/sub-01/anat/sub-01_T1w.nii"
PAYER = "x-amz-request-payer"
OF_FSSPEC = "amz-sdk-request"
"""A header that only the transport fsspec sends."""
AWS = "https://s3.us-east-1.amazonaws.com"


def refusing(lab, status, code="", **more) -> None:
    """Store the study, and let the storage answer requests for an image by a status."""
    stored(lab)
    lab.proxy.rules.append(Rule("status", IMAGE, status=status, code=code, **more))


def profiled(lab, entry, text="") -> None:
    """Give the reader a profile with keys of its own, and keys in the environment."""
    lab.signed()
    config = entry.home / "aws-config"
    keys = "aws_access_key_id = lab\naws_secret_access_key = secret\nregion = us-east-1\n"
    config.write_text(f"[profile lab]\n{keys}{text}", encoding="utf-8")
    lab.monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    lab.monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@mends(HelpCode.SOURCE_MISSING)
def source_missing(lab, entry):
    stored(lab)
    lab.bucket.delete(IMAGE)
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.ROOT_MISSING)
def root_missing(lab, entry):
    lab.compile()
    (lab.folder / "plans").mkdir()
    shutil.move(lab.folder / "study.plan.jsonl", lab.folder / "plans")
    entry.fails("bidsplan fetch plans/study.plan.jsonl data")
    entry.follow()
    entry.solved()


@mends(HelpCode.SOURCE_CHANGED)
def source_changed(lab, entry):
    lab.bucket.versioned()
    stored(lab)
    lab.bucket.put(IMAGE, b"other")
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()
    lab.compile("", f"{{id: x, url: 's3://{lab.bucket.name}/study', versions: pinned}}")
    lab.bucket.put(IMAGE, b"one more")
    entry.solved("bidsplan fetch study.yaml pinned")


@mends(HelpCode.ARCHIVED)
def archived(lab, entry):
    entry.needs("aws")
    stored(lab)
    lab.bucket.put(IMAGE, STUDY["sub-01/anat/sub-01_T1w.nii"], {"x-amz-storage-class": "GLACIER"})
    profiled(lab, entry)
    entry.meant[f"{IMAGE}.gz"] = IMAGE
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.LISTING)
def listing(lab, entry):
    stored(lab)
    entry.meant[AWS] = lab.bucket.endpoint
    half = "<Contents><Key>study/sub-1/a</Key><ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"
    body = LISTING.format("true", half).encode()
    lab.proxy.rules.append(Rule("status", "list-type=2", status=200, body=body))
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    entry.solved("bidsplan show study.plan.jsonl")


@mends(HelpCode.NO_INDEX)
def no_index(lab, entry):
    openneuro(lab)
    with Site() as site:
        site.fill({"x/dataset_description.json": b"{}"})
        site.pages["/x/"] = Page(status=403)
        entry.fails(f"bidsplan inspect {site.url}/x --allow-protocol http")
        entry.follow()
        del site.pages["/x/"]
        site.fill({f"x/{path}": data for path, data in STUDY.items()})
        entry.solved()


@mends(HelpCode.DENIED)
def denied(lab, entry):
    refusing(lab, 403, "AccessDenied", key="test")
    profiled(lab, entry)
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL", lab.bucket.endpoint)
    entry.fails("bidsplan fetch --signed study.yaml data")
    entry.follow(2)
    shutil.rmtree(lab.folder / "data")
    lab.proxy.rules[:] = [Rule("status", IMAGE, status=403, code="AccessDenied", lacks=PAYER)]
    entry.fails("bidsplan fetch --signed study.yaml data")
    entry.follow()
    entry.solved("bidsplan verify study.yaml data")


@mends(HelpCode.DENIED_UNSIGNED)
def denied_unsigned(lab, entry):
    stored(lab)
    profiled(lab, entry)
    lab.proxy.rules.append(Rule("status", status=403, code="AccessDenied", lacks="Authorization"))
    entry.fails("bidsplan compile study.yaml")
    entry.follow()
    assert lab.proxy.keys == {"lab"}
    lab.manifest(study=entry.fragment().removeprefix("study: "))
    entry.solved()


@mends(HelpCode.NO_CREDENTIALS)
def no_credentials(lab, entry):
    stored(lab)
    entry.fails("bidsplan fetch --signed study.yaml data")
    entry.follow()
    entry.solved("bidsplan verify study.yaml data")


@mends(HelpCode.CREDENTIALS)
def credentials(lab, entry):
    refusing(lab, 403, "ExpiredToken", key="test")
    lab.signed()
    entry.fails("bidsplan fetch --signed study.yaml data")
    lab.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "renewed")
    entry.follow()
    entry.solved()


@mends(HelpCode.REFUSED_HOST)
def refused_host(lab, entry):
    stored(lab)
    entry.meant["https://s3.eu-central-1.amazonaws.com"] = lab.bucket.endpoint
    headers = {"Location": f"{lab.bucket.endpoint}/"}
    lab.proxy.rules.append(Rule("status", "list-type=2", status=302, headers=headers))
    entry.fails("bidsplan inspect s3://lab-bucket/study")
    entry.follow()
    entry.solved(
        "bidsplan inspect --endpoint-url " + lab.bucket.endpoint + " s3://lab-bucket/study"
    )


@mends(HelpCode.REGION)
def region(lab, entry):
    stored(lab)
    profiled(lab, entry, f"[default]\nendpoint_url = {lab.bucket.endpoint}\n")
    lab.monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL", lab.proxy.url)
    places = iter(range(99))

    def move():
        rule.headers = {"x-amz-bucket-region": f"eu-west-{next(places)}"}

    rule = Rule("status", "list-type=2", status=301, code="PermanentRedirect", hook=move)
    lab.proxy.rules.append(rule)
    entry.fails("bidsplan compile --signed study.yaml")
    entry.follow()
    entry.solved("bidsplan show study.plan.jsonl")


@mends(HelpCode.THROTTLED)
def throttled(lab, entry):
    refusing(lab, 503, "SlowDown")
    entry.fails("bidsplan fetch study.yaml data")
    lab.proxy.rules.clear()
    entry.follow()
    entry.solved("bidsplan fetch --limit-rate 50M study.yaml data")


@mends(HelpCode.UNREACHABLE)
def unreachable(lab, entry):
    stored(lab)
    entry.meant[AWS] = lab.bucket.endpoint
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{HOST}:{free_port()}")
    entry.fails("bidsplan fetch study.yaml data")
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.bucket.endpoint)
    entry.follow()
    entry.solved()


@mends(HelpCode.CERTIFICATE)
def certificate(lab, entry):
    stored(lab)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    bundle = lab.folder.with_name("ca.pem")
    authority.cert_pem.write_to_path(bundle)
    entry.meant["/etc/ssl/lab-ca.pem"] = str(bundle)
    server = Proxy(lab.bucket.endpoint, tls=context)
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    entry.fails("bidsplan inspect s3://lab-bucket/study")
    entry.follow()
    entry.solved()
    server.stop()


@mends(HelpCode.TOO_SLOW)
def too_slow(lab, entry):
    stored(lab)
    lab.proxy.rules.append(Rule("trickle", IMAGE))
    with lab.monkeypatch.context() as limits:
        limits.setattr("bidsplan.storage.retry.BODY_SECONDS", 0.2)
        limits.setattr("bidsplan.storage.retry._OBJECT_SECONDS", 0.3)
        limits.setattr("bidsplan.storage.retry._LOWEST_RATE", 1 << 30)
        entry.fails("bidsplan fetch study.yaml data")
    lab.proxy.rules.clear()
    entry.follow()
    entry.solved()


@mends(HelpCode.STORAGE)
def storage(lab, entry):
    refusing(lab, 418, lacks=OF_FSSPEC)
    entry.fails("bidsplan fetch study.yaml data")
    entry.follow()
    entry.solved()


@mends(HelpCode.BUCKET_MISSING)
def bucket_missing(lab, entry):
    entry.needs("aws")
    profiled(lab, entry)
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.proxy.url)
    name = f"{lab.bucket.name}-new"
    entry.meant |= {"lab-bucket": name, "https://minio.example.org": lab.bucket.endpoint}
    entry.fails("bidsplan fetch study.yaml s3://lab-bucket/study")
    entry.follow(1)
    entry.solved()
    entry.meant["lab-bucket"] = name = lab.bucket.name
    lab.bucket.fill({f"study/{key}": data for key, data in STUDY.items()})
    for method in ("GET", "HEAD", "PUT"):
        missing = Rule("status", name, method=method, status=404, code="NoSuchBucket")
        lab.proxy.rules.append(missing)
    entry.fails("bidsplan inspect s3://lab-bucket/study")
    entry.fails("bidsplan fetch study.yaml s3://lab-bucket/study")
    entry.follow()
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.bucket.endpoint)
    entry.solved()
