"""Decides which addresses may be connected to, and finds proxies."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from bidsplan.errors import RefusedHostError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.urls import is_link_local, is_public, parse_host

if TYPE_CHECKING:
    from bidsplan.urls import Address


def resolve(name: str, port: int, *, public_only: bool) -> list[str]:
    """Resolve a host name, and return its addresses if all are allowed.

    Parameters
    ----------
    public_only : bool
        Whether to refuse addresses outside the public internet. Link-local ones are always refused.

    Raises
    ------
    RefusedHostError
        If one of the addresses is refused.
    OSError
        If the name can't be resolved.
    """
    found = socket.getaddrinfo(name.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    for text in addresses:
        check_address(ipaddress.ip_address(text.partition("%")[0]), public_only=public_only)
    return addresses


def check_address(address: Address | None, *, public_only: bool) -> None:
    """Raise RefusedHostError for an address that must not be connected to.

    None is allowed, since the address is not known yet.
    """
    if address is None:
        return
    if is_link_local(address):
        raise RefusedHostError("it has a link-local address, which is never connected to")
    if public_only and not is_public(address):
        raise RefusedHostError(
            "it has a loopback or private address, which an untrusted manifest may not name",
            help_code=HelpCode.UNTRUSTED,
        )


def check_endpoint(url: str) -> None:
    """Raise RefusedHostError for a link-local endpoint.

    Use this for clients that connect by themselves. The user's own configuration names the URL, so
    its name server is trusted.
    """
    parts = urlsplit(url)
    if proxy_for(url) or not parts.hostname:
        return
    # If a name can't be resolved, the first request reports it.
    with suppress(socket.gaierror, UnicodeError):
        resolve(parts.hostname, parts.port or 443, public_only=False)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment sets for a URL, or None.

    Raises UsageError for a proxy that does not use HTTP.
    """
    parts, proxies = urlsplit(url), getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    found = found if "://" in found else f"http://{found}"
    try:
        scheme, place, *_ = urlsplit(found)
        parse_host(place.rpartition("@")[2])
    except ValueError:
        scheme = ""
    if scheme not in {"http", "https"}:
        # The message does not repeat the proxy, which may contain a password.
        raise UsageError(
            "the proxy that the environment names can't be used: expected http:// or https:// and "
            "a host; check HTTP_PROXY and HTTPS_PROXY, or set NO_PROXY for this host",
            help_code=HelpCode.CONFIGURATION,
        )
    return found
