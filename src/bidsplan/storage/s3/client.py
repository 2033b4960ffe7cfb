"""Plain requests to S3: signed by botocore, sent over a pooled HTTP client.

Listings go this way because it keeps keys exactly as they are stored, ten times as fast as s3fs; so
do reads of keys that obstore can't express, and writes, at half of what botocore's client costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import proxy_for
from bidsplan.storage.http_errors import error_code, status_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Buffer

    from bidsplan.storage.s3.credentials import Connection


REDIRECTS = frozenset({301, 302, 307, 308, 400})
"""Statuses of answers that may say that a bucket is in another region."""


class S3Client:
    """Requests to one bucket, which is followed to its region once an answer names it."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self.connection = connection
        self.bucket = bucket
        # By endpoint, since looking for proxies costs as much as signing.
        self._pools: dict[str, Any] = {}

    def head(
        self, key: str, version: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return the headers of an object's answer, to a request with some more."""
        query = {"versionId": version} if version else {}
        answer = self.request("HEAD", key, query=query, headers=headers)
        answer.release_conn()
        return answer.headers

    def request(
        self,
        method: str,
        key: str = "",
        *,
        what: str = "",
        refused: Callable[..., Exception] = status_error,
        **more: Any,
    ) -> Any:
        """Send a request, and return the answer before its body is read.

        Raises UnreachableError, and what `refused` makes of a status, as `status_error` does.

        Parameters
        ----------
        what : str
            What is requested, as messages name it, where it is not the object.
        **more
            Of `_send`.
        """
        what = what or f"s3://{self.bucket}/{printable(key)}"
        answer = self._send(method, key, what, **more)
        region = answer.headers.get("x-amz-bucket-region")
        if answer.status in REDIRECTS and region and self.move(region):
            answer.drain_conn()
            answer = self._send(method, key, what, **more)
        if answer.status >= 300:
            code = error_code(read_answer(answer, what))
            raise refused(answer.status, what, code, answer.headers)
        return answer

    def move(self, region: str) -> bool:
        """Go to the bucket's region; report whether that is another one, of the same service."""
        moved = self.connection.in_region(region)
        if moved is None:
            return False
        self.connection = moved
        return True

    def locate(self) -> Connection:
        """Find out the bucket's region, where that decides where requests go."""
        if self.connection.is_aws:
            answer = self._send("HEAD", "", f"s3://{self.bucket}")
            answer.drain_conn()
            region = answer.headers.get("x-amz-bucket-region")
            if region:
                self.move(region)
        return self.connection

    def _send(
        self,
        method: str,
        key: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Buffer | None = None,
        within: float | None = None,
    ) -> Any:
        """Sign and send one request; see `network.send`."""
        url = f"{self.connection.endpoint}/{quote(self.bucket)}"
        if key:
            url += f"/{quote(key, safe='/~')}"
        if query:
            url += f"?{urlencode(sorted(query.items()), quote_via=quote)}"
        signed = self._signed(method, url, dict(headers or {}), body)
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


def read_answer(answer: Any, what: str) -> bytes:
    """Read an answer that is not an object, at most 1 MiB of it, and release its connection."""
    return network.read_bounded(answer, what, limit=1 << 20)
