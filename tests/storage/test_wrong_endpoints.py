"""An endpoint that can't be used is refused by one sentence, wherever it is named."""

from __future__ import annotations

import pytest

from bidsplan.errors import UsageError
from bidsplan.storage import Access, open_store

SAID = (
    "the S3 endpoint can't be used: expected http:// or https://, a host, and maybe a port and a "
    "path; "
)
MEANT = {
    "127.0.0.1:5871": "http://127.0.0.1:5871",
    "localhost:9000": "http://localhost:9000",
    "minio.lab:9000": "http://minio.lab:9000",
    "[::1]:9000": "http://[::1]:9000",
    "s3.example.org": "https://s3.example.org",
    "minio.lab:9000/path": "http://minio.lab:9000/path",
}
OTHERS = [
    *("http://", "https://", "htp://x", "http:/x", "://x", ":9000", "http://[", "localhost:0x50"),
    *("me:canary-password@minio.lab:9000", "minio.lab:99999999", "http://a b", "a\x1b[31m:9000"),
    "\u202eminio:9000",
]


@pytest.fixture(params=["option", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def refused(request, monkeypatch):
    """Open a bucket at an endpoint; gives what is said of it."""

    def call(endpoint):
        access = Access(endpoint_url=endpoint if request.param == "option" else None)
        if request.param != "option":
            monkeypatch.setenv(request.param, endpoint)
        with pytest.raises(UsageError) as caught:
            open_store("s3://bucket/x", access=access)
        assert caught.value.help_code == "BP108"
        return str(caught.value)

    return call


@pytest.mark.parametrize("endpoint", MEANT)
def test_an_endpoint_without_its_scheme_is_told_how_to_write_it(refused, endpoint):
    meant = MEANT[endpoint]
    check = "or check --endpoint-url and AWS_ENDPOINT_URL"
    assert refused(endpoint) == f"{SAID}write {meant}, {check}"


@pytest.mark.parametrize("endpoint", OTHERS)
def test_any_other_endpoint_is_not_shown(refused, endpoint):
    assert refused(endpoint) == f"{SAID}check --endpoint-url and AWS_ENDPOINT_URL"
