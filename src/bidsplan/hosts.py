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

_PARTS = r"(\[[0-9A-Fa-f:.]*\]|[0-9A-Za-z._-]+)(?::([0-9]+))?"
_LABEL = r"[0-9A-Za-z_](?:[0-9A-Za-z_-]*[0-9A-Za-z_])?"
_NUMBER = r"[0-9]+|0[xX][0-9A-Fa-f]*"

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        # Amazon, Google, Alibaba, Azure, Oracle, Scaleway.
        (
            *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200"),
            *("168.63.129.16", "192.0.0.192", "fd00:c1::a9fe:a9fe", "fd00:42::42"),
        ),
    )
)
"""Addresses that serve a cloud's secrets and are not link-local."""

_WRAPPING = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)
"""Networks whose addresses end in one of IPv4: NAT64 (RFC 6052, 8215), compatible, translated."""

_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
_RESERVED = tuple(
    map(ipaddress.ip_network, ("192.88.99.0/24", "192.0.0.0/24", "fec0::/10", "3fff::/20"))
)
"""What is not of the public internet, and what the standard library of some versions passes."""


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
    match = re.fullmatch(_PARTS, text)
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
    if re.fullmatch(_NUMBER, labels[-1]):
        return _literal(name, port, ipaddress.IPv4Address)
    longest = max(map(len, labels))
    if (
        len(name) > _LONGEST_NAME
        or longest > _LONGEST_LABEL
        or not all(re.fullmatch(_LABEL, label) for label in labels)
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
    number = int(address)
    isatap = (number >> 32) & 0xFFFFFFFF in _ISATAP
    if isatap or any(address in network for network in _WRAPPING):
        found.append(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    if address in _LOCAL_NAT64:
        # Sixteen bits behind the prefix, and sixteen behind an empty byte.
        split = (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
        found.append(ipaddress.IPv4Address(split))
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
    reserved = address.is_reserved or any(address in network for network in _RESERVED)
    refused = wrapped or reserved or address.is_multicast or is_link_local(address)
    return address.is_global and not refused
