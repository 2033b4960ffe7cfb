"""Sends S3 requests that botocore has signed.

Listings use these requests, because they keep keys exactly as they are stored, and are ten times as
fast as s3fs. Reads of keys that obstore can't express use them too, and so do writes, which cost
half as much as with botocore's client.
"""

from __future__ import annotations

import functools
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bidsplan.errors import BidsplanError, UnreachableError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import proxy_for
from bidsplan.storage.http_errors import error_code, status_error
from bidsplan.storage.retry import LOCATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Buffer

    from bidsplan.storage.s3.credentials import Connection


REDIRECTS = frozenset({301, 302, 307, 308, 400})
"""Statuses of answers which may mean that a bucket is in another region."""


_REGION = re.compile(rb"<Region>([A-Za-z0-9_-]{1,64})</Region>")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


class S3Client:
    """Sends requests to one bucket, in the region that answers name."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._located = _located(connection)
        self.connection = self._located.get(bucket, connection)
        self.bucket = bucket
        # Clients are kept by endpoint, since looking for proxies costs as much as signing.
        self._pools: dict[str, Any] = {}

    def head(
        self, key: str, version: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return an object's headers, with additional request headers."""
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
        """Send a request, and return the answer without reading its body.

        Raises UnreachableError, and the errors that `refused` makes from a status, as in
        `status_error`.

        Parameters
        ----------
        what : str
            The name of the request for messages, if it is not the object's.
        **more
            Arguments of `_send`.
        """
        what = what or f"s3://{self.bucket}/{printable(key)}"
        for again in (True, False):
            answer, sent = self._send(method, key, what, **more)
            if answer.status < 300:
                self._located[self.bucket] = sent
                return answer
            data = read_answer(answer, what)
            region = _region(answer, data) if answer.status in REDIRECTS else ""
            if not (again and region and self.follow(region, sent)):
                break
        code = error_code(data)
        error = refused(answer.status, what, code, answer.headers, denied=sent.denied)
        if isinstance(error, BidsplanError) and error.help_code is HelpCode.BUCKET_MISSING:
            text = f"{error} (now {sent.endpoint_in_use})"
            error = type(error)(text, help_code=HelpCode.BUCKET_MISSING)
        if region not in {"", sent.region} and isinstance(error, BidsplanError):
            text = f"{error}; the bucket is in the region {region!r}"
            error = type(error)(text, help_code=HelpCode.REGION)
        raise error

    def follow(self, region: str, sent: Connection) -> bool:
        """Change to the bucket's region; report whether to send again.

        Parameters
        ----------
        region : str
            The region in the answer.
        sent : Connection
            The connection that sent the request. Another thread may have changed it since.
        """
        if self.connection is sent:
            self.connection = sent.in_region(region) or sent
        return self.connection is not sent

    def locate(self) -> Connection:
        """Find the bucket's region, if requests depend on it."""
        is_located = self.bucket in self._located
        if not is_located and (self.connection.is_aws or not self.connection.anonymous):
            # If the server can't be reached, the next request reports it.
            with suppress(UnreachableError):
                self._locate()
        return self.connection

    def _locate(self) -> None:
        what, within = f"s3://{self.bucket}", LOCATE_SECONDS
        answer, sent = self._send("HEAD", "", what, within=within)
        answer.drain_conn()
        region = _region(answer)
        if not region and answer.status in REDIRECTS:
            # Some servers name the region only in the body.
            query = {"list-type": "2", "max-keys": "0"}
            answer, sent = self._send("GET", "", what, query=query, within=within)
            region = _region(answer, read_answer(answer, what))
        if region and (sent.is_aws or answer.status in REDIRECTS):
            self.follow(region, sent)
        if answer.status < 500:
            self._located[self.bucket] = self.connection

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
    ) -> tuple[Any, Connection]:
        """Sign and send one request, and return how it was sent."""
        connection = self.connection
        url = f"{connection.endpoint}/{quote(self.bucket)}"
        if key:
            url += f"/{quote(key, safe='/~')}"
        if query:
            url += f"?{urlencode(sorted(query.items()), quote_via=quote)}"
        signed = _signed(connection, method, url, dict(headers or {}), body)
        pool = self._pool(connection)
        answer = network.send(pool, method, url, what, headers=signed, body=body, within=within)
        return answer, connection

    def _pool(self, connection: Connection) -> Any:
        found = self._pools.get(connection.endpoint)
        if found is None:
            proxy = proxy_for(connection.endpoint)
            found = network.pool(connection.jobs, connection.timeout, proxy, connection.authorities)
            self._pools[connection.endpoint] = found
        return found


@functools.lru_cache(maxsize=64)
def _located(_: Connection) -> dict[str, Connection]:
    """Return the connections of buckets whose region is known, by name.

    A run that compiles and then fetches thus looks for a bucket's region only once.
    """
    return {}


def _signed(
    connection: Connection, method: str, url: str, headers: dict[str, str], body: Buffer | None
) -> dict[str, str]:
    headers["Accept-Encoding"] = "identity"
    if connection.requester_pays:
        headers["x-amz-request-payer"] = "requester"
    if connection.anonymous:
        return headers
    from botocore.auth import S3SigV4Auth  # imports for a fifth of a second
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context["payload_signing_enabled"] = False
    S3SigV4Auth(connection.credentials(), "s3", connection.region).add_auth(request)
    return dict(request.headers.items())


def _region(answer: Any, data: bytes = b"") -> str:
    """Return the bucket's region in an answer, or an empty text."""
    named = answer.headers.get("x-amz-bucket-region", "")
    if not named and (found := _REGION.search(data)):
        named = found[1].decode()
    return named if _WORD.fullmatch(named) else ""


def read_answer(answer: Any, what: str) -> bytes:
    """Read at most 1 MiB of an answer, and release its connection."""
    return network.read_bounded(answer, what, limit=1 << 20)
