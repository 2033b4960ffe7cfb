"""Hosts are parsed once, and what can be read in two ways is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.urls import is_link_local, is_public, parse_host, refused_url


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("OpenNeuro.org", "openneuro.org", None),
        ("openneuro.org.", "openneuro.org", None),
        ("data_1.example.org:8443", "data_1.example.org", 8443),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("[2001:DB8::1]:443", "2001:db8::1", 443),
    ],
)
def test_hosts_are_read(text, name, port):
    host = parse_host(text)
    assert (host.name, host.port) == (name, port)
    assert (host.address is not None) == (name[0] in "12")


ODD = [
    "",
    ":443",
    "[",
    "[]",
    "[::1",
    "a b",
    "h:99999",
    "h:0",
    "h:x",
    "h:",
    "evil.example\\.openneuro.org",
    "evil.example%2f",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "127.1",
    "2852039166",
    "0xa9.254.169.254",
    "0251.254.169.254",
    "169.254.43518",
    "0x7f000001",
    "1.2.3.4.5",
    "a..b",
    "-a.b",
    "a" * 64,
    "bücher.example",
    "[fe80::1%25eth0]",
    "[1.2.3.4]",
    "user@host",
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_read_in_two_ways_is_refused(text):
    with pytest.raises(ValueError, match=r"its (host|port)"):
        parse_host(text)


@pytest.mark.parametrize("text", [text for text in ODD if text])
def test_urls_with_such_hosts_are_refused_without_being_repeated(text):
    reason = refused_url(f"https://{text}/x")
    assert reason
    assert text not in reason or len(text) < 4


@given(st.text(max_size=30))
def test_any_text_is_a_host_or_a_refusal(text):
    try:
        host = parse_host(text)
    except ValueError:
        return
    written = f"[{host.name}]" if ":" in host.name else host.name
    assert parse_host(written)._replace(port=host.port) == host
    assert host.name.isascii()


METADATA = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::a9fe:a9fe",
    "2001:0:a9fe:a9fe:0:0:0:0",
    "64:ff9b:1:a9fe:a9:fe00::",
    "::ffff:0:a9fe:a9fe",
    "2606:4700::5efe:a9fe:a9fe",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
    "fd00:ec2::254",
]


@pytest.mark.parametrize("text", METADATA)
def test_link_local_addresses_are_seen_however_they_are_wrapped(text):
    assert is_link_local(ipaddress.ip_address(text))
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["[::ffff:169.254.169.254]", "[0:0:0:0:0:ffff:a9fe:a9fe]"])
def test_they_are_refused_in_urls(text):
    assert refused_url(f"https://{text}/x") == "it names a link-local host"


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fc00::1", "ff0e::1"),
        *("192.88.99.1", "192.0.0.1", "fec0::1", "3fff::1", "2606:4700::200:5efe:808:808"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001::1", "::7f00:1"),
    ],
)
def test_what_is_not_of_the_public_internet_is_told(text):
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111"])
def test_public_addresses_are_public(text):
    address = ipaddress.ip_address(text)
    assert is_public(address)
    assert not is_link_local(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https:/u:pw@h/x", "neither a URL nor a path"),
        ("s3:/bucket/x", "neither a URL nor a path"),
        ("file:/data", "neither a URL nor a path"),
        ("file://u:pw@h/x", "names no host"),
        ("s3://buc ket/x", "container name is invalid"),
        ("s3://buc\\ket/x", "container name is invalid"),
        ("az://c:1/x", "container name is invalid"),
        ("https://[2001:db8::1::2]/x", "its host"),
    ],
)
def test_what_is_mistyped_is_refused(url, reason):
    assert reason in (refused_url(url) or "")


@pytest.mark.parametrize(
    "url", ["data:v2/x", "C:x", "https://[2001:db8::1]/x", "s3://a.b_c-D/x", "az://$web/x", "a:b"]
)
def test_what_only_looks_so_is_not(url):
    assert refused_url(url) is None
