"""S3 through s3fs, with the guarantees that its own transfers do not give."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bidsplan.errors import (
    DeniedError,
    RefusedHostError,
    SourceChangedError,
    StorageError,
    UnreachableError,
)
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import check_endpoint
from bidsplan.storage.fsspec_store import fsspec_error
from bidsplan.storage.headers import (
    about_of,
    bare_etag,
    compared_etag,
    identity_of,
    listed_version,
    quoted_etag,
    whole_size,
)
from bidsplan.storage.http_errors import status_error
from bidsplan.storage.network import CHUNK, CONNECT_SECONDS
from bidsplan.storage.objects import Children, Object
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.client import REDIRECTS, S3Client
from bidsplan.storage.s3.listing_xml import Bound, listed_size
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bidsplan.storage.objects import ObjectMetadata, Stream
    from bidsplan.storage.s3.credentials import Connection


class S3fsStore(Store):
    """A prefix of an S3 bucket, listed and read on s3fs's own client.

    Objects are read by ranged, conditional requests whose bytes are counted; s3fs's ``get`` and
    ``cat`` may splice two versions of an object, or stop short, without a word.

    Parameters
    ----------
    path : str
        Without slashes at its ends.
    """

    versioned = True
    checksummed = True

    def __init__(self, bucket: str, path: str, connection: Connection) -> None:
        connection = S3Client(connection, bucket).locate()
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        self.endpoint = connection.endpoint
        self._bucket = bucket
        self._prefix = f"{path}/" if path else ""
        self._connection = connection
        self._has_moved = False
        self._fs = s3_filesystem(connection)

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        objects: list[Object] = []
        directories: list[str] = []
        for page in self._pages(prefix, Delimiter="/"):
            objects += self._objects(page)
            skip = len(self._prefix)
            directories += [
                found.get("Prefix", "")[skip:] for found in page.get("CommonPrefixes", ())
            ]
        return Children(tuple(sorted(objects)), tuple(sorted(directories)))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        for page in self._pages(prefix):
            yield from self._objects(page)

    def _pages(self, prefix: str, **more: str) -> Iterator[Mapping[str, Any]]:
        what = f"listing s3://{self._bucket}/{printable(self._prefix + prefix)}"
        asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **more}
        bound = Bound(what)
        while True:
            page = retrying()(self._call, what, "list_objects_v2", **asked)
            bound.add(_items(page), page.get("NextContinuationToken", ""))
            yield page
            if not page.get("IsTruncated") or not page.get("NextContinuationToken"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _objects(self, page: Mapping[str, Any], kind: str = "Contents") -> Iterator[Object]:
        skip = len(self._prefix)
        for item in page.get(kind, ()):
            key = item.get("Key", "")
            if len(key) > skip and item.get("IsLatest", True):
                version = listed_version(item.get("VersionId")) if kind == "Versions" else None
                size = listed_size(str(item.get("Size", 0)), f"listing {self.url}")
                yield Object(key[skip:], size, bare_etag(item.get("ETag")), version)

    def versions(self, directory: str) -> Iterator[Object]:
        """See `Store.versions`."""
        prefix = self._prefix + directory
        what = f"listing versions of s3://{self._bucket}/{printable(prefix)}"
        asked = {"Bucket": self._bucket, "Prefix": prefix, "Delimiter": "/"}
        marker: dict[str, str] = {}
        bound = Bound(what)
        while True:
            page = retrying()(self._call, what, "list_object_versions", **asked, **marker)
            bound.add(_items(page), "")
            yield from self._objects(page, "Versions")
            names = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
            last = marker
            marker = {name: page[found] for name, found in names.items() if page.get(found)}
            # As in `S3Client.version_pages`.
            if not page.get("IsTruncated") or "KeyMarker" not in marker or marker == last:
                return

    def version_of(self, key: str) -> Object:
        """See `Store.version_of`."""
        found = retrying()(self._head, key)
        size, etag = int(found.get("ContentLength", 0)), bare_etag(found.get("ETag"))
        return Object(key, size, etag, listed_version(found.get("VersionId")))

    def _head(self, key: str, **more: str) -> Mapping[str, Any]:
        name = self._prefix + key
        what = f"s3://{self._bucket}/{printable(name)}"
        asked = {"Bucket": self._bucket, "Key": name, **more}
        found: Mapping[str, Any] = self._call(what, "head_object", **asked)
        return found

    def stream(
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        name = self._prefix + key
        what = f"s3://{self._bucket}/{printable(name)}"
        asked: dict[str, Any] = {"Bucket": self._bucket, "Key": name}
        if etag is not None:
            asked["IfMatch"] = quoted_etag(etag)
        if version is not None:
            asked["VersionId"] = version
        if start:
            asked["Range"] = f"bytes={start}-"
        return _Body(self._fs, self._call(what, "get_object", **asked), what, start)

    def renew(self) -> bool:
        """See `Store.renew`."""
        renewed = self._connection.renew()
        if renewed:
            self._fs = s3_filesystem(self._connection)
        return renewed

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """See `Store.etag_is_md5`."""
        return self.about(key, version=version).etag_is_md5

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """See `Store.about`."""
        more = {"VersionId": version} if version else {}
        found = self._head(key, ChecksumMode="ENABLED", **more)
        # As they came, in lower case; what botocore makes of them has other names.
        about = about_of(found["ResponseMetadata"]["HTTPHeaders"], etag)
        self.etag_is_not_digest = self.etag_is_not_digest or not about.etag_is_md5
        return about

    def _call(self, what: str, method: str, **asked: Any) -> Any:
        from fsspec.asyn import sync  # loaded with s3fs

        if self._connection.requester_pays:
            asked["RequestPayer"] = "requester"

        async def call() -> Any:
            client = await self._fs.set_session()
            return await getattr(client, method)(**asked)

        try:
            return sync(self._fs.loop, call, timeout=network.LONGEST_PAGE)
        except Exception as error:
            if self._moved(error):
                return self._call(what, method, **asked)
            raise s3_error(error, what, self._connection.endpoint) from error

    def _moved(self, error: Exception) -> bool:
        """Go where the bucket is, if an error says where, and that is of the same service."""
        status, _, headers = _answer(error)
        region = headers.get("x-amz-bucket-region") if status in REDIRECTS else None
        moved = self._connection.in_region(region) if region and not self._has_moved else None
        if moved is None:
            return False
        self._has_moved, self._connection = True, moved
        self._fs = s3_filesystem(moved)
        return True


def _answer(error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """Give the status, S3's word and the headers of the answer that an error is about."""
    from bidsplan.storage.s3.s3fs_session import RedirectedError  # loaded with s3fs

    redirected = getattr(error, "kwargs", {}).get("error")
    if isinstance(redirected, RedirectedError):
        return redirected.status, "", redirected.headers
    found = error if hasattr(error, "response") else error.__cause__
    answer = getattr(found, "response", None)
    if not isinstance(answer, dict):
        return 0, "", {}
    meta = answer.get("ResponseMetadata", {})
    code = str(answer.get("Error", {}).get("Code", ""))
    return int(meta.get("HTTPStatusCode") or 0), code, meta.get("HTTPHeaders", {})


