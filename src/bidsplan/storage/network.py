"""HTTP requests that connect only to allowed addresses.

A name is resolved once, its addresses are checked, and connections use exactly these addresses. A
name server that answers differently a moment later changes nothing. Redirects are not followed
here. A caller that follows a redirect sends a new request, which is checked like the first.
"""

from __future__ import annotations

import functools
import socket
import time
from typing import TYPE_CHECKING, Any

import urllib3
import urllib3.exceptions as kinds
from urllib3.connection import HTTPConnection, HTTPSConnection

from bidsplan.errors import RefusedHostError, StorageError, UnreachableError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.storage import retry
from bidsplan.storage.addresses import resolve
from bidsplan.storage.certificates import certificates, shared_context, untrusted
from bidsplan.storage.headers import compared_etag, content_length, whole_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Buffer

    from bidsplan.storage.certificates import Authorities
    from bidsplan.storage.objects import Identity


CHUNK = 1 << 18

_POOLS: dict[str, type[Any]] = {
    "http": urllib3.HTTPConnectionPool,
    "https": urllib3.HTTPSConnectionPool,
}


class _Checked:
    """A connection to addresses that were already checked."""

    public_only = False

    def _new_conn(self) -> socket.socket:
        connection: Any = self
        name = connection._dns_host  # noqa: SLF001 - urllib3 resolves this name when it connects
        try:
            addresses = resolve(name, connection.port, public_only=self.public_only)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            cause = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise kinds.NameResolutionError(name, connection, cause) from error
        for address in addresses[:-1]:
            try:
                return self._connect_to(address, name)
            except (kinds.NewConnectionError, kinds.ConnectTimeoutError):
                continue
        return self._connect_to(addresses[-1], name)

    def _connect_to(self, address: str, name: str) -> socket.socket:
        connection: Any = self
        connection._dns_host = address  # noqa: SLF001 - as above
        try:
            opened: socket.socket = super()._new_conn()  # type: ignore[misc] # urllib3's
        finally:
            connection._dns_host = name  # noqa: SLF001 - certificates are for the name
        return opened


def _pool_classes(public_only: bool) -> dict[str, type[Any]]:
    """Return urllib3's pool classes, with connections that check addresses."""
    bases: dict[str, type[Any]] = {"http": HTTPConnection, "https": HTTPSConnection}
    classes = {}
    for protocol, kind in bases.items():
        checked = type(kind.__name__, (_Checked, kind), {"public_only": public_only})
        base = _POOLS[protocol]
        classes[protocol] = type(base.__name__, (base,), {"ConnectionCls": checked})
    return classes


@functools.cache
def pool(
    jobs: int,
    timeout: float,
    proxy: str | None,
    authorities: Authorities = (),
    *,
    public_only: bool = False,
) -> Any:
    """Return the connection pool for these settings.

    Parameters
    ----------
    jobs : int
        The most connections to a host.
    timeout : float
        Seconds without a byte after which a connection is given up.
    proxy : str or None
        The proxy's URL. The proxy resolves names and connects, so addresses are not checked here.
    authorities : tuple of Authority
        Authorities to trust in addition to the system's.
    """
    options: dict[str, Any] = {
        "maxsize": jobs,
        "block": True,
        "retries": False,
        "timeout": urllib3.Timeout(connect=retry.CONNECT_SECONDS, read=timeout),
    }
    manager = _proxied(proxy, authorities, options) if proxy else urllib3.PoolManager(**options)
    classes = _POOLS if proxy else _pool_classes(public_only)

    def secure(*place: Any, **more: Any) -> Any:
        # Certificates are read only now, since that takes time that plain HTTP does not need.
        return classes["https"](*place, ssl_context=shared_context(authorities), **more)

    manager.pool_classes_by_scheme = {"http": classes["http"], "https": secure}
    return manager


def _proxied(proxy: str, authorities: Authorities, options: dict[str, Any]) -> Any:
    auth = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
    context = shared_context(authorities) if proxy.startswith("https:") else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, proxy_ssl_context=context, **options)


def obstore_options(
    *,
    jobs: int,
    timeout: float,
    seconds: float,
    hosts: Iterable[str],
    authorities: Authorities,
    proxy: str | None = None,
) -> dict[str, Any]:
    """Return obstore's options that limit hosts and prevent retries.

    obstore follows redirects, and has no option to prevent that. Therefore all other hosts are
    requested through a proxy: the environment's proxy, or an address where nothing can listen. The
    only redirects that obstore still follows are to another port of these hosts, or to a name below
    them. Such a request has no signature, but it has the session token.

    Parameters
    ----------
    timeout : float
        Seconds without a byte after which a connection is given up.
    seconds : float
        The most seconds that a request may take.
    hosts : iterable of str
        Names and addresses that are connected to directly. A name includes all names below it.
    authorities : tuple of Authority
        As in `pool`.
    proxy : str, optional
        The environment's proxy.
    """
    client = {
        **retry.obstore_options(timeout, seconds),
        "pool_max_idle_per_host": str(jobs),
        "proxy_url": proxy or "http://127.0.0.1:0",
        "proxy_excludes": ",".join(hosts),
    }
    trusted = certificates(authorities)
    if trusted:
        client["root_certificate"] = trusted
    # Only the caller retries, so that it can slow down when the storage asks for that.
    return {"client_options": client, "retry_config": {"max_retries": 0}}


