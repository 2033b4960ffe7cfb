"""S3 stores: lists with plain requests, and reads with obstore."""

from __future__ import annotations

import functools
import re
import time
from abc import abstractmethod
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.errors import RefusedHostError, StorageError, ThrottledError, UnreachableError
from bidsplan.paths import printable
from bidsplan.storage import headers, network, retry
from bidsplan.storage.addresses import check_endpoint, proxy_for
from bidsplan.storage.objects import Abilities, Children, Object
from bidsplan.storage.obstore_reads import CertificateError, NoRangesError, WholeReader, open_stream
from bidsplan.storage.s3.client import S3Client
from bidsplan.storage.s3.listings import Listings
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from bidsplan.storage.http_errors import Advice
    from bidsplan.storage.objects import FetchedObject, FetchRequest, ObjectMetadata, Stream
    from bidsplan.storage.s3.credentials import Connection


# Keys that obstore refuses or renames: empty, '.' and '..' segments, a slash at either end, and
# control characters.
_INEXPRESSIBLE = re.compile(r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]")


class S3Lister(Store):
    """A prefix of an S3 bucket, listed with plain requests.

    Parameters
    ----------
    path : str
        The path, without slashes at its ends.
    """

    abilities = Abilities(versions=True, ordered_listings=True, checksums=True, ranges=True)

    def __init__(self, bucket: str, path: str, connection: Connection) -> None:
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        self.endpoint = connection.endpoint
        self.client = S3Client(connection, bucket)
        self._listings = Listings(self.client)
        self._opened: Any = None
        self._opened_for = connection
        self._opening = Lock()
        self._prefix = f"{path}/" if path else ""

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        objects: list[Object] = []
        directories: list[str] = []
        skip = len(self._prefix)
        for page in self._listings.objects(self._prefix + prefix, delimiter="/"):
            objects += page.objects(skip)
            directories += [name[skip:] for name in page.directories()]
        objects.sort(key=attrgetter("key"))
        return Children(tuple(objects), tuple(sorted(directories)))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        for page in self._listings.objects(self._prefix + prefix):
            yield from page.objects(len(self._prefix))

    def list_after(self, prefix: str, after: str) -> Iterator[Object]:
        """See `Store.list_after`."""
        for page in self._listings.objects(self._prefix + prefix, after=self._prefix + after):
            yield from page.objects(len(self._prefix))

    def versions(self, directory: str) -> Iterator[Object]:
        """See `Store.versions`."""
        for page in self._listings.versions(self._prefix + directory):
            yield from page.latest(len(self._prefix))

    def version_of(self, key: str) -> Object:
        """See `Store.version_of`."""
        found = retry.retrying()(self.client.head, self._prefix + key)
        version = headers.listed_version(found.get("x-amz-version-id"))
        return msgspec.structs.replace(headers.object_of(key, found), version=version)

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """See `Store.etag_is_md5`."""
        return self.about(key, version=version).etag_is_md5

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """See `Store.about`."""
        found = self.client.head(self._prefix + key, version, headers.CHECKSUM_MODE)
        about = headers.about_of(found, etag)
        self.etag_is_not_digest = self.etag_is_not_digest or not about.etag_is_md5
        return about

    @property
    def _reader(self) -> Any:
        # Only one of many threads opens the library.
        with self._opening:
            if self._opened is None:
                connection = self.client.locate()
                check_endpoint(connection.endpoint)
                self._opened = self._open_reader(connection)
                self._opened_for = connection
            return self._opened

    def _forget_reader(self) -> None:
        with self._opening:
            self._opened = None

    @abstractmethod
    def _open_reader(self, connection: Connection) -> Any:
        """Open the library that reads objects, in the bucket's region."""

    def renew(self) -> bool:
        """See `Store.renew`."""
        # The reader's own copy of the credentials is replaced with the next request.
        self._forget_reader()
        return self.client.connection.renew()


