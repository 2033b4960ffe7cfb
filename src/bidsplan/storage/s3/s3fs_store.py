"""S3 through s3fs, with additional checks of its transfers."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import s3fs
from aiobotocore.httpsession import AIOHTTPSession
from fsspec.asyn import sync
from urllib3 import HTTPHeaderDict
from yarl import URL

from bidsplan.errors import RefusedHostError, StorageError, UnreachableError
from bidsplan.paths import printable
from bidsplan.storage import headers, retry
from bidsplan.storage.addresses import check_endpoint, proxy_for
from bidsplan.storage.certificates import new_context
from bidsplan.storage.http_errors import RedirectedError, client_answer, client_error
from bidsplan.storage.network import CHUNK
from bidsplan.storage.s3.client import REDIRECTS
from bidsplan.storage.s3.store import S3Lister

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from ssl import SSLContext

    from bidsplan.storage.certificates import Authorities
    from bidsplan.storage.objects import Stream
    from bidsplan.storage.s3.credentials import Connection


class S3fsStore(S3Lister):
    """A prefix of an S3 bucket, read with s3fs's client.

    Objects are read by conditional requests, and the bytes are counted. s3fs's ``get`` and ``cat``
    may mix two versions of an object, or stop too early, without an error.
    """

    def stream(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Stream:
        """See `Store.stream`."""
        name = self._prefix + key
        what = f"s3://{self.client.bucket}/{printable(name)}"
        request: dict[str, Any] = {"Bucket": self.client.bucket, "Key": name}
        if etag is not None:
            request["IfMatch"] = headers.quoted_etag(etag)
        if version is not None:
            request["VersionId"] = version
        request |= headers.range_header(start, stop)
        if self.client.connection.requester_pays:
            request["RequestPayer"] = "requester"
        fs, answer = self._get(what, request, may_move=True)
        body, meta = answer["Body"], answer["ResponseMetadata"]
        # aiohttp closes a response on its own loop.
        close = functools.partial(fs.loop.call_soon_threadsafe, body.close)
        found = HTTPHeaderDict(meta["HTTPHeaders"])
        status, chunks = meta["HTTPStatusCode"], _chunks(fs, body)
        return S3Stream(status, found, (start, stop), what, chunks, close)

    def _get(self, what: str, request: dict[str, Any], *, may_move: bool) -> Any:
        """Request an object, and follow the bucket once to its region."""
        fs, sent = self._reader, self._opened_for

        async def get() -> Any:
            client = await fs.set_session()
            return await client.get_object(**request)

        try:
            return fs, sync(fs.loop, get, timeout=retry.PAGE_SECONDS)
        except Exception as error:
            status, _, found = client_answer(error)
            region = found.get("x-amz-bucket-region", "")
            if not (may_move and status in REDIRECTS and self.client.follow(region, sent)):
                raise client_error(error, what, sent.endpoint, sent.denied) from error
        self._forget_reader()
        return self._get(what, request, may_move=False)

    def _open_reader(self, connection: Connection) -> Any:
        return s3_filesystem(connection)


def _chunks(fs: Any, body: Any) -> Iterator[bytes]:
    # s3fs closes its session when it is garbage-collected, which must not be before the last byte.
    end = time.monotonic() + retry.BODY_SECONDS
    while True:
        try:
            chunk = sync(fs.loop, body.read, CHUNK)
        except Exception as error:
            raise UnreachableError("the connection broke off") from error
        if not chunk:
            return
        yield chunk
        if time.monotonic() > end:
            raise UnreachableError("it arrives too slowly")


def s3_filesystem(connection: Connection, *, shared: bool = False) -> Any:
    """Create s3fs's file system for a connection.

    Raises DeniedError if requests are to be signed, and there are no credentials.

    Parameters
    ----------
    shared : bool
        Whether to reuse the file system of the same connection and credentials.
    """
    check_endpoint(connection.endpoint)
    proxy = proxy_for(connection.endpoint)
    secrets: dict[str, Any] = {"anon": True}
    if not connection.anonymous:
        found = connection.credentials()
        secrets = {"key": found.access_key, "secret": found.secret_key, "token": found.token}
    return s3fs.S3FileSystem(
        **secrets,
        endpoint_url=connection.endpoint,
        # Certificates and the proxy are chosen here, as for all other requests.
        client_kwargs={"region_name": connection.region, "verify": True},
        config_kwargs={
            "max_pool_connections": connection.jobs,
            "connect_timeout": retry.CONNECT_SECONDS,
            "read_timeout": connection.timeout,
            "retries": {"max_attempts": 0},
            "proxies": {urlsplit(connection.endpoint).scheme: proxy} if proxy else {},
            "s3": {"addressing_style": "path"},
            "http_session_cls": _session_class(connection.endpoint, connection.authorities),
        },
        use_listings_cache=False,
        skip_instance_cache=not shared,
    )


@functools.cache
def _session_class(endpoint: str, authorities: Authorities) -> type[Any]:
    """Return a session class that reaches only one endpoint."""
    origin = URL(endpoint).origin()

    class _ConfinedSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore is untyped
        async def send(self, request: Any) -> Any:
            answer = await super().send(request)
            # The headers have each name once. If there are two tags, neither may be used.
            tags = answer.raw.headers.getall("ETag", ())
            if len(tags) > 1:
                answer.headers["ETag"] = ", ".join(tags)
            return answer

        def _get_ssl_context(self) -> SSLContext:
            return new_context(authorities)

        async def _get_session(self, proxy_url: str | None) -> _Session:
            return _Session(await super()._get_session(proxy_url), origin)

    return _ConfinedSession


class _Session:
    """Passes requests on to aiohttp, and refuses redirects.

    aiohttp would follow a redirect, and send the session token there. botocore would ask for the
    bucket's region, be redirected again, and so on. botocore also makes host names from some bucket
    names, even if an endpoint is given.
    """

    def __init__(self, session: Any, origin: URL) -> None:
        self._session = session
        self._origin = origin

    async def request(self, method: str, url: URL, **options: Any) -> Any:
        if url.origin() != self._origin:
            raise RefusedHostError("the bucket's name leads to another host than the endpoint")
        answer = await self._session.request(method, url=url, **options, allow_redirects=False)
        if 300 <= answer.status < 400 and answer.status != 304:
            given = {name.lower(): text for name, text in answer.headers.items()}
            answer.close()
            raise RedirectedError(answer.status, given)
        return answer


class S3Stream:
    """An answer's body, whose length is checked.

    Parameters
    ----------
    found : mapping of str to str
        The answer's headers, by names in any case.
    span : tuple of int
        The first byte that was requested, and the byte to stop before, if any.
    what : str
        The object's name, for messages.
    """

    def __init__(
        self,
        status: int,
        found: Mapping[str, str],
        span: tuple[int, int | None],
        what: str,
        chunks: Iterator[bytes],
        close: Callable[[], None],
    ) -> None:
        self._left = headers.content_length(found)
        self._what = what
        self._chunks = chunks
        self.close = close
        try:
            content_range = found.get("Content-Range")
            self.size = headers.whole_size(
                status, content_range, self._left, span[0], what, span[1]
            )
        except StorageError:
            close()
            raise
        self.etag = headers.compared_etag(found.get("ETag"))
        self.identity = headers.identity_of(found.get("ETag"), found.get("x-amz-version-id"))

    def __iter__(self) -> Iterator[bytes]:
        left = self._left
        try:
            for chunk in self._chunks:
                left = None if left is None else left - len(chunk)
                yield chunk
        except UnreachableError as error:
            raise UnreachableError(f"{self._what}: {error}") from error
        if left:
            raise UnreachableError(f"{self._what}: the answer ended {left} bytes early")
