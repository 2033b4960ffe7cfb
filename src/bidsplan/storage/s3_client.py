"""Plain requests to S3: signed by botocore, sent over a pooled HTTP client.

Listings go this way because it gives keys exactly as they are stored, ten times as fast as s3fs; so
do reads of keys that obstore can't express.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

from bidsplan.errors import StorageError, UnreachableError
from bidsplan.keys import printable
from bidsplan.storage.retrying import retrying
from bidsplan.storage.s3_answers import error_code, status_error
from bidsplan.storage.s3_listing import NoListingError, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Buffer

    from bidsplan.storage.connection import Connection

__all__ = ["S3Client"]

CONNECT_SECONDS = 2.5
LONGEST_REQUEST = 3600.0
"""Seconds after which a body that trickles counts as broken off; what came by then is kept."""

CHUNK = 1 << 18
LARGEST_PAGE = 1 << 24
"""Bytes of one page of a listing that are accepted."""

_REDIRECTS = frozenset({301, 307, 400})


@functools.cache
def _pool(jobs: int, timeout: float, proxy: str | None) -> Any:  # noqa: ANN401 - either kind of urllib3's managers
    import urllib3  # noqa: PLC0415 - a tenth of a second
    from botocore.httpsession import get_cert_path  # noqa: PLC0415

    options = {
        "maxsize": jobs,
        "block": True,
        "retries": False,
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout),
        "ca_certs": get_cert_path(True),
    }
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _proxy(endpoint: str) -> str | None:
    scheme, _, host = endpoint.partition("://")
    return None if proxy_bypass(host.split(":")[0]) else getproxies().get(scheme)


class S3Client:
    """Requests to one bucket.

    Parameters
    ----------
    connection : Connection
    bucket : str
    """

    def __init__(self, connection: Connection, bucket: str) -> None:
        self.connection = connection
        self.bucket = bucket
        # By endpoint, since looking for proxies costs as much as signing.
        self._pools: dict[str, Any] = {}

    def pages(self, prefix: str, *, delimiter: str = "", after: str = "") -> Iterator[Page]:
        """List objects, a page at a time.

        Parameters
        ----------
        prefix : str
        delimiter : str
        after : str
            The last key to leave out.

        Yields
        ------
        Page

        Raises
        ------
        StorageError
        """
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        if delimiter:
            query["delimiter"] = delimiter
        if after:
            query["start-after"] = after
        while True:
            page = retrying()(self._page, query, "ListBucketResult")
            yield page
            token = page.text("NextContinuationToken")
            if not page.truncated or not token:
                return
            query["continuation-token"] = token

    def version_pages(self, prefix: str) -> Iterator[Page]:
        """List the versions of the objects directly below a prefix, a page at a time.

        Parameters
        ----------
        prefix : str

        Yields
        ------
        Page

        Raises
        ------
        StorageError
        """
        query = {"versions": "", "encoding-type": "url", "prefix": prefix, "delimiter": "/"}
        marker: dict[str, str] = {}
        while True:
            page = retrying()(self._page, query | marker, "ListVersionsResult")
            yield page
            key, version = page.key("NextKeyMarker"), page.text("NextVersionIdMarker")
            last, marker = marker, {"key-marker": key}
            if version:
                # Behind a directory there is none, and an empty one is refused.
                marker["version-id-marker"] = version
            # A server that does not heed the marker would begin again and again.
            if not page.truncated or not key or marker == last:
                return

    def _page(self, query: Mapping[str, str], kind: str) -> Page:
        what = f"listing s3://{self.bucket}/{printable(query['prefix'])}"
        answer = self._send("GET", "", query, {}, what)
        data = _text(answer, what, LARGEST_PAGE + 1)
        if len(data) > LARGEST_PAGE:
            raise StorageError(f"{what}: the answer is no listing")
        try:
            page = Page(data, what)
        except NoListingError as error:
            raise UnreachableError(f"{what}: the answer is no listing ({error})") from error
        if page.kind != kind:
            raise StorageError(f"{what}: the answer is no listing, but {printable(page.kind)!r}")
        return page

    def head(
        self, key: str, version: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401
        """Give the headers of an object's answer, to a request with some more.

        Raises
        ------
        StorageError
        """
        query = {"versionId": version} if version else {}
        what = f"s3://{self.bucket}/{printable(key)}"
        answer = self._send("HEAD", key, query, headers or {}, what)
        answer.release_conn()
        return answer.headers

    def get(self, key: str, headers: Mapping[str, str], version: str | None) -> Any:  # noqa: ANN401
        """Ask for an object, and give the answer whose body is to be read.

        Raises
        ------
        StorageError
        """
        what = f"s3://{self.bucket}/{printable(key)}"
        query = {"versionId": version} if version else {}
        return self._send("GET", key, query, headers, what)

    def write(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Buffer,
        *,
        refused: Callable[..., Exception],
        within: float | None,
    ) -> tuple[Any, bytes]:
        """Send bytes, and give the answer's headers and body.

        Parameters
        ----------
        method, key, query, headers, body
        refused : callable
            Makes the error that a status stands for, of what `status_error` takes.
        within : float or None
            Seconds to wait for an answer, where it is not as long as for others.

        Returns
        -------
        headers : mapping
        body : bytes
            At most 1 MiB of it.

        Raises
        ------
        UnreachableError
        Exception
            What `refused` makes.
        """
        what = f"s3://{self.bucket}/{printable(key)}"
        more = {"body": body, "within": within}
        answer = self._send(method, key, query, headers, what, refused, **more)
        return answer.headers, _text(answer, what)

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        what: str,
        refused: Callable[..., Exception] = status_error,
        **more: Any,  # noqa: ANN401 - see `_request`
    ) -> Any:  # noqa: ANN401 - urllib3's answer
        answer = self._request(method, key, query, headers, what, **more)
        region = answer.headers.get("x-amz-bucket-region")
        if answer.status in _REDIRECTS and region and region != self.connection.region:
            answer.drain_conn()
            self._move(region)
            answer = self._request(method, key, query, headers, what, **more)
        if answer.status >= 300:
            raise refused(answer.status, what, error_code(_text(answer, what)), answer.headers)
        return answer

    def _move(self, region: str) -> None:
        """Go where the bucket is."""
        endpoint = self.connection.endpoint
        if self.connection.is_aws:
            endpoint = f"https://s3.{region}.amazonaws.com"
        self.connection = replace(self.connection, region=region, endpoint=endpoint)

    def locate(self) -> Connection:
        """Find out the bucket's region, where that decides where requests go.

        Returns
        -------
        Connection
        """
        if self.connection.is_aws:
            answer = self._request("HEAD", "", {}, {}, f"s3://{self.bucket}")
            answer.drain_conn()
            region = answer.headers.get("x-amz-bucket-region")
            if region and region != self.connection.region:
                self._move(region)
        return self.connection

    def _request(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        what: str,
        *,
        body: Buffer | None = None,
        within: float | None = None,
    ) -> Any:  # noqa: ANN401 - urllib3's answer
        import urllib3.exceptions  # noqa: PLC0415 - a tenth of a second

        url = f"{self.connection.endpoint}/{quote(self.bucket)}"
        if key:
            url += f"/{quote(key, safe='/~')}"
        if query:
            url += f"?{urlencode(sorted(query.items()), quote_via=quote)}"
        signed = self._signed(method, url, dict(headers), body)
        options: dict[str, Any] = {"headers": signed, "body": body}
        if within is not None:
            options |= {"timeout": within, "pool_timeout": within}
        try:
            return self._pool().request(
                method, url, preload_content=False, redirect=False, **options
            )
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(
                f"{what}: {self.connection.endpoint} {_reason(error)}"
            ) from error

    def _pool(self) -> Any:  # noqa: ANN401 - as `_pool`
        connection = self.connection
        found = self._pools.get(connection.endpoint)
        if found is None:
            found = _pool(connection.jobs, connection.timeout, _proxy(connection.endpoint))
            self._pools[connection.endpoint] = found
        return found

    def _signed(
        self, method: str, url: str, headers: dict[str, str], body: Buffer | None
    ) -> dict[str, str]:
        headers["Accept-Encoding"] = "identity"
        if self.connection.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        if self.connection.anonymous:
            return headers
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - a fifth of a second
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest(method=method, url=url, headers=headers, data=body)
        request.context["payload_signing_enabled"] = False
        credentials = self.connection.credentials()
        S3SigV4Auth(credentials, "s3", self.connection.region).add_auth(request)
        return dict(request.headers.items())


def _text(answer: Any, what: str, most: int = 1 << 20) -> bytes:  # noqa: ANN401
    """Read a short answer, and give its connection back."""
    import urllib3.exceptions  # noqa: PLC0415 - loaded already

    try:
        data: bytes = answer.read(most)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"{what}: the answer broke off") from error
    finally:
        answer.release_conn()
    return data


def _reason(error: Exception) -> str:
    """Say in a few words why there was no answer; urllib3's own words name pools and objects."""
    import urllib3.exceptions as kinds  # noqa: PLC0415 - loaded already

    if isinstance(error, kinds.NameResolutionError):
        return "has a name that can't be resolved; check the endpoint"
    if isinstance(error, kinds.NewConnectionError):
        return "refused the connection; check the endpoint"
    if isinstance(error, kinds.ConnectTimeoutError):
        return f"did not answer within {CONNECT_SECONDS:g} seconds; check the endpoint"
    if isinstance(error, kinds.SSLError):
        return "has a certificate that can't be trusted"
    return "broke the connection off"
