"""Plain requests to S3: signed by botocore, sent over a pooled HTTP client.

Listings go this way because it keeps keys exactly as they are stored, ten times as fast as s3fs; so
do reads of keys that obstore can't express, and writes, at half of what botocore's client costs.
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
"""Statuses of answers that may say that a bucket is in another region."""


_REGION = re.compile(rb"<Region>([A-Za-z0-9_-]{1,64})</Region>")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


class S3Client:
    """Requests to one bucket, which is followed to its region once an answer names it."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._located = _located(connection)
        self.connection = self._located.get(bucket, connection)
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
        """Go to the bucket's region; report whether a request is worth another try.

        Parameters
        ----------
        region : str
            As the answer names it.
        sent : Connection
            What the request was sent by; another thread may have moved on since.
        """
        if self.connection is sent:
            self.connection = sent.in_region(region) or sent
        return self.connection is not sent

    def locate(self) -> Connection:
        """Find out the bucket's region, where that decides how requests are sent or signed."""
        is_located = self.bucket in self._located
        if not is_located and (self.connection.is_aws or not self.connection.anonymous):
            # A server that is out of reach is reported by the request that this is for.
            with suppress(UnreachableError):
                self._locate()
        return self.connection

    def _locate(self) -> None:
        what, within = f"s3://{self.bucket}", LOCATE_SECONDS
        answer, sent = self._send("HEAD", "", what, within=within)
        answer.drain_conn()
        region = _region(answer)
        if not region and answer.status in REDIRECTS:
            # Some name it in a body only.
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
        """Sign and send one request; see `network.send`. Also return how it was sent."""
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
    """Return how buckets are reached that answers have come from, by name.

    A run that compiles and then fetches looks for a bucket's region once.
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
    from botocore.auth import S3SigV4Auth  # a fifth of a second
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context["payload_signing_enabled"] = False
    S3SigV4Auth(connection.credentials(), "s3", connection.region).add_auth(request)
    return dict(request.headers.items())


def _region(answer: Any, data: bytes = b"") -> str:
    """Return the region that an answer names for the bucket; empty where it names none."""
    named = answer.headers.get("x-amz-bucket-region", "")
    if not named and (found := _REGION.search(data)):
        named = found[1].decode()
    return named if _WORD.fullmatch(named) else ""


def read_answer(answer: Any, what: str) -> bytes:
    """Read an answer that is not an object, at most 1 MiB of it, and release its connection."""
    return network.read_bounded(answer, what, limit=1 << 20)
