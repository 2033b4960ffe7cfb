"""Parses, compares and refuses URLs and hosts."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


AMAZON = (
    r"(?:bucket\.vpce-[0-9a-z-]+\.)?s3(?:-fips|-accelerate|-external-1)?(?:[.-]dualstack)?"
    r"(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]+))?(?:\.vpce)?\.amazonaws\.com(?:\.cn)?"
)
"""Hosts of Amazon S3, in which bucket names are unique in a partition."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_LARGEST_PORT = 65_535

_PARTS = r"(\[[0-9A-Fa-f:.]*\]|[0-9A-Za-z._-]+)(?::([0-9]+))?"
_LABEL = r"[0-9A-Za-z_](?:[0-9A-Za-z_-]*[0-9A-Za-z_])?"
_NUMBER = r"[0-9]+|0[xX][0-9A-Fa-f]*"

# For Amazon, Google, Alibaba, Azure, Oracle and Scaleway.
_METADATA_ADDRESSES = (
    "fd00:ec2::254 fd00:ec2::23 fd20:ce::254 100.100.100.200 168.63.129.16 192.0.0.192 "
    "fd00:c1::a9fe:a9fe fd00:42::42"
)
_METADATA = frozenset(map(ipaddress.ip_address, _METADATA_ADDRESSES.split()))
"""Addresses of cloud metadata services, which serve secrets, that are not link-local."""

_WRAPPING = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)
"""Networks that embed an IPv4 address: NAT64 (RFC 6052, 8215), compatible, translated."""

_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
_RESERVED = tuple(
    map(ipaddress.ip_network, ("192.88.99.0/24", "192.0.0.0/24", "fec0::/10", "3fff::/20"))
)
"""Networks that are not public, though some versions of the standard library say so."""


class Host(NamedTuple):
    """A host's name or address, and its port."""

    name: str
    port: int | None
    address: Address | None


def parse_host(text: str) -> Host:
    """Parse the host and port of a URL, without user information.

    Raises
    ------
    ValueError
        If the text is not valid, or parsers read it in different ways. The message does not quote
        the text.

    References
    ----------
    RFC 3986, section 3.2.2, and the URL Standard's rules for numbers at the end of a host.

    Examples
    --------
    >>> parse_host("OpenNeuro.org:443")
    Host(name='openneuro.org', port=443, address=None)
    """
    match = re.fullmatch(_PARTS, text)
    if match is None:
        raise ValueError(
            "its host has invalid characters; expected letters, digits, '-' and '.' "
            "(international names in their 'xn--' form), or an IPv6 address in brackets"
        )
    name, port = match[1].lower(), _port(match[2])
    if name.startswith("["):
        return _literal(name[1:-1], port, ipaddress.IPv6Address)
    name = name.removesuffix(".")
    labels = name.split(".")
    if re.fullmatch(_NUMBER, labels[-1]):
        return _literal(name, port, ipaddress.IPv4Address)
    if (
        len(name) > _LONGEST_NAME
        or max(map(len, labels)) > _LONGEST_LABEL
        or not all(re.fullmatch(_LABEL, label) for label in labels)
    ):
        raise ValueError("its host name is invalid")
    return Host(name, port, None)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text) > 5 or not 0 < int(text) <= _LARGEST_PORT:
        raise ValueError(f"its port is invalid; expected 1 to {_LARGEST_PORT}")
    return int(text)


def _literal(text: str, port: int | None, kind: type[Address]) -> Host:
    try:
        address = kind(text)
    except ValueError as error:
        raise ValueError(
            "its host is a number that is read in different ways; write an IPv4 address as four "
            "decimal numbers, or a host name"
        ) from error
    return Host(str(address), port, address)


def _with_embedded(address: Address) -> Iterator[Address]:
    """Yield an address, and any IPv4 address embedded in it."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    number = int(address)
    isatap = (number >> 32) & 0xFFFFFFFF in _ISATAP
    if isatap or any(address in network for network in _WRAPPING):
        found.append(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    if address in _LOCAL_NAT64:
        # Sixteen bits after the prefix, and sixteen after an empty byte.
        split = (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
        found.append(ipaddress.IPv4Address(split))
    yield from (each for each in found if each is not None)


def is_link_local(address: Address) -> bool:
    """Report whether an address is link-local or a metadata service's."""
    return any(each.is_link_local or each in _METADATA for each in _with_embedded(address))


def is_public(address: Address) -> bool:
    """Report whether an address is on the public internet.

    Loopback, private, link-local, multicast and reserved addresses are not public. IPv6 addresses
    that embed an IPv4 address (mapped, NAT64, 6to4, Teredo) are not public either.
    """
    wrapped = len(list(_with_embedded(address))) > 1
    reserved = address.is_reserved or any(address in network for network in _RESERVED)
    refused = wrapped or reserved or address.is_multicast or is_link_local(address)
    return address.is_global and not refused


