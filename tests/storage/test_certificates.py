"""A private authority that is named once holds for every request, whoever sends it."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from bidsplan.errors import BidsplanError, UsageError
from bidsplan.storage import Access, Transport, find_file, open_store
from bidsplan.storage.objects import FetchRequest
from plans import FILES, failures, fetch, finished, plan_over, tree
from servers import HOST, Proxy
from sites import Site

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]
SETTINGS = ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "ca_bundle"]
NAMED = r"not trusted.*AWS_CA_BUNDLE.*ca_bundle.*REQUESTS_CA_BUNDLE or SSL_CERT_FILE"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def bundle(authority, tmp_path):
    path = tmp_path / "authorities" / "ours.pem"
    path.parent.mkdir()
    # People write who it is into such files, in their own language.
    path.write_bytes("# Zürich\n".encode("latin-1") + authority.cert_pem.bytes())
    return path


@pytest.fixture
def endpoint(s3, moto, authority, monkeypatch):
    """Give the URL of an S3 server whose certificate is of the private authority."""
    server = Proxy(moto.url, tls=server_context(authority.issue_cert(HOST)))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    yield server.url
    server.stop()


async def whole(store, key):
    return await store.whole(FetchRequest(key, len(FILES[key])))


def name_authority(setting, path, monkeypatch, folder):
    """Let the environment, or the profile's configuration, name a bundle."""
    if setting == "ca_bundle":
        config = folder / "config"
        config.write_text(f"[default]\nca_bundle = /none\n[profile lab]\nca_bundle = {path}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "lab")
        return
    monkeypatch.setenv(setting, str(path.parent if setting == "SSL_CERT_DIR" else path))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_whatever_names_an_authority_holds_for_every_request(
    setting, transport, endpoint, bucket, bundle, monkeypatch, tmp_path
):
    name_authority(setting, bundle, monkeypatch, tmp_path)
    bucket.fill({f"source/{key}": data for key, data in FILES.items()})
    plan = plan_over(f"s3://{bucket.name}/source", FILES)
    access = Access(transport=transport, anonymous=False)
    with open_store(f"s3://{bucket.name}/source", access=access) as store:
        assert {item.key for item in store.list()} == set(FILES)
        if store.abilities.async_reads:
            # By obstore itself, and not by what takes over where it can't.
            assert bytes(asyncio.run(whole(store, "a.txt")).data) == FILES["a.txt"]
    fetch(plan, tmp_path / "d", access=access)
    assert tree(tmp_path / "d") == FILES
    assert set(finished(fetch(plan, f"s3://{bucket.name}/copy", access=access))) == set(FILES)
    assert bucket.files("copy/") == FILES
    image = find_file(f"s3://{bucket.name}/source/sub-1/anat/image.nii.gz", anonymous=False)
    assert image.read() == FILES["sub-1/anat/image.nii.gz"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_is_its_own_authority_can_be_trusted(
    transport, s3, moto, bucket, monkeypatch, tmp_path
):
    """As the instructions of MinIO and others make them; obstore takes no such certificate."""
    key, path = tmp_path / "key.pem", tmp_path / "self.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9"
    names = ["-subj", "/CN=self", "-addext", f"subjectAltName=IP:{HOST}"]
    files = ["-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    server = Proxy(moto.url, tls=context)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    bucket.fill(FILES)
    plan = plan_over(f"s3://{bucket.name}", FILES)
    fetch(plan, tmp_path / "d", access=Access(transport=transport, endpoint_url=server.url))
    server.stop()
    assert tree(tmp_path / "d") == FILES


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_where_nothing_names_the_authority_the_message_says_what_may(
    transport, endpoint, bucket, tmp_path
):
    access = Access(transport=transport)
    with pytest.raises(BidsplanError, match=NAMED):
        open_store(f"s3://{bucket.name}", access=access).children()
    plan = plan_over(f"s3://{bucket.name}", {"a.txt": FILES["a.txt"]})
    with pytest.raises(BidsplanError, match=NAMED):
        raise failures(fetch(plan, tmp_path / "d", access=access))["a.txt"]


def test_a_certificate_that_has_expired_is_told_apart(moto, bucket, authority, bundle, monkeypatch):
    ago = datetime.now(UTC) - timedelta(days=9)
    old = authority.issue_cert(HOST, not_before=ago, not_after=ago + timedelta(days=1))
    server = Proxy(moto.url, tls=server_context(old))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(BidsplanError, match="is not valid: certificate has expired"):
        open_store(f"s3://{bucket.name}", access=Access(endpoint_url=server.url)).children()
    server.stop()


@pytest.mark.parametrize("content", [None, "", "no certificate"])
@pytest.mark.parametrize("setting", SETTINGS[:3] + SETTINGS[4:])
def test_a_bundle_that_can_not_be_read_is_named_before_any_request(
    setting, content, ask, monkeypatch, tmp_path
):
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    name_authority(setting, path, monkeypatch, tmp_path)
    code, _, said = ask("inspect", "s3://bucket/x", "--endpoint-url", f"https://{HOST}:9")
    assert code == 2
    assert f"bundle.pem', which {setting}" in said
    assert ("can't be read (No such file" if content is None else "holds no certificate") in said


def test_a_damaged_certificate_is_told(monkeypatch, tmp_path):
    path = tmp_path / "bundle.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    with pytest.raises(UsageError, match="AWS_CA_BUNDLE names is damaged"):
        open_store("s3://b", access=Access(endpoint_url=f"https://{HOST}:9")).children()


@pytest.mark.parametrize("setting", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_web_servers_are_trusted_by_what_is_not_only_for_aws(
    setting, authority, bundle, monkeypatch
):
    with Site(tls=server_context(authority.issue_cert(HOST))) as site:
        site.fill({"x/a.txt": b"hello"})
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        with pytest.raises(BidsplanError, match="not trusted"):
            open_store(f"{site.url}/x", access=Access()).children()
        monkeypatch.setenv(setting, str(bundle))
        store = open_store(f"{site.url}/x", access=Access())
        assert store.read(store.children().objects[0].key, limit=9) == b"hello"


def test_plain_http_reads_no_certificates(s3, bucket, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/none")
    bucket.fill(FILES)
    assert len(list(open_store(f"s3://{bucket.name}", access=Access()).list())) == len(FILES)


def test_the_command_starts_without_them():
    # So does a fetch of what is there already, which looks at its source's address.
    code = (
        "import bidsplan.cli.main, bidsplan.storage.s3.credentials, sys; "
        "print({'ssl', 'truststore'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "set()"
