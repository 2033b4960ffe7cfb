"""Each error that has an entry of troubleshooting, brought about as users bring it about."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import shutil
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

import bidsplan
from bidsplan.destination.local import LocalDestination
from bidsplan.destination.lock import RunLock
from bidsplan.help_codes import HelpCode
from bidsplan.plan.file import write_plan
from plans import FILES, md5, plan_over, write_files
from servers import HOST, Proxy, Rule, free_port
from sites import Page, Site

KEY = "sub-1/anat/image.nii.gz"
STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "participants.tsv": b"participant_id\tsex\nsub-01\tF\nsub-02\tM\n",
    "sub-01/anat/sub-01_T1w.nii": b"one",
    "sub-02/anat/sub-02_T1w.nii": b"two",
}
LISTING = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>b</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>"
    "<EncodingType>url</EncodingType><IsTruncated>{}</IsTruncated>{}</ListBucketResult>"
)


class Lab:
    """A folder with a study, a manifest and a plan, a bucket behind a proxy, and the command."""

    def __init__(self, folder, monkeypatch, ask, bucket, proxy) -> None:
        self.folder, self.monkeypatch, self._ask = folder, monkeypatch, ask
        self.bucket, self.proxy = bucket, proxy
        write_files(folder / "study", STUDY)
        self.manifest()

    def run(self, *arguments) -> str:
        return self._ask(*arguments)[2]

    def manifest(self, more="", study="{id: x, url: study}", name="study.yaml") -> None:
        text = f"manifest_version: 1\nstudy: {study}\n{more}\n"
        (self.folder / name).write_text(text, encoding="utf-8")

    def compile(self, more="", study="{id: x, url: study}", *options) -> str:
        self.manifest(more, study)
        return self.run("compile", "study.yaml", *options)

    def validate(self, more, *options) -> str:
        self.manifest(more)
        return self.run("validate", "study.yaml", *options)

    def edit_plan(self, change) -> str:
        """Change a compiled plan's bytes, and show it."""
        self.compile()
        path = self.folder / "study.plan.jsonl"
        path.write_bytes(change(path.read_bytes()))
        return self.run("show", "study.plan.jsonl")

    def signed(self) -> None:
        self.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        self.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    def storage_plan(self, files=FILES, **fields) -> None:
        """Write a plan of files in the bucket, which is reached through the proxy."""
        self.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", self.proxy.url)
        self.bucket.fill({f"x/{key}": data for key, data in files.items()})
        write_plan(
            plan_over(f"s3://{self.bucket.name}/x", files, **fields), self.folder / "s.plan.jsonl"
        )

    def fetch(self, *options) -> str:
        return self.run("fetch", "s.plan.jsonl", "d", *options)

    def refused(self, status, code="", *options, **more) -> str:
        """Fetch while the storage answers requests for an image by a status."""
        self.storage_plan()
        self.proxy.rules.append(Rule("status", KEY, status=status, code=code, **more))
        return self.fetch(*options)

    def inspect(self, *options) -> str:
        return self.run("inspect", f"s3://{self.bucket.name}/x", *options)


PROVOKED = {}


def provokes(code):
    """Register a function that yields what is said while it brings an error about."""

    def register(function):
        assert code not in PROVOKED
        PROVOKED[code] = function
        return function

    return register


@contextmanager
def limited(kind, number):
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@provokes(HelpCode.USAGE)
def usage(lab):
    lab.compile()
    yield lab.run("fetch", "study.yaml")
    yield lab.run("fetch", "--locked", "--frozen", "study.yaml", "d")
    yield lab.run("show", "--tree", "--csv", "study.plan.jsonl")
    yield lab.run("fetch", "--session", "1", "study.plan.jsonl", "d")
    yield lab.run("prune", "study.plan.jsonl", "d")


@provokes(HelpCode.WRONG_DOCUMENT)
def wrong_document(lab):
    yield lab.run("compile", "s3://openneuro.org/ds000114")
    yield lab.run("fetch", "data", "study.yaml")
    yield lab.run("init", "study.yaml")
    yield lab.run("show", "study.txt")
    yield lab.run("compile", "study.plan.jsonl")


@provokes(HelpCode.LIBRARY)
def library(lab):
    lab.compile()
    lab.monkeypatch.setitem(sys.modules, "distributed", None)
    yield lab.run("fetch", "--dask", "tcp://127.0.0.1:1", "study.plan.jsonl", "d")


@provokes(HelpCode.UNSUPPORTED)
def unsupported(lab):
    lab.compile()
    yield lab.run("fetch", "study.plan.jsonl", "https://127.0.0.1/x")
    yield lab.run("export", "study.plan.jsonl", "--to", "s5cmd")


