"""Requests to web servers, whose redirects are followed as far as the URL itself might lead."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from bidsplan.errors import RefusedHostError, StorageError
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import check_address, proxy_for, resolve
from bidsplan.storage.http_errors import status_error
from bidsplan.urls import parse_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.storage.access import Access
    from bidsplan.urls import Host


_MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int | None]:
    """Give a URL's protocol, host and port, equal where they are the same server.

    Raises
    ------
    ValueError
        Where the host is spelt in a way that not everybody reads alike.
    """
    parts = urlsplit(url)
    host = parse_host(parts.netloc)
    return parts.scheme, host.name, host.port or _PORTS.get(parts.scheme)


class HttpClient:
    """Requests to web servers, without credentials.

    Parameters
    ----------
    access : Access
        Its untrusted ones may only lead to public addresses; ``http`` must be allowed by name.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        # By server, since looking for proxies goes through the whole environment.
        self._proxies: dict[str, str | None] = {}
        self._protocols = {"https"} | ({"http"} & access.allow_protocols)

    def send(
        self, method: str, url: str, what: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, str]:
        """Send a request, follow redirects, and give the answer before its body is read.

        Parameters
        ----------
        url : str
            With all that needs it quoted.
        what : str
            What is asked for, as messages name it.

        Returns
        -------
        answer : urllib3.BaseHTTPResponse
            Its status is below 300.
        url : str
            Where it came from.

        Raises
        ------
        RefusedHostError
            Where a redirect leads to a host, or by a protocol, that the URL may not name either.
        StorageError
            As the status says.
        """
        for _ in range(_MOST_REDIRECTS):
            answer = self._once(method, url, what, headers or {})
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not target:
                break
            network.drop(answer)
            url = self._redirected(url, target, what)
        else:
            raise StorageError(f"{what}: the server redirects again and again")
        if answer.status >= 300:
            network.drop(answer)
            raise status_error(answer.status, what, headers=answer.headers)
        return answer, url

    def _once(self, method: str, url: str, what: str, headers: Mapping[str, str]) -> Any:
        access, proxy = self._access, self._proxy(url)
        try:
            self._check(parse_host(urlsplit(url).netloc), through_proxy=proxy is not None)
        except (ValueError, RefusedHostError) as error:
            raise RefusedHostError(f"{what}: the server's URL is refused: {error}") from error
        pool = network.pool(access.jobs, access.timeout, proxy, public_only=access.untrusted)
        asked = {"Accept-Encoding": "identity", "User-Agent": "bidsplan", **headers}
        return network.send(pool, method, url, what, headers=asked)

    def _proxy(self, url: str) -> str | None:
        place = "/".join(url.split("/", 3)[:3])
        if place not in self._proxies:
            self._proxies[place] = proxy_for(url)
        return self._proxies[place]

    def _check(self, host: Host, *, through_proxy: bool) -> None:
        """Refuse what is known without asking; connections check the addresses they use."""
        check_address(host.address, public_only=self._access.untrusted)
        if through_proxy and self._access.untrusted:
            # The proxy resolves the name once more: it has to guard its own network.
            with suppress(socket.gaierror):
                resolve(host.name, host.port or 443, public_only=True)

    def _redirected(self, url: str, target: str, what: str) -> str:
        try:
            joined = urlsplit(urljoin(url, target))
            found = urlunsplit(joined._replace(fragment=""))
        except ValueError as error:
            raise RefusedHostError(
                f"{what}: the server redirects to what is no URL ({printable(str(error)[:80])})"
            ) from error
        if joined.scheme not in self._protocols:
            raise RefusedHostError(
                f"{what}: the server redirects to the protocol {joined.scheme[:24]!r}, which is "
                "not allowed"
            )
        return found
