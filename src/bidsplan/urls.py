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

_BUCKET = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9._-]{0,254}")
"""Names of buckets and containers, old and new ones, of every object store."""

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
    return _refused_bucket(location) or _refused_host(location.name)


def _refused_bucket(location: Location) -> str | None:
    """Refuse buckets and containers that no storage can have."""
    if location.protocol in OBJECT_STORES and not _BUCKET.fullmatch(location.host):
        return "its bucket or container has a name that no storage gives"
    return None


def _refused_host(name: str) -> str | None:
    """Refuse hosts that no dataset is on, whoever asks for them."""
    if name in _METADATA_HOSTS:
        return "it names a cloud's metadata service"
    address = literal_address(name)
    if address is not None and is_link_local(address):
        return "it names a link-local host"
    return None
