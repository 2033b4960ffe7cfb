"""HTTP requests that reach only the hosts that they may reach.

A name is resolved once, its addresses are checked, and those very addresses are connected to: a
name server that gives another address a moment later changes nothing. Redirects are never followed
here; whoever may follow one makes a new request, which is checked as the first one was.
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
from bidsplan.paths import printable
from bidsplan.storage import retry
from bidsplan.storage.addresses import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Buffer


CHUNK = 1 << 18


class _Checked:
    """Connects to addresses that were checked, and resolves nothing anew."""

    public_only = False

    def _new_conn(self) -> socket.socket:
        connection: Any = self
        name = connection._dns_host  # noqa: SLF001 - urllib3 resolves this name when it connects
        try:
            addresses = resolve(name, connection.port, public_only=self.public_only)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            gone = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise kinds.NameResolutionError(name, connection, gone) from error
        for address in addresses[:-1]:
            try:
                return self._connected(address, name)
            except (kinds.NewConnectionError, kinds.ConnectTimeoutError):
                continue
        return self._connected(addresses[-1], name)

    def _connected(self, address: str, name: str) -> socket.socket:
        connection: Any = self
        connection._dns_host = address  # noqa: SLF001 - as above
        try:
            opened: socket.socket = super()._new_conn()  # type: ignore[misc] # urllib3's
        finally:
            connection._dns_host = name  # noqa: SLF001 - certificates are for the name
        return opened


class _Plain(_Checked, HTTPConnection):
    pass


class _Secure(_Checked, HTTPSConnection):
    pass


class _PublicPlain(_Plain):
    public_only = True


class _PublicSecure(_Secure):
    public_only = True


def _pool_class(kind: type[Any], connection: type[Any]) -> type[Any]:
    return type(kind.__name__, (kind,), {"ConnectionCls": connection})


_CLASSES = {
    public_only: {
        "http": _pool_class(urllib3.HTTPConnectionPool, plain),
        "https": _pool_class(urllib3.HTTPSConnectionPool, secure),
    }
    for public_only, plain, secure in (
        (False, _Plain, _Secure),
        (True, _PublicPlain, _PublicSecure),
    )
}


@functools.cache
def pool(jobs: int, timeout: float, proxy: str | None, *, public_only: bool = False) -> Any:
    """Make a pool of connections.

    Parameters
    ----------
    jobs : int
        The most connections to a host.
    timeout : float
        Seconds without a byte after which a connection is given up.
    proxy : str or None
        The proxy's URL. It resolves names and connects, so addresses are not checked here.
    public_only : bool
        As in `resolve`.
    """
    from botocore.httpsession import get_cert_path  # a tenth of a second

    options: dict[str, Any] = {
        "maxsize": jobs,
        "block": True,
        "retries": False,
        "timeout": urllib3.Timeout(connect=retry.CONNECT_SECONDS, read=timeout),
        "ca_certs": get_cert_path(True),
    }
    if proxy:
        auth = urllib3.util.parse_url(proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = _CLASSES[public_only]
    return manager


def confined(hosts: Iterable[str], proxy: str | None = None) -> dict[str, str]:
    """Give options of obstore's client that keep it from all hosts but some.

    obstore follows redirects, and has no option that says otherwise. So all other hosts are asked
    through a proxy: the environment's, or one that nothing can listen on. What it still follows is
    a redirect to another port of these hosts, or to a name below them: without the signature, and
    with the session token.

    Parameters
    ----------
    hosts : iterable of str
        Names and addresses that are asked directly; names include those below them.
    proxy : str, optional
        The environment's.
    """
    return {"proxy_url": proxy or "http://127.0.0.1:0", "proxy_excludes": ",".join(hosts)}


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
    """Send a request, follow no redirect, and give the answer before its body is read.

    Parameters
    ----------
    connections
        As `pool` gives.
    what : str
        What is asked for, as messages name it.
    within : float, optional
        Seconds to wait for an answer, where it is not as long as for others.

    Raises
    ------
    UnreachableError
    RefusedHostError
    """
    options: dict[str, Any] = {"headers": headers, "body": body}
    if within is not None:
        options |= {"timeout": within, "pool_timeout": within}
    try:
        return connections.request(method, url, preload_content=False, redirect=False, **options)
    except kinds.HTTPError as error:
        # urllib3 takes it for a broken connection, since it is an OSError as well.
        refused = next((each for each in error.args if isinstance(each, RefusedHostError)), None)
        if refused:
            raise RefusedHostError(f"{what}: {refused}") from error
        raise UnreachableError(f"{what}: {_origin(url)} {_reason(error)}") from error


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def body_chunks(answer: Any, seconds: float) -> Iterator[bytes]:
    """Read an answer's body as it comes, for a limited time.

    Raises
    ------
    UnreachableError
        Where it breaks off, or takes longer.
    """
    end = time.monotonic() + seconds
    try:
        while chunk := answer.read1(CHUNK, decode_content=False):
            yield chunk
            if time.monotonic() > end:
                raise UnreachableError(f"its bytes did not all come within {seconds:g} seconds")
    except (kinds.HTTPError, OSError) as error:
        if isinstance(error, UnreachableError):
            raise
        raise UnreachableError("the connection broke off") from error


def read_bounded(
    answer: Any,
    what: str,
    *,
    limit: int,
) -> bytes:
    """Read a short answer, and give its connection back.

    Parameters
    ----------
    what : str
        What was asked for, as messages name it.
    limit : int
        The most bytes to read; one that has more is cut behind the next of them.

    Raises
    ------
    UnreachableError
    """
    data = bytearray()
    try:
        packed = answer.headers.get("Content-Encoding", "identity")
        if packed != "identity":
            # None was asked for, and what unpacks to any size can't be bounded by its length.
            raise UnreachableError(f"the answer is packed ({printable(packed[:24])})")
        for chunk in body_chunks(answer, retry.PAGE_SECONDS):
            data += chunk
            if len(data) > limit:
                answer.close()
                break
    except UnreachableError as error:
        drop(answer)
        raise UnreachableError(f"{what}: {error}") from error
    finally:
        answer.release_conn()
    return bytes(data[: limit + 1])


def drop(answer: Any) -> None:
    """Give up an answer; its connection's place in the pool is free for another one."""
    answer.close()
    # Closing leaves the place taken, and who waits for one would wait for ever.
    answer.release_conn()


def _reason(error: Exception) -> str:
    """Say in a few words why there was no answer; urllib3's own words name pools and objects."""
    if isinstance(error, kinds.NameResolutionError):
        return "has a name that can't be resolved; check the endpoint"
    if isinstance(error, kinds.NewConnectionError):
        return "refused the connection; check the endpoint"
    if isinstance(error, kinds.ConnectTimeoutError):
        return f"did not answer within {retry.CONNECT_SECONDS:g} seconds; check the endpoint"
    if isinstance(error, kinds.SSLError):
        return "has a certificate that can't be trusted"
    return "broke the connection off"
