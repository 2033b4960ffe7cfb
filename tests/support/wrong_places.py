"""Errors of storage, bytes and destinations, as users meet them."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import ssl
import stat
import subprocess
import sys

import pytest
import trustme

import bidsplan
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.lock import RunLock
from bidsplan.help_codes import HelpCode
from lab import KEY, LISTING, limited, provokes
from plans import FILES, md5, write_files
from servers import HOST, Proxy, Rule, free_port
from sites import Page, Site


@provokes(HelpCode.SOURCE_MISSING)
def source_missing(lab):
    lab.storage_plan()
    lab.bucket.delete(f"x/{KEY}")
    yield lab.fetch()
    yield lab.inspect("--endpoint-url", f"{lab.proxy.url}/{lab.bucket.name}")
    lab.compile()
    (lab.folder / "study/sub-01/anat/sub-01_T1w.nii").unlink()
    yield lab.run("fetch", "study.plan.jsonl", "e")


@provokes(HelpCode.ROOT_MISSING)
def root_missing(lab):
    lab.compile()
    shutil.rmtree(lab.folder / "study")
    yield lab.run("fetch", "study.plan.jsonl", "d")


@provokes(HelpCode.SOURCE_CHANGED)
def source_changed(lab):
    lab.storage_plan()
    lab.bucket.put(f"x/{KEY}", b"other")
    yield lab.fetch()
    lab.compile()
    (lab.folder / "study/sub-01/anat/sub-01_T1w.nii").write_bytes(b"other")
    yield lab.run("fetch", "study.plan.jsonl", "e")


@provokes(HelpCode.ARCHIVED)
def archived(lab):
    yield lab.refused(403, "InvalidObjectState")


@provokes(HelpCode.LISTING)
def listing(lab):
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.proxy.url)
    one = "<Contents><Key>x/sub-1/a</Key><ETag>&quot;1&quot;</ETag><Size>{}</Size></Contents>"
    twice = one.format(1) + one.format(2)
    for truncated, contents in (("true", one.format(1)), ("false", twice)):
        body = LISTING.format(truncated, contents).encode()
        rule = Rule("status", "list-type=2", status=200, body=body)
        lab.proxy.rules[:] = [rule]
        yield lab.compile(study=f"{{id: x, url: 's3://{lab.bucket.name}/x'}}")


@provokes(HelpCode.NO_INDEX)
def no_index(lab):
    with Site() as site:
        site.fill({"x/dataset_description.json": b"{}"})
        site.pages["/x/"] = Page(status=403)
        site.pages["/login/"] = Page(b"<html>Please log in</html>", kind="text/html")
        for path in ("x", "login"):
            yield lab.run("inspect", f"{site.url}/{path}", "--allow-protocol", "http")


@provokes(HelpCode.DENIED)
def denied(lab):
    lab.signed()
    yield lab.refused(403, "AccessDenied", "--signed")


@provokes(HelpCode.DENIED_UNSIGNED)
def denied_unsigned(lab):
    yield lab.refused(403, "AccessDenied")


@provokes(HelpCode.NO_CREDENTIALS)
def no_credentials(lab):
    yield lab.inspect("--signed", "--endpoint-url", lab.proxy.url)
    lab.storage_plan()
    yield lab.run("fetch", "--anonymous", "s.plan.jsonl", f"s3://{lab.bucket.name}/copy")
    config = lab.folder / "config"
    config.write_text("[profile lab]\ncredential_process = false\n[profile empty]\n")
    lab.monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    yield lab.inspect("--signed", "--profile", "lab", "--endpoint-url", lab.proxy.url)
    yield lab.inspect("--signed", "--profile", "empty", "--endpoint-url", lab.proxy.url)


@provokes(HelpCode.CREDENTIALS)
def credentials(lab):
    lab.signed()
    words = ("ExpiredToken", "SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed")
    for word in words:
        yield lab.refused(403, word, "--signed")
        lab.proxy.rules.clear()


@provokes(HelpCode.REFUSED_HOST)
def refused_host(lab):
    elsewhere = {"Location": "http://elsewhere.invalid/"}
    lab.proxy.rules.append(Rule("status", "list-type=2", status=302, headers=elsewhere))
    yield lab.inspect("--endpoint-url", lab.proxy.url)
    with Site() as site:
        site.pages["/x/"] = Page(status=302, headers={"Location": "ftp://elsewhere.invalid/"})
        yield lab.run("inspect", f"{site.url}/x", "--allow-protocol", "http")


@provokes(HelpCode.REGION)
def region(lab):
    lab.signed()
    lab.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lab.proxy.url)
    places = iter(range(99))

    def move():
        rule.headers = {"x-amz-bucket-region": f"eu-west-{next(places)}"}

    rule = Rule("status", "list-type=2", status=301, code="PermanentRedirect", hook=move)
    lab.proxy.rules.append(rule)
    yield lab.inspect("--signed")


@provokes(HelpCode.THROTTLED)
def throttled(lab):
    yield lab.refused(503, "SlowDown")


@provokes(HelpCode.UNREACHABLE)
def unreachable(lab):
    yield lab.inspect("--endpoint-url", f"http://{HOST}:{free_port()}")
    yield lab.inspect("--endpoint-url", "http://storage.invalid")
    yield lab.refused(500)
    lab.proxy.rules[:] = [Rule("short", KEY)]
    yield lab.fetch()
    lab.proxy.rules[:] = [Rule("lose", KEY)]
    yield lab.fetch()


@provokes(HelpCode.CERTIFICATE)
def certificate(lab):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    server = Proxy(lab.bucket.endpoint, tls=context)
    yield lab.inspect("--endpoint-url", server.url)
    server.stop()


@provokes(HelpCode.TOO_SLOW)
def too_slow(lab):
    lab.storage_plan()
    lab.monkeypatch.setattr("bidsplan.storage.retry.BODY_SECONDS", 0.2)
    lab.monkeypatch.setattr("bidsplan.storage.retry._OBJECT_SECONDS", 0.3)
    lab.monkeypatch.setattr("bidsplan.storage.retry._LOWEST_RATE", 1 << 30)
    lab.proxy.rules.append(Rule("trickle", KEY))
    yield lab.fetch()


@provokes(HelpCode.STORAGE)
def storage(lab):
    yield lab.refused(418)
    with Site() as site:
        site.pages["/x/"] = Page(status=302, headers={"Location": "/x/"})
        yield lab.run("inspect", f"{site.url}/x", "--allow-protocol", "http")


@provokes(HelpCode.CORRUPT)
def corrupt(lab):
    lab.storage_plan({KEY: FILES[KEY]}, md5=md5(FILES[KEY]))
    lab.proxy.rules.append(Rule("flip", KEY))
    yield lab.fetch()


@provokes(HelpCode.UNPROVED)
def unproved(lab):
    lab.storage_plan()
    lab.proxy.rules.append(Rule("flip", KEY))
    yield lab.fetch()


@provokes(HelpCode.DIFFERS)
def differs(lab):
    lab.compile()
    lab.run("fetch", "study.plan.jsonl", "d")
    (lab.folder / "d/sub-01/anat/sub-01_T1w.nii").write_bytes(b"two")
    yield lab.run("verify", "study.plan.jsonl", "d")


@provokes(HelpCode.SIZE_ONLY)
def size_only(lab):
    lab.compile()
    lab.run("fetch", "study.plan.jsonl", "d")
    shutil.rmtree(lab.folder / "d/.bidsplan")
    yield lab.run("pin", "study.plan.jsonl", "d")


@provokes(HelpCode.IMAGE_DAMAGED)
def image_damaged(lab):
    lab.compile()
    lab.run("fetch", "study.plan.jsonl", "d")
    yield lab.run("verify", "--deep", "study.plan.jsonl", "d")


@provokes(HelpCode.EXISTING)
def existing(lab):
    lab.compile()
    write_files(lab.folder / "d", {"sub-01/anat/sub-01_T1w.nii": b"mine"})
    yield lab.run("fetch", "study.plan.jsonl", "d")


@provokes(HelpCode.OUTDATED)
def outdated(lab):
    lab.compile()
    lab.run("fetch", "study.plan.jsonl", "d")
    write_files(lab.folder / "study", {"sub-01/anat/sub-01_T1w.nii": b"newer"})
    lab.compile()
    yield lab.run("fetch", "study.plan.jsonl", "d")
    yield lab.run("verify", "study.plan.jsonl", "d")


@provokes(HelpCode.MISSING)
def missing(lab):
    lab.compile()
    lab.run("fetch", "--subject", "01", "study.plan.jsonl", "d")
    yield lab.run("verify", "study.plan.jsonl", "d")
    yield lab.run("verify", "study.plan.jsonl", "nowhere")


@provokes(HelpCode.UNSAFE_PATH)
def unsafe_path(lab):
    lab.compile()
    (lab.folder / "d").mkdir()
    (lab.folder / "d/sub-01").symlink_to(lab.folder / "study")
    yield lab.run("fetch", "study.plan.jsonl", "d")


@provokes(HelpCode.LOCKED)
def locked(lab):
    lab.compile()
    place = LocalDestination(str(lab.folder / "d"), create=True)
    lock = RunLock(place)
    assert list(lock.acquire(wait=False)) == []
    yield lab.run("fetch", "study.plan.jsonl", "d")
    lock.release()
    place.close()


@provokes(HelpCode.DISK_FULL)
def disk_full(lab):
    write_files(lab.folder / "study", {"sub-01/anat/sub-01_T2w.nii": b"x" * (2 << 20)})
    lab.compile()
    with limited(resource.RLIMIT_FSIZE, 1 << 20):
        yield lab.run("fetch", "study.plan.jsonl", "d")
    real = os.statvfs("/")
    full = dataclasses.make_dataclass("Full", [("f_bavail", int), ("f_frsize", int)])
    lab.monkeypatch.setattr(os, "statvfs", lambda _: full(0, real.f_frsize))
    yield lab.run("fetch", "study.plan.jsonl", "e")


@provokes(HelpCode.DESTINATION)
def destination(lab):
    lab.compile()
    yield lab.run("fetch", "study.plan.jsonl", "/proc/none/d")
    lab.run("fetch", "study.plan.jsonl", "d")
    (lab.folder / "d/participants.tsv").unlink()
    os.mknod(lab.folder / "d/participants.tsv", 0o600 | stat.S_IFSOCK)
    yield lab.run("verify", "study.plan.jsonl", "d")
    yield lab.run("compile", "study.yaml", "-o", "/proc/none.plan.jsonl")


@provokes(HelpCode.DATALAD_CLONE)
def datalad_clone(lab):
    lab.compile()
    (lab.folder / "d/.git/annex").mkdir(parents=True)
    yield lab.run("fetch", "study.plan.jsonl", "d")


@provokes(HelpCode.SAME_NAME)
def same_name(lab):
    real = os.stat

    def folding(path, *arguments, **options):
        """Look names up as a file system does that ignores case."""
        return real(".probe-a" if path == ".probe-A" else path, *arguments, **options)

    write_files(lab.folder / "study", {"sub-01/anat/sub-01_acq-X_T1w.nii": b"x"})
    write_files(lab.folder / "study", {"sub-01/anat/sub-01_acq-x_T1w.nii": b"y"})
    lab.compile()
    lab.monkeypatch.setattr(os, "stat", folding)
    yield lab.run("fetch", "study.plan.jsonl", "d")


@provokes(HelpCode.WRITE_DENIED)
def write_denied(lab):
    lab.signed()
    lab.storage_plan()
    lab.proxy.rules.append(
        Rule("status", "/copy/a.txt", method="PUT", status=403, code="AccessDenied")
    )
    yield lab.run("fetch", "s.plan.jsonl", f"s3://{lab.bucket.name}/copy")


@provokes(HelpCode.BUCKET_MISSING)
def bucket_missing(lab):
    lab.signed()
    lab.storage_plan()
    yield lab.run("fetch", "s.plan.jsonl", "s3://no-such-bucket/copy")
    yield lab.run("inspect", "s3://no-such-bucket/x")
    lab.manifest(study="{id: x, url: s3://no-such-bucket/x}")
    yield lab.run("compile", "study.yaml")


@provokes(HelpCode.FETCH_FAILED)
def fetch_failed(lab):
    lab.compile()
    (lab.folder / "study/sub-02/anat/sub-02_T1w.nii").unlink()
    write_files(lab.folder / "d", {"sub-01/anat/sub-01_T1w.nii": b"mine"})
    with pytest.raises(bidsplan.FetchFailed) as caught:
        bidsplan.fetch("study.plan.jsonl", "d")
    assert caught.value.__notes__ == ["for help: bidsplan help BP501 BP701"]
    yield f"{caught.value} [{caught.value.help_code}]\n"


@provokes(HelpCode.CACHE)
def cache(lab):
    lab.compile()
    test = "def test_data(bidsplan_dataset):\n    bidsplan_dataset('study.yaml')\n"
    (lab.folder / "test_data.py").write_text(test)
    options = ["--bidsplan=offline", "--bidsplan-cache=cache", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *options, "test_data.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    yield done.stdout
