"""URLs of datasets: their form, and which are refused.

A URL in a manifest or a plan is untrusted: it may name no credentials, no chained file systems
and no protocol that nobody allowed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

__all__ = [
    "OBJECT_STORES",
    "PROTOCOLS",
    "Address",
    "Location",
    "canonical_url",
    "is_link_local",
    "literal_address",
    "parse_url",
    "refused_url",
]

OBJECT_STORES = frozenset({"s3", "gs", "az"})
"""Protocols of stores that know signatures, so that a root there is anonymous or not."""

PROTOCOLS = OBJECT_STORES | {"https", "file", "memory"}
"""Protocols that any manifest may name."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "instance-data"})
_METADATA_ADDRESS = ipaddress.ip_address("fd00:ec2::254")

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")


class Location(NamedTuple):
    """A URL in its parts.

    Parameters
    ----------
    protocol : str
        ``s3``, ``https``, …; ``file`` for a local path.
    host : str
        The bucket or host; empty for local paths and memory.
    path : str
        What follows, without slashes at its ends; for a local path the path as written.
    """

    protocol: str
    host: str
    path: str

    @property
    def name(self) -> str:
        """The host's name or address, without its port; empty where the host is no machine.

        An object store's host part is a bucket; where it is served from is for flags to say.
        """
        if self.protocol in OBJECT_STORES:
            return ""
        host = self.host.rpartition("@")[2].lower()
        if host.startswith("["):
            return host.partition("]")[0].strip("[")
        return host.partition(":")[0].rstrip(".")


def literal_address(name: str) -> Address | None:
    """Read a host's name as the address that resolvers take it for, without any network.

    Examples
    --------
    >>> literal_address("0x7f.1"), literal_address("openneuro.org")
    (IPv4Address('127.0.0.1'), None)
    """
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.inet_aton(name))
    except (OSError, UnicodeError):
        return None


def is_link_local(address: Address) -> bool:
    """Tell whether an address is where clouds keep their secrets."""
    return address.is_link_local or address == _METADATA_ADDRESS


def parse_url(url: str) -> Location:
    """Take a URL or a local path apart.

    Parameters
    ----------
    url : str

    Returns
    -------
    Location

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


def refused_url(url: str, *, allow: frozenset[str] = frozenset()) -> str | None:
    """Tell why a URL is refused, without repeating it: it may hold a secret.

    Parameters
    ----------
    url : str
    allow : frozenset of str
        Protocols that were allowed beyond the usual ones.

    Returns
    -------
    str or None
        The reason, or None where the URL is fine.
    """
    if not url.strip() or any(not character.isprintable() for character in url):
        return "it is empty or has characters that do not print"
    if "::" in url:
        return "chained URLs ('::') are not allowed"
    if url.startswith("~") or "${" in url:
        return "'~' and '${…}' are not expanded; write the path out"
    location = parse_url(url)
    if location.protocol == "file":
        return None
    if location.protocol not in PROTOCOLS | allow:
        return (
            f"the protocol {location.protocol!r} is not allowed; allowed are "
            f"{', '.join(sorted(PROTOCOLS | allow))}; --allow-protocol adds one"
        )
    if "@" in location.host:
        return "it holds a user name or password; credentials come from the environment"
    if "?" in url or "#" in url:
        return "it has a query string or a fragment"
    if not location.host and location.protocol != "memory":
        return "it names no bucket or host"
    return _refused_host(location.name)


def _refused_host(name: str) -> str | None:
    """Refuse hosts that no dataset is on, whoever asks for them."""
    if name in _METADATA_HOSTS:
        return "it names a cloud's metadata service"
    address = literal_address(name)
    if address is not None and is_link_local(address):
        return "it names a link-local host"
    return None


_DEFAULT_PORTS = {"http": "80", "https": "443"}


def canonical_url(url: str) -> str:
    """Write a URL or local path in the one form that all its spellings share.

    Parameters
    ----------
    url : str
        One that `refused_url` does not refuse.

    Returns
    -------
    str
        Without slashes at its end, ``file://``, default ports and capitals in a host. Nothing is
        resolved: ``..`` stays in local paths, where a link may stand before it.

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
    # Said at the start of a path, "~" would be refused as someone's home.
    return f"./{plain}" if plain.startswith("~") else plain or "."


def _plain_host(host: str, default_port: str) -> str:
    user, at, place = host.rpartition("@")
    name, colon, port = place.lower().rpartition(":")
    if not colon or port not in {"", default_port}:
        name = place.lower()
    return f"{user}{at}{name.removesuffix('.')}"


def _without_dots(path: str) -> str:
    """Resolve ``.`` and ``..`` as every client does before it asks a web server."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    return "/".join(kept).strip("/")