_FALSE = frozenset({"", "0", "false", "f", "no", "n", "off"})


def untrusted_by_default() -> bool:
    """Report whether the variable ``BIDSPLAN_UNTRUSTED`` is set to true."""
    return os.environ.get("BIDSPLAN_UNTRUSTED", "").strip().lower() not in _FALSE


OBJECT_STORES = frozenset({"s3", "gs", "az"})
"""Protocols of stores with signed requests, so that a root is anonymous or not."""

PROTOCOLS = OBJECT_STORES | {"https", "file", "memory"}
"""Protocols that are always allowed."""

_DATASET = r"(?P<id>ds[0-9]{6})"
_WEB = r"(?:https?://)?(?:www\.)?"
_PAGES = {
    rf"{_DATASET}(?:[:/].*)?": "s3://openneuro.org/{id}",
    rf"{_WEB}openneuro\.org/(?:datasets/)?{_DATASET}(?:[:/].*)?": "s3://openneuro.org/{id}",
    rf"{_WEB}github\.com/OpenNeuroDatasets/{_DATASET}(?:[./].*)?": "s3://openneuro.org/{id}",
    rf"{_WEB}github\.com/OpenNeuroDerivatives/{_DATASET}-(?P<name>[a-z]+)(?:[./].*)?": (
        "s3://openneuro-derivatives/{name}/{id}-{name}"
    ),
    rf"{_WEB}fcon_1000\.projects\.nitrc\.org(?:/.*)?": "s3://fcp-indi/data/Projects/NAME",
    rf"https://{AMAZON}/(?P<id>[a-z0-9.-]+(?:/[\w./-]*)?)": "s3://{id}",
    rf"https://(?P<id>[a-z0-9.-]+?)\.{AMAZON}/?(?P<name>[\w./-]*)": "s3://{id}/{name}",
}
"""Forms that people write for a study in storage, each with its URL."""

_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "instance-data"})

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_MISTYPED = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
_IPV6_HOST = re.compile(r"//\[[0-9A-Fa-f:.]*\]")

NO_MACHINES = frozenset({"dropbox", "gdrive", "github", "hf"})
"""Protocols of services whose URLs do not contain a host."""

# All characters that any of the stores allows; any other would change the request.
_BUCKET = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9._$-]{0,254}")


class Location(NamedTuple):
    """A parsed URL."""

    protocol: str
    """``s3``, ``https``, …; ``file`` for a local path."""
    host: str
    """The bucket or host; empty for local paths and memory."""
    path: str
    """Without slashes at its ends; a local path is as written."""


def parse_url(url: str) -> Location:
    """Parse a URL or a local path.

    Examples
    --------
    >>> parse_url("s3://openneuro.org/ds000114/")
    Location(protocol='s3', host='openneuro.org', path='ds000114')
    >>> parse_url("../data/study")
    Location(protocol='file', host='', path='../data/study')
    """
    match = _PROTOCOL.match(url)
    if match is None:
        return Location("file", "", url)
    protocol, rest = match[1].lower(), url[match.end() :]
    if protocol in {"file", "local"}:
        return Location("file", "", rest)
    if protocol == "memory":
        return Location("memory", "", rest.strip("/"))
    host, _, path = rest.partition("/")
    return Location(protocol, host, path.strip("/"))


def suggested_url(text: str) -> str | None:
    """Return the storage URL for a study's accession or web address.

    Examples
    --------
    >>> suggested_url("https://openneuro.org/datasets/ds000114/versions/1.0.2")
    's3://openneuro.org/ds000114'
    >>> suggested_url("https://fcp-indi.s3.amazonaws.com/data"), suggested_url("ds000114")
    ('s3://fcp-indi/data', 's3://openneuro.org/ds000114')
    """
    for pattern, url in _PAGES.items():
        if match := re.fullmatch(pattern, text):
            return url.format_map(match.groupdict())
    return None


def suggested_bucket(text: str, base: Path | None) -> str | None:
    """Return the bucket URL that a path looks like, or None.

    None is also the result if the path's first folder exists below `base`.

    Examples
    --------
    >>> from pathlib import Path
    >>> suggested_bucket("s3//lab/ageing", Path("/none")), suggested_bucket("s3:lab", Path("/none"))
    ('s3://lab/ageing', 's3://lab')
    >>> suggested_bucket("s3/lab/ageing", Path("/none"))
    """
    match = re.fullmatch(r"(?i:(s3|gs|az))(?::/?|//)([^/:]{1,222})((?:/.*)?)", text)
    if match is None or (base and (base / text.partition("/")[0]).exists()):
        return None
    suggested = f"{match[1].lower()}://{match[2]}{match[3]}"
    return None if refused_url(suggested) else suggested


