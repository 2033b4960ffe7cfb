"""S3: listings by plain requests, objects by obstore."""

from __future__ import annotations

import functools
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.errors import StorageError, ThrottledError, UnreachableError
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.addresses import check_endpoint, proxy_for
from bidsplan.storage.headers import (
    CHECKSUM_MODE,
    about_of,
    identity_of,
    listed_version,
    object_of,
    quoted_etag,
)
from bidsplan.storage.objects import Children, Object
from bidsplan.storage.obstore_reads import NoRangesError, WholeReader, open_stream
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.client import S3Client
from bidsplan.storage.s3.listing_xml import bounded
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from bidsplan.storage.objects import FetchedObject, FetchRequest, ObjectMetadata, Stream
    from bidsplan.storage.s3.credentials import Connection
    from bidsplan.storage.s3.listing_xml import Page


# What obstore refuses or renames: empty, '.' and '..' segments, a slash at either end, and control
# characters.
_INEXPRESSIBLE = re.compile(r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]")

_WARY = 30.0
"""Seconds after a refusal during which objects are read by plain requests."""


class S3Store(Store):
    """A prefix of an S3 bucket.

    Parameters
    ----------
    path : str
        Without slashes at its ends.
    """

    versioned = True
    ordered = True
    checksummed = True

    def __init__(self, bucket: str, path: str, connection: Connection) -> None:
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        self.endpoint = connection.endpoint
        self._prefix = f"{path}/" if path else ""
        self._client = S3Client(connection, bucket)
        self._choose()
        self._wary_until = 0.0
        self._ranged = True
        self._wholes = WholeReader()

    def _choose(self) -> None:
        """Choose who reads objects: obstore would pass a session token on to other hosts."""
        connection = self._client.connection
        # Names below Amazon's host, and its other ports, are Amazon's as well.
        safe = connection.is_aws and connection.endpoint.startswith("https:")
        leads_away = connection.has_token and not safe
        self._plain_only = leads_away or bool(proxy_for(connection.endpoint))
        self.asynchronous = not self._plain_only

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        objects: list[Object] = []
        directories: list[str] = []
        pages = self._client.pages(self._prefix + prefix, delimiter="/")
        for page in self._bounded(pages, prefix):
            objects += page.objects(len(self._prefix))
            directories += [name[len(self._prefix) :] for name in page.directories()]
        return Children(tuple(sorted(objects)), tuple(sorted(directories)))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        for page in self._bounded(self._client.pages(self._prefix + prefix), prefix):
            yield from page.objects(len(self._prefix))

    def list_after(self, prefix: str, after: str) -> Iterator[Object]:
        """See `Store.list_after`."""
        pages = self._client.pages(self._prefix + prefix, after=self._prefix + after)
        for page in self._bounded(pages, prefix):
            yield from page.objects(len(self._prefix))

    def versions(self, directory: str) -> Iterator[Object]:
        """See `Store.versions`."""
        pages = self._client.version_pages(self._prefix + directory)
        for page in self._bounded(pages, directory):
            yield from page.latest(len(self._prefix))

    def _bounded(self, pages: Iterator[Page], prefix: str) -> Iterator[Page]:
        return bounded(pages, printable(f"listing {self.url}/{prefix}"))

    def version_of(self, key: str) -> Object:
        """See `Store.version_of`."""
        headers = retrying()(self._client.head, self._prefix + key)
        version = listed_version(headers.get("x-amz-version-id"))
        return msgspec.structs.replace(object_of(key, headers), version=version)

    def stream(
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        name = self._prefix + key
        plain = self._plain_only or not self._ranged or not _is_expressible(name)
        if plain or time.monotonic() < self._wary_until:
            return self._plain_stream(name, etag, version, start)
        what = f"s3://{self._client.bucket}/{name}"
        try:
            return open_stream(self._obstore, name, what, etag=etag, version=version, start=start)
        except (ThrottledError, UnreachableError):
            # obstore does not tell how long the storage asks to wait, or where it sends requests;
            # plain answers do.
            self._wary_until = time.monotonic() + _WARY
            raise
        except NoRangesError:
            if start:
                raise
            self._ranged = False
        return self._plain_stream(name, etag, version, start)

    def whole(self, wanted: FetchRequest) -> Awaitable[FetchedObject]:
        """See `Store.whole`."""
        name = self._prefix + wanted.key
        what = f"s3://{self._client.bucket}/{name}"
        if self._plain_only or not _is_expressible(name):
            raise UnreachableError(f"{what}: not by this transport")
        return self._wholes.read(self._obstore, name, what, wanted)

    def renew(self) -> bool:
        """See `Store.renew`."""
        # Its own copy of them is asked for anew with the next request.
        self.__dict__.pop("_obstore", None)
        renewed = self._client.connection.renew()
        self._choose()
        return renewed

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """See `Store.etag_is_md5`."""
        return self.about(key, version=version).etag_is_md5

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """See `Store.about`."""
        # obstore gives none of these headers.
        headers = self._client.head(self._prefix + key, version, CHECKSUM_MODE)
        about = about_of(headers, etag)
        self.etag_is_not_digest = self.etag_is_not_digest or not about.etag_is_md5
        return about

    def _plain_stream(self, name: str, etag: str | None, version: str | None, start: int) -> Stream:
        headers = {"If-Match": quoted_etag(etag)} if etag else {}
        if start:
            headers["Range"] = f"bytes={start}-"
        answer = self._client.get(name, headers, version)
        found = identity_of(answer.headers.get("ETag"), answer.headers.get("x-amz-version-id"))
        try:
            what = f"s3://{self._client.bucket}/{printable(name)}"
            return network.Body(answer, what, start, found)
        except StorageError:
            network.drop(answer)
            raise

    @functools.cached_property
    def _obstore(self) -> Any:
        from obstore.store import S3Store as Obstore  # only to read objects

        connection = self._client.locate()
        check_endpoint(connection.endpoint)
        options: dict[str, Any] = {
            "bucket": self._client.bucket,
            # This name beats AWS_ENDPOINT_URL_S3 in the environment, which 'endpoint' does not.
            "aws_endpoint_url_s3": connection.endpoint,
            "region": connection.region,
            "skip_signature": connection.anonymous,
            "virtual_hosted_style_request": False,
            "request_payer": connection.requester_pays,
        }
        if not connection.anonymous:
            options["credential_provider"] = functools.partial(_obstore_credentials, connection)
        confined = network.obstore_options(
            jobs=connection.jobs,
            timeout=connection.timeout,
            seconds=network.LONGEST_REQUEST,
            hosts=[connection.host],
        )
        confined["client_options"]["allow_http"] = connection.endpoint.startswith("http://")
        return Obstore(**options, **confined)


def _obstore_credentials(connection: Connection) -> dict[str, Any]:
    """Hand botocore's credentials over, to be asked for again before they could expire."""
    from datetime import UTC, datetime, timedelta  # only for signed requests

    found = connection.credentials()
    expires = datetime.now(UTC) + timedelta(minutes=10) if found.token else None
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": expires,
    }


def _is_expressible(name: str) -> bool:
    """Tell whether obstore can ask for an object of this name."""
    # A look at the characters is a fifth of a search, and enough for nearly every name.
    plain = name.isprintable() and "//" not in name and "/." not in name
    return (plain and name[:1] not in {"", ".", "/"} and name[-1] != "/") or (
        _INEXPRESSIBLE.search(name) is None
    )
