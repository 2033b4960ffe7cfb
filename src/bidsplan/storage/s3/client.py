"""Plain requests to S3: signed by botocore, sent over a pooled HTTP client.

Listings go this way because it gives keys exactly as they are stored, ten times as fast as s3fs; so
do reads of keys that obstore can't express.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bidsplan.errors import StorageError, UnreachableError
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import proxy_for
from bidsplan.storage.http_errors import error_code, status_error
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.listing_xml import NoListingError, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Buffer

    from bidsplan.storage.s3.credentials import Connection


LARGEST_PAGE = 1 << 24
"""Bytes of one page of a listing that are accepted."""

REDIRECTS = frozenset({301, 302, 307, 308, 400})
"""Statuses of answers that may say that a bucket is in another region."""


class S3Client:
    """Requests to one bucket."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self.connection = connection
        self.bucket = bucket
        # By endpoint, since looking for proxies costs as much as signing.
        self._pools: dict[str, Any] = {}

    def pages(self, prefix: str, *, delimiter: str = "", after: str = "") -> Iterator[Page]:
        """List objects, a page at a time.

        Parameters
        ----------
        after : str
            The last key to leave out.

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
        data = network.read_bounded(answer, what, limit=LARGEST_PAGE)
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
    ) -> Any:
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

    def get(self, key: str, headers: Mapping[str, str], version: str | None) -> Any:
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
        refused : callable
            Makes the error that a status stands for, of what `status_error` takes.
        within : float or None
            Seconds to wait for an answer, where it is not as long as for others.

        Returns
        -------
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
        **more: Any,
    ) -> Any:
        answer = self._request(method, key, query, headers, what, **more)
        region = answer.headers.get("x-amz-bucket-region")
        if answer.status in REDIRECTS and region and self._move(region):
            answer.drain_conn()
            answer = self._request(method, key, query, headers, what, **more)
        if answer.status >= 300:
            code = error_code(_text(answer, what))
            raise refused(answer.status, what, code, answer.headers)
        return answer

    def _move(self, region: str) -> bool:
        """Go where the bucket is; tells whether that is somewhere else, of the same service."""
        moved = self.connection.in_region(region)
        if moved is None:
            return False
        self.connection = moved
        return True

    def locate(self) -> Connection:
        """Find out the bucket's region, where that decides where requests go."""
        if self.connection.is_aws:
            answer = self._request("HEAD", "", {}, {}, f"s3://{self.bucket}")
            answer.drain_conn()
            region = answer.headers.get("x-amz-bucket-region")
            if region:
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
    ) -> Any:
        url = f"{self.connection.endpoint}/{quote(self.bucket)}"
        if key:
            url += f"/{quote(key, safe='/~')}"
        if query:
            url += f"?{urlencode(sorted(query.items()), quote_via=quote)}"
        signed = self._signed(method, url, dict(headers), body)
        return network.send(
            self._pool(), method, url, what, headers=signed, body=body, within=within
        )

    def _pool(self) -> Any:
        connection = self.connection
        found = self._pools.get(connection.endpoint)
        if found is None:
            proxy = proxy_for(connection.endpoint)
            found = network.pool(connection.jobs, connection.timeout, proxy)
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
        from botocore.auth import S3SigV4Auth  # a fifth of a second
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=url, headers=headers, data=body)
        request.context["payload_signing_enabled"] = False
        credentials = self.connection.credentials()
        S3SigV4Auth(credentials, "s3", self.connection.region).add_auth(request)
        return dict(request.headers.items())


def _text(answer: Any, what: str) -> bytes:
    """Read a short answer, and give its connection back."""
    return network.read_bounded(answer, what, limit=1 << 20)
