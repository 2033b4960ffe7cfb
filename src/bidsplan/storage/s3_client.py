"""Plain requests to S3: signed by botocore, sent over a pooled HTTP client.

Listings go this way because it gives keys exactly as they are stored, ten times as fast as s3fs; so
do reads of keys that obstore can't express.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus, urlencode
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree as ET

from bidsplan.errors import (
    CredentialsError,
    DeniedError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.keys import printable
from bidsplan.storage.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from xml.etree.ElementTree import Element

    from bidsplan.storage.connection import Connection

__all__ = ["S3Client", "bare_etag", "check_range", "status_error", "text_of"]

CONNECT_SECONDS = 2.5
LONGEST_REQUEST = 3600.0
"""Seconds after which a body that trickles counts as broken off; what came by then is kept."""

CHUNK = 1 << 18
LARGEST_PAGE = 1 << 24
"""Bytes of one page of a listing that are accepted."""

_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_NAMESPACE = re.compile(rb"\A(\s*(?:<\?[^>]*\?>\s*)?<\w+)\s+xmlns=\"[^\"]*\"")
_REDIRECTS = frozenset({301, 307, 400})
_THROTTLED = frozenset({429, 503})


def bare_etag(text: str | None) -> str | None:
    """Give an entity tag without its quotes."""
    if not text:
        return None
    return text.removeprefix("W/").strip('"') or None


def check_range(said: str | None, start: int) -> None:
    """Refuse an answer that does not start at the byte that was asked for.

    Parameters
    ----------
    said : str or None
        The answer's ``Content-Range``.
    start : int

    Raises
    ------
    StorageError
    """
    if start and not (said or "").startswith(f"bytes {start}-"):
        raise StorageError(f"byte {start} was asked for, and the whole object came")


def status_error(status: int, what: str, code: str = "", headers: Any = None) -> StorageError:  # noqa: ANN401
    """Make the error that an HTTP status stands for.

    Parameters
    ----------
    status : int
    what : str
        What was asked for, as messages name it.
    code : str
        The storage's own word for the error.
    headers : mapping, optional
        Of the answer.

    Returns
    -------
    StorageError
    """
    said = f"{status} {code}".strip()
    if status in _THROTTLED or code in {"SlowDown", "RequestLimitExceeded"}:
        error = ThrottledError(f"{what}: the storage asks to slow down ({said})")
        wait = (headers or {}).get("Retry-After", "")
        error.retry_after = float(wait) if wait.isdecimal() else None
        return error
    if code in _CREDENTIALS:
        return CredentialsError(
            f"{what}: the credentials are refused ({said}); renew them (or set the clock), and run "
            "it again: it goes on where it stopped"
        )
    if status in {401, 403}:
        return DeniedError(
            f"{what}: access is denied ({said}); check whether the bucket is public, or give "
            "credentials and say 'anonymous: false'"
        )
    if status == 404:
        return SourceMissingError(f"{what}: there is no such object or bucket ({said})")
    if status == 412:
        return SourceChangedError(f"{what}: it is no longer the object that was listed ({said})")
    if status >= 500 and status != 501:
        return UnreachableError(f"{what}: the storage failed ({said})")
    return StorageError(f"{what}: the storage refused ({said})")


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

    def pages(self, prefix: str, *, delimiter: str = "") -> Iterator[Element]:
        """List objects, a page at a time.

        Parameters
        ----------
        prefix : str
        delimiter : str

        Yields
        ------
        Element
            A ``ListBucketResult``, its names free of namespaces.

        Raises
        ------
        StorageError
        """
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        if delimiter:
            query["delimiter"] = delimiter
        while True:
            page = retrying()(self._page, query, "ListBucketResult")
            yield page
            token = page.findtext("NextContinuationToken")
            if page.findtext("IsTruncated") != "true" or not token:
                return
            query["continuation-token"] = token

    def version_pages(self, prefix: str) -> Iterator[Element]:
        """List the versions of the objects directly below a prefix, a page at a time.

        Parameters
        ----------
        prefix : str

        Yields
        ------
        Element
            A ``ListVersionsResult``, its names free of namespaces.

        Raises
        ------
        StorageError
        """
        query = {"versions": "", "encoding-type": "url", "prefix": prefix, "delimiter": "/"}
        marker: dict[str, str] = {}
        while True:
            page = retrying()(self._page, query | marker, "ListVersionsResult")
            yield page
            key = text_of(page, "NextKeyMarker", encoded=page.findtext("EncodingType") == "url")
            version = page.findtext("NextVersionIdMarker")
            last, marker = marker, {"key-marker": key}
            if version:
                # Behind a directory there is none, and an empty one is refused.
                marker["version-id-marker"] = version
            # A server that does not heed the marker would begin again and again.
            if page.findtext("IsTruncated") != "true" or not key or marker == last:
                return

    def _page(self, query: Mapping[str, str], kind: str) -> Element:
        what = f"listing s3://{self.bucket}/{printable(query['prefix'])}"
        answer = self._send("GET", "", query, {}, what)
        data = answer.read(LARGEST_PAGE + 1)
        answer.release_conn()
        if len(data) > LARGEST_PAGE:
            raise StorageError(f"{what}: the answer is no listing")
        try:
            page = _parsed(data)
        except ET.ParseError as error:
            raise UnreachableError(f"{what}: the answer is no listing ({error})") from error
        if page.tag != kind:
            raise StorageError(f"{what}: the answer is no listing, but {printable(page.tag)!r}")
        return page

    def head(self, key: str, version: str | None = None) -> Any:  # noqa: ANN401
        """Give the headers of an object's answer.

        Raises
        ------
        StorageError
        """
        query = {"versionId": version} if version else {}
        answer = self._send("HEAD", key, query, {}, f"s3://{self.bucket}/{printable(key)}")
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

    def _send(
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], what: str
    ) -> Any:  # noqa: ANN401 - urllib3's answer
        answer = self._request(method, key, query, headers, what)
        region = answer.headers.get("x-amz-bucket-region")
        if answer.status in _REDIRECTS and region and region != self.connection.region:
            answer.drain_conn()
            self._move(region)
            answer = self._request(method, key, query, headers, what)
        if answer.status >= 300:
            raise status_error(answer.status, what, _error_code(answer), answer.headers)
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
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], what: str
    ) -> Any:  # noqa: ANN401 - urllib3's answer
        import urllib3.exceptions  # noqa: PLC0415 - a tenth of a second

        url = f"{self.connection.endpoint}/{quote(self.bucket)}"
        if key:
            url += f"/{quote(key, safe='/~')}"
        if query:
            url += f"?{urlencode(sorted(query.items()), quote_via=quote)}"
        signed = self._signed(method, url, dict(headers))
        try:
            return self._pool().request(
                method, url, headers=signed, preload_content=False, redirect=False
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

    def _signed(self, method: str, url: str, headers: dict[str, str]) -> dict[str, str]:
        headers["Accept-Encoding"] = "identity"
        if self.connection.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        if self.connection.anonymous:
            return headers
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - a fifth of a second
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest(method=method, url=url, headers=headers)
        request.context["payload_signing_enabled"] = False
        credentials = self.connection.credentials()
        S3SigV4Auth(credentials, "s3", self.connection.region).add_auth(request)
        return dict(request.headers.items())


def _parsed(data: bytes) -> Element:
    """Parse a page, ten times as fast as a parser that hears of every declaration.

    A listing has none, and without them no entity can grow or lead elsewhere. Zero bytes would be
    UTF-16, in which one could hide.
    """
    if b"<!" in data or b"\0" in data:
        raise ET.ParseError("it has declarations")
    parser = ET.XMLParser(encoding="utf-8")  # noqa: S314 - whatever it declares
    page = ET.fromstring(_NAMESPACE.sub(rb"\1", data, count=1), parser)  # noqa: S314
    if page.tag.startswith("{"):
        for element in page.iter():
            element.tag = element.tag.rpartition("}")[2]
    return page


def _error_code(answer: Any) -> str:  # noqa: ANN401
    data = answer.read(65_536)
    answer.release_conn()
    match = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", data)
    return match[1].decode() if match else ""


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


def text_of(element: Element, name: str, *, encoded: bool) -> str:
    """Give a child's text, unquoted where the listing says that keys are quoted."""
    text = element.findtext(name) or ""
    return unquote_plus(text) if encoded and ("%" in text or "+" in text) else text