def is_mistyped_url(path: str) -> bool:
    """Report whether a path looks like a URL whose protocol lacks a slash.

    Examples
    --------
    >>> is_mistyped_url("https:/host/x"), is_mistyped_url("./https:/host/x")
    (True, False)
    """
    return _MISTYPED.match(path) is not None


def refused_url(url: str, *, allow: frozenset[str] = frozenset()) -> str | None:
    """Return why a URL is refused, without quoting it, or None.

    Protocols in `allow` are allowed in addition to `PROTOCOLS`.
    """
    reason = _refused_form(url)
    if reason:
        return reason
    location = parse_url(url)
    if location.protocol == "file":
        return _refused_path(url, location.path)
    if suggested := suggested_url(url):
        return f"files cannot be listed at this web address; write {suggested}"
    if location.protocol not in PROTOCOLS | allow:
        return (
            f"the protocol {location.protocol!r} is not allowed; allowed are "
            f"{', '.join(sorted(PROTOCOLS | allow))}; --allow-protocol adds one"
        )
    if "@" in location.host:
        return "it holds a user name or password; credentials come from the environment"
    if "?" in url or "#" in url:
        return "it has a query string or a fragment"
    if location.protocol != "memory" and not location.host:
        return "it names no bucket or host"
    return _refused_host(location)


def _refused_form(url: str) -> str | None:
    """Refuse unprintable, chained and unexpanded URLs, whatever their protocol."""
    if not url.strip() or any(not character.isprintable() for character in url):
        return "it is empty or has characters that do not print"
    if "::" in _IPV6_HOST.sub("//", url, count=1):
        return "chained URLs ('::') are not allowed"
    if url.startswith("~") or "${" in url:
        return "'~' and '${…}' are not expanded; write the path out"
    return None


def _refused_path(url: str, path: str) -> str | None:
    """Refuse mistyped URLs that would be read as local paths."""
    if url == path and is_mistyped_url(url):
        return "it is neither a URL nor a path; a URL has two slashes after its protocol"
    if url != path and re.search("[@:]", path.partition("/")[0]):
        return "a file URL names no host; write it as file:///path"
    return None


def _refused_host(location: Location) -> str | None:
    """Refuse invalid buckets and hosts, and metadata services."""
    if location.protocol in OBJECT_STORES:
        valid = _BUCKET.fullmatch(location.host)
        return None if valid else "its bucket or container name is invalid"
    if location.protocol in {"memory", *NO_MACHINES}:
        return None
    try:
        host = parse_host(location.host)
    except ValueError as error:
        return str(error)
    if host.name in _METADATA_HOSTS:
        return "it names a cloud's metadata service"
    if host.address is not None and is_link_local(host.address):
        return "it names a link-local host"
    return None


_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_url(url: str) -> str:
    """Return the form that all spellings of a URL or path share.

    The canonical form has no final slashes, ``file://``, default ports, or capitals in the host.
    Local paths keep ``..``, since it may follow a symbolic link. `refused_url` must accept the URL.

    Examples
    --------
    >>> canonical_url("S3://bucket/study/"), canonical_url("file:///data//study/./")
    ('s3://bucket/study', '/data/study')
    >>> canonical_url("https://Example.org:443/a/../study/")
    'https://example.org/study'
    """
    protocol, host, path = parse_url(url)
    if protocol == "file":
        return _plain_path(path)
    if protocol in _DEFAULT_PORTS:
        host, path = _plain_host(host, _DEFAULT_PORTS[protocol]), _without_dots(path)
    return f"{protocol}://{host}/{path}".rstrip("/") if host else f"{protocol}://{path}"


def _plain_path(path: str) -> str:
    plain = "/".join(name for name in path.split("/") if name not in {"", "."})
    if path.startswith("/"):
        return f"/{plain}"
    # At the start of a path, "~" would be refused as a home directory.
    return f"./{plain}" if plain.startswith("~") else plain or "."


def _plain_host(text: str, default_port: int) -> str:
    user, at, place = text.rpartition("@")
    try:
        name, port, address = parse_host(place)
    except ValueError:
        # Other code refuses this URL.
        return text.lower()
    shown = f"[{name}]" if address is not None and address.version == 6 else name
    return f"{user}{at}{shown}" + (f":{port}" if port not in {None, default_port} else "")


def _without_dots(path: str) -> str:
    """Resolve ``.`` and ``..`` in the same way as HTTP clients."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    return "/".join(kept).strip("/")