@provokes(HelpCode.OPEN_FILES)
def open_files(lab):
    lab.compile()
    command = [sys.executable, "-m", "bidsplan", "fetch", "study.plan.jsonl", "d"]
    yield subprocess.run(
        ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    ).stderr


@provokes(HelpCode.PART)
def part(lab):
    lab.compile()
    yield lab.run("fetch", "--subject", "99", "study.plan.jsonl", "d")
    yield lab.run("fetch", "--subject", "01", "--session", "x", "study.plan.jsonl", "d")


@provokes(HelpCode.DASK)
def dask(lab):
    lab.compile()
    yield lab.run("fetch", "--dask", "nonsense://x", "study.plan.jsonl", "d")


@provokes(HelpCode.CONFIGURATION)
def configuration(lab):
    yield lab.inspect("--endpoint-url", "ftp://127.0.0.1:1")
    yield lab.inspect("--profile", "nobody")
    yield lab.inspect("--region", "no region")
    lab.monkeypatch.setenv("AWS_CA_BUNDLE", "/none.pem")
    yield lab.inspect("--endpoint-url", "https://127.0.0.1:1")
    lab.monkeypatch.delenv("AWS_CA_BUNDLE")
    lab.monkeypatch.setenv("HTTP_PROXY", "nonsense:")
    yield lab.inspect("--endpoint-url", "http://storage.invalid")


def breaking(lab, error):
    """Let a call to the operating system fail."""

    def fails(*_, **__):
        raise error

    lab.monkeypatch.setattr(Path, "exists", fails)


@provokes(HelpCode.MACHINE)
def machine(lab):
    breaking(lab, OSError(errno.EIO, os.strerror(errno.EIO), "somewhere"))
    yield lab.run("fetch", "study.yaml", "d")


@provokes(HelpCode.BUG)
def bug(lab):
    breaking(lab, RuntimeError("what nobody expects"))
    yield lab.run("fetch", "study.yaml", "d")


@provokes(HelpCode.MANIFEST_UNREADABLE)
def manifest_unreadable(lab):
    (lab.folder / "folder.yaml").mkdir()
    yield lab.run("validate", "none.yaml")
    yield lab.run("validate", "folder.yaml")


@provokes(HelpCode.YAML)
def yaml(lab):
    yield lab.validate("files: [dwi")
    yield lab.validate("files:\n\tsuffixes: [dwi]")
    yield lab.validate("files: dwi\nfiles: func")
    yield lab.validate("files: {include: [*_T1w.nii.gz]}")


@provokes(HelpCode.MANIFEST)
def manifest(lab):
    yield lab.validate("files: {sufixes: [T1w]}")
    lab.manifest(study="{id: x}")
    yield lab.run("validate", "study.yaml")


@provokes(HelpCode.SECRET)
def secret(lab):
    yield lab.validate("password: x")
    yield lab.validate("subjects: [AKIAIOSFODNN7EXAMPLE]")


@provokes(HelpCode.URL)
def url(lab):
    for place in ("sftp://h/x", "s3://me:pw@b/x", "https://openneuro.org/datasets/ds000114"):
        lab.manifest(study=f"{{id: x, url: '{place}'}}")
        yield lab.run("validate", "study.yaml")


@provokes(HelpCode.UNTRUSTED)
def untrusted(lab):
    yield lab.run("compile", "--untrusted", "study.yaml")
    lab.manifest(study="{id: x, url: 'https://127.0.0.1/x'}")
    yield lab.run("compile", "--untrusted", "study.yaml")


@provokes(HelpCode.STRICT)
def strict(lab):
    yield lab.validate("files: {suffixes: [T1W]}", "--strict")
    yield lab.compile("files: {suffixes: [T1w, T1W]}", "{id: x, url: study}", "--strict")


@provokes(HelpCode.STUDY_MISSING)
def study_missing(lab):
    yield lab.compile(study="{id: x, url: nowhere}")


@provokes(HelpCode.NO_SUBJECTS)
def no_subjects(lab):
    write_files(lab.folder / "above", {"study/sub-1/x": b""})
    yield lab.compile(study="{id: x, url: above}")
    write_files(lab.folder / "other", {"a/b/c": b"x"})
    yield lab.run("init", "other")


@provokes(HelpCode.SITE_MISSING)
def site_missing(lab):
    yield lab.compile("site: Nope")


