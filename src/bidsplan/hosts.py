"""Hosts of URLs: parsed once, strictly, and compared as addresses.

Resolvers and URL libraries read odd spellings of a host in different ways: octal and hexadecimal
numbers, full-width digits, percent-encoding, backslashes. A spelling that only some of them accept
is refused here, so that no two parts of the program can take it for different hosts.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "Host", "is_link_local", "is_public", "parse_host"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_LARGEST_PORT = 65_535

_PARTS = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[0-9A-Za-z._-]+)(?::([0-9]+))?")
_LABEL = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_-]*[0-9A-Za-z_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})
"""Addresses that serve a cloud's secrets and are not link-local."""

_NAT64 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class Host(NamedTuple):
    """A host as every part of the program takes it.

    Parameters
    ----------
    name : str
        In lower case, without brackets or a dot at its end.
    port : int or None
    address : IPv4Address, IPv6Address or None
        The address that the name is; None for a name that is resolved.
    """

    name: str
    port: int | None
    address: Address | None


def parse_host(text: str) -> Host:
    """Parse the host part of a URL, with its port.

    Parameters
    ----------
    text : str
        What stands between ``//`` and the next ``/``, without user information.

    Returns
    -------
    Host

    Raises
    ------
    ValueError
        Where it is spelt in a way that not everybody reads alike; the message does not repeat it.

    References
    ----------
    RFC 3986, section 3.2.2, and the URL Standard's rules for numbers at the end of a host.

    Examples
    --------
    >>> parse_host("OpenNeuro.org:443")
    Host(name='openneuro.org', port=443, address=None)
    """
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ValueError(
            "its host has characters that no host has; expected letters, digits, '-' and '.' "
            "(international names in their 'xn--' form), or an IPv6 address in brackets"
        )
    name, port = match[1].lower(), _port(match[2])
    if name.startswith("["):
        return _literal(name[1:-1], port, ipaddress.IPv6Address)
    name = name.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _literal(name, port, ipaddress.IPv4Address)
    longest = max(map(len, labels))
    if (
        len(name) > _LONGEST_NAME
        or longest > _LONGEST_LABEL
        or not all(map(_LABEL.fullmatch, labels))
    ):
        raise ValueError("its host is no valid name")
    return Host(name, port, None)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text) > 5 or not 0 < int(text) <= _LARGEST_PORT:
        raise ValueError(f"its port is none; expected 1 to {_LARGEST_PORT}")
    return int(text)


def _literal(text: str, port: int | None, kind: type[Address]) -> Host:
    try:
        address = kind(text)
    except ValueError as error:
        raise ValueError(
            "its host is a number that is read in different ways; write an IPv4 address as four "
            "decimal numbers, or name the host"
        ) from error
    return Host(str(address), port, address)


def _meant(address: Address) -> Iterator[Address]:
    """Give an address, and those of IPv4 that packets for it may go to."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in (*_NAT64, _COMPATIBLE)):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    yield from (each for each in found if each is not None)


def is_link_local(address: Address) -> bool:
    """Tell whether an address is one where clouds serve their secrets, however it is wrapped.

    Parameters
    ----------
    address : IPv4Address or IPv6Address

    Returns
    -------
    bool
    """
    return any(each.is_link_local or each in _METADATA for each in _meant(address))


def is_public(address: Address) -> bool:
    """Tell whether an address is a host of the public internet.

    Parameters
    ----------
    address : IPv4Address or IPv6Address

    Returns
    -------
    bool
        False for loopback, private, link-local, multicast and reserved addresses, and for IPv6
        addresses that stand for one of IPv4 (mapped, NAT64, 6to4, Teredo).
    """
    wrapped = len(list(_meant(address))) > 1
    return (
        address.is_global and not wrapped and not address.is_multicast and not address.is_reserved
    )
