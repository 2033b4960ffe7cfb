"""URLs of datasets: their form, and which are refused.

A URL in a manifest or a plan is untrusted: it may name no credentials, no chained file systems
and no protocol that nobody allowed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bidsplan.hosts import is_link_local, parse_host

__all__ = [
    "NO_MACHINES",
    "OBJECT_STORES",
    "PROTOCOLS",
    "Location",
    "canonical_url",
    "parse_url",
    "refused_url",
]

OBJECT_STORES = frozenset({"s3", "gs", "az"})
"""Protocols of stores that know signatures, so that a root there is anonymous or not."""

PROTOCOLS = OBJECT_STORES | {"https", "file", "memory"}
"""Protocols that any manifest may name."""

_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "instance-data"})

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_MISTYPED = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
_IPV6_HOST = re.compile(r"//\[[0-9A-Fa-f:.]*\]")
NO_MACHINES = frozenset({"dropbox", "gdrive", "github", "hf"})
"""Protocols of services whose host part names no machine."""

_NO_BUCKET = "its bucket or container has a name that no storage gives"
# The union of what the stores allow: a name with anything else makes a request for another place.
_BUCKET = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9._$-]{0,254}")


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
    reason = _refused_form(url)
    if reason:
        return reason
    location = parse_url(url)
    if location.protocol == "file":
        return _refused_path(url, location.path)
    if location.protocol not in PROTOCOLS | allow:
        return (
            f"the protocol {location.protocol!r} is not allowed; allowed are "
            f"{', '.join(sorted(PROTOCOLS | allow))}; --allow-protocol adds one"
        )
    if "@" in location.host:
        return "it holds a user name or password; credentials come from the environment"
    if "?" in url or "#" in url:
        return "it has a query string or a fragment"
    if location.protocol == "memory":
        return None
    if not location.host:
        return "it names no bucket or host"
    return _refused_host(location)


def _refused_form(url: str) -> str | None:
    """Refuse what is no URL of one file system, whatever its protocol."""
    if not url.strip() or any(not character.isprintable() for character in url):
        return "it is empty or has characters that do not print"
    if "::" in _IPV6_HOST.sub("//", url, count=1):
        return "chained URLs ('::') are not allowed"
    if url.startswith("~") or "${" in url:
        return "'~' and '${…}' are not expanded; write the path out"
    return None


def _refused_path(url: str, path: str) -> str | None:
    """Refuse what was meant as a URL, and would be taken for a file's name."""
    if url == path and _MISTYPED.match(url):
        return "it is neither a URL nor a path; a URL has two slashes behind its protocol"
    if url != path and re.search("[@:]", path.partition("/")[0]):
        return "a file URL names no host; write it as file:///path"
    return None


def _refused_host(location: Location) -> str | None:
    """Refuse hosts that no dataset is on, whoever asks for them."""
    if location.protocol in OBJECT_STORES:
        return None if _BUCKET.fullmatch(location.host) else _NO_BUCKET
    if location.protocol in NO_MACHINES:
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


def _plain_host(text: str, default_port: int) -> str:
    user, at, place = text.rpartition("@")
    try:
        name, port, address = parse_host(place)
    except ValueError:
        # It is refused elsewhere, and no place of any host's.
        return text.lower()
    shown = f"[{name}]" if address is not None and address.version == 6 else name
    return f"{user}{at}{shown}" + (f":{port}" if port not in {None, default_port} else "")


def _without_dots(path: str) -> str:
    """Resolve ``.`` and ``..`` as every client does before it asks a web server."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    return "/".join(kept).strip("/")