def send(
    connections: Any,
    method: str,
    url: str,
    what: str,
    *,
    headers: Mapping[str, str],
    body: Buffer | None = None,
    within: float | None = None,
) -> Any:
    """Send a request, and return the answer without reading its body.

    Parameters
    ----------
    connections
        The connections, from `pool`.
    what : str
        The name of the object or listing, for messages.
    within : float, optional
        Seconds to wait for an answer, instead of the pool's timeouts.

    Raises
    ------
    UnreachableError, RefusedHostError
    """
    options: dict[str, Any] = {"headers": headers, "body": body}
    if within is not None:
        options |= {"timeout": within, "pool_timeout": within}
    try:
        return connections.request(method, url, preload_content=False, redirect=False, **options)
    except kinds.HTTPError as error:
        # urllib3 treats the error as a broken connection, since it is also an OSError.
        refused = next((each for each in error.args if isinstance(each, RefusedHostError)), None)
        if refused:
            raise RefusedHostError(f"{what}: {refused}") from error
        origin = "/".join(url.split("/")[:3])
        untrusting = untrusted(error) if isinstance(error, kinds.SSLError) else None
        raise UnreachableError(
            f"{what}: {origin} {untrusting or _reason(error)}",
            help_code=HelpCode.CERTIFICATE if untrusting else None,
        ) from error


class Body:
    """An answer's body as a `Stream`, whose length is checked.

    Parameters
    ----------
    start, stop : int
        The first byte that was requested, and the byte to stop before, if any.
    seconds : float, optional
        The most seconds that the body may take; by default `retry.BODY_SECONDS`.

    Raises
    ------
    StorageError
        If the answer contains other bytes than requested.
    """

    def __init__(
        self,
        answer: Any,
        what: str,
        start: int,
        identity: Identity | None,
        seconds: float | None = None,
        stop: int | None = None,
    ) -> None:
        self._answer, self._what = answer, what
        self._seconds = retry.BODY_SECONDS if seconds is None else seconds
        self._length = content_length(answer.headers)
        content_range = answer.headers.get("Content-Range")
        self.size = whole_size(answer.status, content_range, self._length, start, what, stop)
        self.etag = compared_etag(answer.headers.get("ETag"))
        self.identity = identity

    def __iter__(self) -> Iterator[bytes]:
        return body_chunks(self._answer, self._what, self._seconds, self._length)

    def close(self) -> None:
        """Close the answer."""
        drop(self._answer)


def body_chunks(
    answer: Any, what: str, seconds: float, length: int | None = None
) -> Iterator[bytes]:
    """Yield an answer's body as it arrives.

    Raises
    ------
    UnreachableError
        If the body breaks off, takes longer than `seconds`, or has fewer bytes than `length`.
    """
    end, left = time.monotonic() + seconds, length
    try:
        while chunk := answer.read1(CHUNK, decode_content=False):
            left = None if left is None else left - len(chunk)
            yield chunk
            if time.monotonic() > end:
                raise UnreachableError(
                    f"{what}: its bytes did not all come within {seconds:g} seconds"
                )
    except (kinds.HTTPError, OSError) as error:
        if isinstance(error, UnreachableError):
            raise
        raise UnreachableError(f"{what}: the connection broke off") from error
    if left:
        raise UnreachableError(f"{what}: the answer ended {left} bytes early")


def read_bounded(answer: Any, what: str, *, limit: int) -> bytes:
    """Read a short answer, and release its connection.

    An answer of more than `limit` bytes is cut off one byte later. Raises UnreachableError.
    """
    data = bytearray()
    try:
        coding = answer.headers.get("Content-Encoding", "identity")
        if coding != "identity":
            # No coding was requested, and the size of unpacked bytes can't be limited by the
            # length.
            raise UnreachableError(f"{what}: the answer is packed ({printable(coding[:24])})")
        for chunk in body_chunks(answer, what, retry.PAGE_SECONDS):
            data += chunk
            if len(data) > limit:
                answer.close()
                break
    except UnreachableError:
        drop(answer)
        raise
    finally:
        answer.release_conn()
    return bytes(data[: limit + 1])


def drop(answer: Any) -> None:
    """Close an answer, and release its place in the pool."""
    answer.close()
    # Closing alone does not free the connection's place, and a waiting request would wait forever.
    answer.release_conn()


def _reason(error: Exception) -> str:
    """Describe why there was no answer."""
    if isinstance(error, kinds.NameResolutionError):
        return "has a name that can't be resolved; check the endpoint"
    if isinstance(error, kinds.NewConnectionError):
        return "refused the connection; check the endpoint"
    if isinstance(error, kinds.ConnectTimeoutError):
        return f"did not answer within {retry.CONNECT_SECONDS:g} seconds; check the endpoint"
    if isinstance(error, kinds.SSLError):
        return "does not speak TLS as it should; check the endpoint"
    return "broke the connection off"
