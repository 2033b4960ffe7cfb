"""The addresses by which web clients read public roots."""

from __future__ import annotations

import pytest

from bidsplan.errors import UnsupportedError, UsageError
from bidsplan.storage.access import Access
from bidsplan.storage.web_urls import quote_key, web_url
from bidsplan.urls import parse_url


@pytest.mark.parametrize(
    ("url", "access", "expected"),
    [
        ("s3://fcp-indi/data", {}, "https://fcp-indi.s3.amazonaws.com/data"),
        ("s3://openneuro.org/ds1", {}, "https://s3.amazonaws.com/openneuro.org/ds1"),
        ("s3://Odd_Name", {"region": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com/Odd_Name"),
        ("s3://fcp-indi", {"region": "eu-west-1"}, "https://fcp-indi.s3.eu-west-1.amazonaws.com"),
        ("s3://b/x y/", {"endpoint_url": "http://u:p@h:9000/"}, "http://h:9000/b/x%20y"),
        ("gs://bucket/a#b", {}, "https://storage.googleapis.com/bucket/a%23b"),
        ("https://h.org:8/a%20b/c d", {}, "https://h.org:8/a%20b/c%20d"),
    ],
)
def test_the_web_addresses_of_roots(url, access, expected):
    assert web_url(parse_url(url), Access(**access)) == expected


def test_the_web_address_of_azure_needs_its_account(monkeypatch):
    location = parse_url("az://container/x")
    with pytest.raises(UnsupportedError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        web_url(location, Access())
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "lab1")
    assert web_url(location, Access()) == "https://lab1.blob.core.windows.net/container/x"
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000")
    with pytest.raises(UnsupportedError, match="AZURE_STORAGE_ENDPOINT"):
        web_url(location, Access())


def test_the_region_cannot_name_another_host():
    with pytest.raises(UsageError, match="region"):
        web_url(parse_url("s3://a.b/x"), Access(region="evil.example/"))


@pytest.mark.parametrize("url", ["/data/study", "memory://x", "sftp://host/x"])
def test_what_is_not_on_the_web_has_no_address(url):
    with pytest.raises(UnsupportedError, match="web clients can't read"):
        web_url(parse_url(url), Access())


def test_an_emulator_of_google_has_no_known_address(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    with pytest.raises(UnsupportedError, match="STORAGE_EMULATOR_HOST names a service for gs URLs"):
        web_url(parse_url("gs://bucket"), Access())


def test_keys_are_quoted_once():
    assert quote_key("a b/100%25+ü?#~.txt") == "a%20b/100%2525%2B%C3%BC%3F%23~.txt"