@provokes(HelpCode.SUBJECT_MISSING)
def subject_missing(lab):
    yield lab.compile("subjects: ['1']")
    yield lab.compile("subjects: {exclude: ['*']}")
    lab.manifest()
    yield lab.run("explain", "study.yaml", "nobody")


@provokes(HelpCode.SAMPLE)
def sample(lab):
    yield lab.compile("subjects: {sample: 9}\nrandom_seed: 1")


@provokes(HelpCode.TABLE)
def table(lab):
    yield lab.compile("subjects: {from: both, table: nope.tsv}")
    yield lab.compile("subjects: {where: {gender: F}}")
    yield lab.compile("subjects: {include: {file: nope.txt}}")


@provokes(HelpCode.SELECTION)
def selection(lab):
    yield lab.compile("files: {suffixes: [bold]}")
    yield lab.compile("files: {include: ['*.nii']}")
    yield lab.compile("sessions: ['01']")


@provokes(HelpCode.DERIVATIVE)
def derivative(lab):
    write_files(lab.folder / "study/derivatives/fmriprep", {"sub-01/x.txt": b"x"})
    yield lab.compile("derivatives: [fmriprp]")
    yield lab.compile("derivatives: {other: {url: nowhere}}")


@provokes(HelpCode.LIMIT)
def limit(lab):
    yield lab.compile("limits: {max_files: 1}")


@provokes(HelpCode.KEY_ADDRESSED)
def key_addressed(lab):
    name = "MD5E-s3--d41d8cd98f00b204e9800998ecf8427e.nii.gz"
    write_files(lab.folder / "annex", {name: b"one", "sub-1/x": b""})
    yield lab.compile(study="{id: x, url: annex}")


@provokes(HelpCode.CONTENT_MISSING)
def content_missing(lab):
    for number in (1, 2):
        path = lab.folder / f"study/sub-0{number}/anat/sub-0{number}_T1w.nii"
        path.unlink()
        path.symlink_to("../../.git/annex/objects/none")
    yield lab.compile()


@provokes(HelpCode.UNVERSIONED)
def unversioned(lab):
    yield lab.compile(study="{id: x, url: study, versions: pinned}")


@provokes(HelpCode.CLASH)
def clash(lab):
    write_files(lab.folder / "study/derivatives/afq", {"sub-01/x.txt": b"x"})
    write_files(lab.folder / "other", {"sub-01/x.txt": b"y", "sub-02/x.txt": b"y"})
    yield lab.compile("derivatives: {afq: {url: other}}\ndirectories: [derivatives]")


@provokes(HelpCode.PLAN)
def plan(lab):
    yield lab.edit_plan(lambda data: data.replace(b'"size":3', b'"size":4', 2))
    yield lab.edit_plan(lambda data: data.replace(b"sub-01_T1w", b"sub-01_T2w"))
    yield lab.edit_plan(lambda data: b"".join(data.splitlines(keepends=True)[:-1]))
    yield lab.edit_plan(lambda _: b'{"a": 1}\n')
    yield lab.edit_plan(lambda data: data.replace(b"\n", b"\r\n"))


@provokes(HelpCode.PLAN_VERSION)
def plan_version(lab):
    yield lab.edit_plan(lambda data: data.replace(b'"plan_version":1', b'"plan_version":9'))


@provokes(HelpCode.PLAN_STALE)
def plan_stale(lab):
    lab.compile()
    lab.manifest("subjects: ['01']")
    yield lab.run("verify", "study.yaml", "d")


@provokes(HelpCode.PLAN_MISSING)
def plan_missing(lab):
    yield lab.run("verify", "study.yaml", "d")


@provokes(HelpCode.PLAN_UNREADABLE)
def plan_unreadable(lab):
    (lab.folder / "folder.jsonl").mkdir()
    yield lab.run("show", "none.plan.jsonl")
    yield lab.run("show", "folder.jsonl")


@provokes(HelpCode.SOURCE_MISSING)
def source_missing(lab):
    lab.storage_plan()
    lab.bucket.delete(f"x/{KEY}")
    yield lab.fetch()
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
    config = lab.folder / "config"
    config.write_text("[profile lab]\ncredential_process = false\n")
    lab.monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    yield lab.inspect("--signed", "--profile", "lab", "--endpoint-url", lab.proxy.url)


@provokes(HelpCode.CREDENTIALS)
def credentials(lab):
    lab.signed()
    yield lab.refused(403, "ExpiredToken", "--signed")


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


@provokes(HelpCode.MISSING)
def missing(lab):
    lab.compile()
    lab.run("fetch", "--subject", "01", "study.plan.jsonl", "d")
    yield lab.run("verify", "study.plan.jsonl", "d")


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
