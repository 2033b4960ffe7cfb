"""Object stores of Google and Azure, through obstore."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.storage import network, retry
from bidsplan.storage.addresses import proxy_for
from bidsplan.storage.certificates import named_authorities
from bidsplan.storage.headers import bare_etag
from bidsplan.storage.http_errors import Advice
from bidsplan.storage.objects import Abilities, Children, Object
from bidsplan.storage.obstore_reads import TranslatedErrors, WholeReader, open_stream
from bidsplan.storage.pager import check_names
from bidsplan.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping, Sequence

    from bidsplan.storage.access import Access
    from bidsplan.storage.objects import FetchedObject, FetchRequest, Stream
    from bidsplan.urls import Location


_HOSTS = {
    "gs": ("storage.googleapis.com",),
    "az": (
        *("blob.core.windows.net", "dfs.core.windows.net", "blob.storage.azure.net"),
        *("blob.core.chinacloudapi.cn", "blob.core.usgovcloudapi.net"),
    ),
}
"""Hosts of object storage."""

_METADATA = "169.254.169.254"
"""The cloud's metadata service, which gives credentials to machines and which libraries know."""

_SIGNING = {
    "gs": ("googleapis.com", "google.internal", _METADATA),
    "az": (
        *("login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn"),
        _METADATA,
    ),
}
"""Hosts that issue credentials."""

_HINTS = {
    "gs": "check GOOGLE_APPLICATION_CREDENTIALS and the like",
    "az": "AZURE_STORAGE_ACCOUNT_NAME must name the account",
}

_NAMED = (
    "AZURE_AUTHORITY_HOST",
    "AZURE_STORAGE_AUTHORITY_HOST",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURITE_BLOB_STORAGE_URL",
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
    "GOOGLE_BASE_URL",
)
"""Variables that name further hosts, for emulators and sovereign clouds."""


def open_objects(location: Location, access: Access, *, anonymous: bool) -> Store:
    """Open a root in an object store of Google or Azure.

    Raises UsageError if the URL or the environment's configuration can't be used.
    """
    url = f"{location.protocol}://{location.host}/{location.path}".rstrip("/")
    reader, lister = (
        _open(location, access, anonymous, seconds)
        for seconds in (retry.BODY_SECONDS, retry.PAGE_SECONDS)
    )
    return ObjectStore(url, location.path, reader, lister, anonymous=anonymous)


def _open(location: Location, access: Access, anonymous: bool, seconds: float) -> Any:
    import obstore  # on demand
    from obstore import store as stores  # on demand

    hosts = _HOSTS[location.protocol]
    proxy = proxy_for(f"https://{hosts[0]}")
    if proxy:
        hosts = ()
    if not anonymous:
        named = (urlsplit(os.environ.get(name, "")).hostname for name in _NAMED)
        hosts = (*hosts, *_SIGNING[location.protocol], *(host for host in named if host))
    options = network.obstore_options(
        jobs=access.jobs,
        timeout=access.timeout,
        seconds=seconds,
        hosts=hosts,
        authorities=named_authorities(),
        proxy=proxy,
    )
    kind: Any = stores.GCSStore if location.protocol == "gs" else stores.AzureStore
    try:
        return kind(location.host, skip_signature=anonymous, **options)
    except (obstore.exceptions.BaseError, OSError, ValueError):
        # The error's text may contain parts of the credentials.
        where = printable(f"{location.protocol}://{location.host}")
        raise UsageError(f"{where}: it can't be opened; {_HINTS[location.protocol]}") from None


def _public() -> Advice:
    text = "check whether it is public, or give credentials and say 'anonymous: false' or --signed"
    return Advice(text, HelpCode.DENIED_UNSIGNED)


def _signed() -> Advice:
    return Advice("the credentials in use have no access to it", HelpCode.DENIED)


class ObjectStore(Store):
    """A prefix in a bucket or container.

    Parameters
    ----------
    path : str
        The path, without slashes at its ends.
    lister : obstore store
        The same place for listings, whose requests have a shorter timeout.
    """

    abilities = Abilities(async_reads=True, ranges=True)

    def __init__(self, url: str, path: str, store: Any, lister: Any, *, anonymous: bool) -> None:
        self.url = url
        self._prefix = f"{path}/" if path else ""
        self._store = store
        self._lister = lister
        self._denied = _public if anonymous else _signed
        self._wholes = WholeReader(self._denied)

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        import obstore  # loaded with the store

        found = self._listed(prefix, obstore.list_with_delimiter)
        directories = [f"{name.rstrip('/')}/" for name in found["common_prefixes"]]
        skip = len(self._prefix)
        objects = sorted(self._objects(found["objects"], prefix, directories))
        return Children(tuple(objects), tuple(sorted(name[skip:] for name in directories)))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        import obstore  # loaded with the store

        def collect(store: Any, prefix: str | None) -> list[Any]:
            return [item for page in obstore.list(store, prefix=prefix) for item in page]

        yield from self._objects(self._listed(prefix, collect), prefix)

    def _listed(self, prefix: str, call: Any) -> Any:
        def once() -> Any:
            with TranslatedErrors(f"listing {self.url}/{prefix}", self._denied):
                return call(self._lister, prefix=(self._prefix + prefix) or None)

        return retry.retrying()(once)

    def _objects(
        self, found: Sequence[Mapping[str, Any]], prefix: str, directories: Sequence[str] = ()
    ) -> Iterator[Object]:
        # obstore leaves out the slash at the end of a key, also for a directory's own marker.
        above = self._prefix + prefix
        names = (name for item in found if (name := str(item["path"])) != above[:-1])
        check_names(chain(names, directories), above, f"listing {self.url}/{prefix}")
        for item in found:
            key = str(item["path"])[len(self._prefix) :]
            yield Object(key, int(item["size"]), bare_etag(item["e_tag"]))

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
        what, path = f"{self.url}/{key}", self._prefix + key
        return open_stream(
            self._store,
            path,
            what,
            self._denied,
            etag=etag,
            version=version,
            span=(start, stop),
        )

    def whole(self, wanted: FetchRequest) -> Awaitable[FetchedObject]:
        """See `Store.whole`."""
        what = f"{self.url}/{wanted.key}"
        return self._wholes.read(self._store, self._prefix + wanted.key, what, wanted)