class S3Store(S3Lister):
    """A prefix of an S3 bucket, read with obstore."""

    def __init__(self, bucket: str, path: str, connection: Connection) -> None:
        super().__init__(bucket, path, connection)
        self._choose()
        self._plain_until = 0.0
        self._ranged = True
        self._wholes = WholeReader(self._denied)

    def _choose(self) -> None:
        """Choose the library that reads objects safely."""
        connection = self.client.connection
        # Names below Amazon's host, and other ports of it, also belong to Amazon.
        safe = connection.is_aws and connection.endpoint.startswith("https:")
        leads_away = connection.has_token and not safe
        self._plain_only = leads_away or bool(proxy_for(connection.endpoint))
        self.abilities = self.abilities._replace(async_reads=not self._plain_only)

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
        plain = self._plain_only or not self._ranged or not _is_expressible(name)
        if plain or time.monotonic() < self._plain_until:
            return self._plain_stream(name, etag, version, start, stop)
        what = f"s3://{self.client.bucket}/{name}"
        try:
            return open_stream(
                self._reader,
                name,
                what,
                self._denied,
                etag=etag,
                version=version,
                span=(start, stop),
            )
        except CertificateError:
            # OpenSSL accepts some certificates that obstore does not, such as self-signed ones.
            self._plain_only = True
        except RefusedHostError:
            # Perhaps the bucket's region is unknown: plain requests find it.
            self._forget_reader()
        except (ThrottledError, UnreachableError):
            # obstore does not report how long the storage asks to wait, or where it redirects
            # requests. Plain requests do.
            self._plain_until = time.monotonic() + retry.PLAIN_SECONDS
            raise
        except NoRangesError:
            if start:
                raise
            self._ranged = False
        return self._plain_stream(name, etag, version, start, stop)

    def _denied(self) -> Advice:
        return self.client.connection.denied()

    def _plain_stream(
        self, name: str, etag: str | None, version: str | None, start: int, stop: int | None
    ) -> Stream:
        conditions = {"If-Match": headers.quoted_etag(etag)} if etag else {}
        conditions |= headers.range_header(start, stop)
        query = {"versionId": version} if version else {}
        answer = self.client.request("GET", name, query=query, headers=conditions)
        found = answer.headers
        identity = headers.identity_of(found.get("ETag"), found.get("x-amz-version-id"))
        try:
            what = f"s3://{self.client.bucket}/{printable(name)}"
            return network.Body(answer, what, start, identity, stop=stop)
        except StorageError:
            network.drop(answer)
            raise

    def whole(self, wanted: FetchRequest) -> Awaitable[FetchedObject]:
        """See `Store.whole`."""
        name = self._prefix + wanted.key
        what = f"s3://{self.client.bucket}/{name}"
        if self._plain_only or not _is_expressible(name):
            raise UnreachableError(f"{what}: not by this transport")
        return self._wholes.read(self._reader, name, what, wanted)

    def renew(self) -> bool:
        """See `Store.renew`."""
        renewed = super().renew()
        self._choose()
        return renewed

    def _open_reader(self, connection: Connection) -> Any:
        from obstore.store import S3Store as Obstore  # only to read objects

        options: dict[str, Any] = {
            "bucket": self.client.bucket,
            # This option overrides AWS_ENDPOINT_URL_S3 in the environment, and 'endpoint' does not.
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
            seconds=retry.BODY_SECONDS,
            hosts=[connection.host],
            authorities=connection.authorities,
        )
        confined["client_options"]["allow_http"] = connection.endpoint.startswith("http://")
        return Obstore(**options, **confined)


def _obstore_credentials(connection: Connection) -> dict[str, Any]:
    """Return botocore's credentials, to be renewed before they expire."""
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
    """Report whether obstore can request an object's key."""
    # Comparing the characters takes a fifth of a search, and is enough for nearly every name.
    plain = name.isprintable() and "//" not in name and "/." not in name
    return (plain and name[:1] not in {"", ".", "/"} and name[-1] != "/") or (
        _INEXPRESSIBLE.search(name) is None
    )
