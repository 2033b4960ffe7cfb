"""Sends requests to web servers, and checks where redirects lead."""

from __future__ import annotations

import functools
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from bidsplan.errors import RefusedHostError, StorageError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import check_address, proxy_for, resolve
from bidsplan.storage.certificates import named_authorities
from bidsplan.storage.http_errors import Advice, status_error
from bidsplan.urls import parse_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.storage.access import Access
    from bidsplan.urls import Host


_MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int | None]:
    """Return a URL's protocol, host and port, to compare servers.

    Raises ValueError if libraries would read the host's spelling differently.
    """
    parts = urlsplit(url)
    host = parse_host(parts.netloc)
    return parts.scheme, host.name, host.port or _PORTS.get(parts.scheme)


class HttpClient:
    """Sends requests to web servers, without credentials.

    Untrusted requests may only connect to public addresses. Redirects to ``http`` must be allowed
    explicitly.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        # Proxies are kept by server, since looking for them searches the whole environment.
        self._proxy_for = functools.cache(proxy_for)
        self._protocols = {"https"} | ({"http"} & access.allow_protocols)
        self._authorities = named_authorities()

    def send(
        self, method: str, url: str, what: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, str]:
        """Send a request, follow redirects, and return the unread answer.

        The URL must be quoted. `what` names the file or listing in messages.

        Returns
        -------
        answer : urllib3.BaseHTTPResponse
            The answer, with a status below 300.
        url : str
            The URL that answered.

        Raises
        ------
        RefusedHostError
            If a redirect leads to a host or a protocol that is not allowed for the URL.
        StorageError
            For any other status.
        """
        for _ in range(_MOST_REDIRECTS):
            answer = self._send_once(method, url, what, headers or {})
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not target:
                break
            network.drop(answer)
            url = self._follow(url, target, what)
        else:
            raise StorageError(f"{what}: the server redirects too often ({_MOST_REDIRECTS} times)")
        if answer.status >= 300:
            network.drop(answer)
            raise status_error(answer.status, what, headers=answer.headers, denied=_denied)
        return answer, url

    def _send_once(self, method: str, url: str, what: str, headers: Mapping[str, str]) -> Any:
        access, proxy = self._access, self._proxy_for("/".join(url.split("/", 3)[:3]))
        try:
            self._check(parse_host(urlsplit(url).netloc), through_proxy=proxy is not None)
        except (ValueError, RefusedHostError) as error:
            raise RefusedHostError(f"{what}: the server's URL is refused: {error}") from error
        pool = network.pool(
            access.jobs, access.timeout, proxy, self._authorities, public_only=access.untrusted
        )
        sent = {"Accept-Encoding": "identity", "User-Agent": "bidsplan", **headers}
        return network.send(pool, method, url, what, headers=sent)

    def _check(self, host: Host, *, through_proxy: bool) -> None:
        """Refuse a host by its name; connections check its addresses."""
        check_address(host.address, public_only=self._access.untrusted)
        if through_proxy and self._access.untrusted:
            # The proxy resolves the name again, and has to protect its own network.
            with suppress(socket.gaierror):
                resolve(host.name, host.port or 443, public_only=True)

    def _follow(self, url: str, target: str, what: str) -> str:
        """Return the target of a redirect, unless it is refused."""
        try:
            joined = urlsplit(urljoin(url, target))
            followed = urlunsplit(joined._replace(fragment=""))
        except ValueError as error:
            raise RefusedHostError(
                f"{what}: the server redirects to an invalid URL ({printable(str(error)[:80])})"
            ) from error
        if joined.scheme not in self._protocols:
            raise RefusedHostError(
                f"{what}: the server redirects to the protocol {joined.scheme[:24]!r}, which is "
                "not allowed"
            )
        return followed


def _denied() -> Advice:
    text = "check whether the server gives it without a login: bidsplan sends it no credentials"
    return Advice(text, HelpCode.DENIED_UNSIGNED)