def s3_error(error: Exception, what: str, endpoint: str) -> StorageError:
    """Make our error of one of botocore's, which s3fs may have wrapped.

    Parameters
    ----------
    what : str
        What was asked for, as messages name it.
    endpoint : str
        Where requests go.
    """
    from botocore import exceptions  # loaded with s3fs

    status, code, found = _answer(error)
    if status:
        headers = {key.title(): text for key, text in found.items()}
        return status_error(status, what, code, headers)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return DeniedError(f"{what}: there are no AWS credentials to sign requests with")
    refused = getattr(error, "kwargs", {}).get("error")
    if isinstance(refused, RefusedHostError):
        return RefusedHostError(f"{what}: {refused}")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return UnreachableError(f"{what}: {endpoint} can't be reached; check the endpoint")
    if type(error).__name__ == "FileExpired":
        return SourceChangedError(f"{what}: another object has taken its place since it was opened")
    return fsspec_error(error, what)


def _items(page: Mapping[str, Any]) -> int:
    """Count what a page of a listing holds."""
    kinds = ("Contents", "CommonPrefixes", "Versions", "DeleteMarkers")
    return sum(len(page.get(kind, ())) for kind in kinds)


def s3_filesystem(connection: Connection, *, shared: bool = False) -> Any:
    """Make s3fs's file system, told all that was resolved.

    Parameters
    ----------
    shared : bool
        Whether to give the one that was made for the same connection and credentials before.

    Raises
    ------
    DeniedError
        Where requests are to be signed, and there are no credentials.
    """
    import s3fs  # half a second

    from bidsplan.storage.s3.s3fs_session import session_class

    check_endpoint(connection.endpoint)
    secrets: dict[str, Any] = {"anon": True}
    if not connection.anonymous:
        found = connection.credentials()
        secrets = {"key": found.access_key, "secret": found.secret_key, "token": found.token}
    return s3fs.S3FileSystem(
        **secrets,
        endpoint_url=connection.endpoint,
        client_kwargs={"region_name": connection.region},
        config_kwargs={
            "max_pool_connections": connection.jobs,
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": connection.timeout,
            "retries": {"max_attempts": 0},
            "s3": {"addressing_style": "path"},
            "http_session_cls": session_class(connection.endpoint),
        },
        use_listings_cache=False,
        skip_instance_cache=not shared,
    )


class _Body:
    """The body of a ``get_object``, counted."""

    def __init__(self, fs: Any, answer: Any, what: str, start: int) -> None:
        self._fs = fs
        self._body = answer["Body"]
        self._what = what
        self._left: int | None = answer.get("ContentLength")
        status, said = answer["ResponseMetadata"]["HTTPStatusCode"], answer.get("ContentRange")
        try:
            self.size = whole_size(status, said, self._left, start, what)
        except StorageError:
            self.close()
            raise
        self.etag = compared_etag(answer.get("ETag"))
        self.identity = identity_of(answer.get("ETag"), answer.get("VersionId"))

    def __iter__(self) -> Iterator[bytes]:
        from fsspec.asyn import sync  # loaded with s3fs

        end = time.monotonic() + network.LONGEST_REQUEST
        while True:
            if time.monotonic() > end:
                raise UnreachableError(f"{self._what}: its bytes come too slowly")
            try:
                chunk = sync(self._fs.loop, self._body.read, CHUNK)
            except Exception as error:
                raise UnreachableError(f"{self._what}: the connection broke off") from error
            if not chunk:
                break
            if self._left is not None:
                self._left -= len(chunk)
            yield chunk
        if self._left:
            raise UnreachableError(f"{self._what}: the answer ended {self._left} bytes early")

    def close(self) -> None:
        # aiohttp closes a response on its own loop.
        self._fs.loop.call_soon_threadsafe(self._body.close)
