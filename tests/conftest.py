from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import fsspec
import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from bidsplan.cli.main import run
from servers import Bucket, Proxy, moto_server, rclone_server

_numbers = itertools.count()


def pytest_xdist_auto_num_workers():
    """Run two tests more at a time than there are processors: some wait for most of their time."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Start from an environment that says nothing, wherever the tests run."""
    for name in list(os.environ):
        ours = name.startswith(
            ("AWS_", "FSSPEC_", "BIDSPLAN_", "GITHUB_", "SSL_CERT_", "REQUESTS_CA_")
        )
        if (ours or name.lower().endswith("_proxy")) and name != "BIDSPLAN_CORPORA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    server = moto_server(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rclone(tmp_path_factory):
    root = tmp_path_factory.mktemp("rclone-root")
    server = rclone_server(tmp_path_factory.mktemp("rclone"), root)
    server.root = root
    yield server
    server.stop()


@pytest.fixture
def bucket(moto):
    """Give a bucket that no other test knows."""
    return Bucket(moto.url, f"bucket{os.getpid()}-{next(_numbers)}")


@pytest.fixture
def proxy(moto):
    server = Proxy(moto.url)
    yield server
    server.stop()


@pytest.fixture
def memory():
    """Give the memory that all of a process shares, with nothing in it."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


@pytest.fixture
def s3(monkeypatch, moto):
    """Reach S3 as the environment says, as pyAFQ's callers do."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def counted(s3, proxy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    return proxy


@pytest.fixture
def ask(capsys):
    """Run a command; gives its exit code, results and messages."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "--debug" in arguments or "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture
def ask_here(ask, tmp_path, monkeypatch):
    """Run commands in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return ask
