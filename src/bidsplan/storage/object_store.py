"""Google's and Azure's object stores and HTTPS, through obstore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bidsplan.errors import UsageError
from bidsplan.keys import printable
from bidsplan.storage.base import Store
from bidsplan.storage.fsspec_store import FsspecStore
from bidsplan.storage.obstore_reader import WholeReader, open_stream, storage_error
from bidsplan.storage.retrying import retrying
from bidsplan.storage.s3_answers import bare_etag
from bidsplan.storage.values import Children, Object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Mapping

    from bidsplan.storage.access import Access
    from bidsplan.storage.values import Stream, Wanted, Whole
    from bidsplan.urls import Location

__all__ = ["open_objects"]


def open_objects(location: Location, access: Access, *, anonymous: bool) -> Store:
    """Open a root on Google's or Azure's object store, or on a web server.

    Parameters
    ----------
    location : Location
    access : Access
    anonymous : bool

    Returns
    -------
    Store

    Raises
    ------
    UsageError
        Where the URL or the environment's configuration can't be used.
    """
    import obstore  # noqa: PLC0415 - on demand
    from obstore import store as stores  # noqa: PLC0415 - on demand

    client: Any = {"connect_timeout": "5s", "timeout": "24h"}
    client["read_timeout"] = f"{access.timeout:g}s"
    client["pool_max_idle_per_host"] = str(access.jobs)
    common: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
    url = f"{location.protocol}://{location.host}/{location.path}".rstrip("/")
    try:
        if location.protocol == "https":
            return HttpsStore(url, stores.HTTPStore.from_url(url, **common))
        kind: Any = stores.GCSStore if location.protocol == "gs" else stores.AzureStore
        found = kind(location.host, skip_signature=anonymous, **common)
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        reason = printable(str(error).partition("\n")[0])
        azure = "AZURE_STORAGE_ACCOUNT_NAME must name the account"
        hint = azure if location.protocol == "az" else "check the URL"
        raise UsageError(f"{printable(url)}: it can't be opened: {reason}; {hint}") from error
    return ObjectStore(url, location.path, found)


class ObjectStore(Store):
    """A prefix of a container of objects.

    Parameters
    ----------
    url : str
    path : str
        Without slashes at its ends.
    store : obstore store
    """

    asynchronous = True

    def __init__(self, url: str, path: str, store: Any) -> None:  # noqa: ANN401 - obstore's stores
        self.url = url
        self._prefix = f"{path}/" if path else ""
        self._store = store
        self._wholes = WholeReader()

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        import obstore  # noqa: PLC0415 - loaded with the store

        found = self._asked(prefix, obstore.list_with_delimiter)
        directories = [f"{name.rstrip('/')}/" for name in found["common_prefixes"]]
        skip = len(self._prefix)
        objects = sorted(self._objects(found["objects"]))
        return Children(tuple(objects), tuple(sorted(name[skip:] for name in directories)))

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        import obstore  # noqa: PLC0415 - loaded with the store

        def collect(store: Any, prefix: str | None) -> list[Any]:  # noqa: ANN401
            return [item for page in obstore.list(store, prefix=prefix) for item in page]

        yield from self._objects(self._asked(prefix, collect))

    def _asked(self, prefix: str, call: Any) -> Any:  # noqa: ANN401 - obstore's answers
        import obstore  # noqa: PLC0415 - loaded with the store

        what = f"listing {printable(f'{self.url}/{prefix}')}"

        def ask() -> Any:  # noqa: ANN401
            try:
                return call(self._store, prefix=(self._prefix + prefix) or None)
            except (obstore.exceptions.BaseError, OSError, ValueError) as error:
                raise storage_error(error, what) from error

        return retrying()(ask)

    def _objects(self, found: Iterable[Mapping[str, Any]]) -> Iterator[Object]:
        for item in found:
            key = str(item["path"])[len(self._prefix) :]
            yield Object(key, int(item["size"]), bare_etag(item["e_tag"]))

    def stream(
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        what = f"{self.url}/{key}"
        return open_stream(
            self._store, self._prefix + key, what, etag=etag, version=version, start=start
        )

    def whole(self, wanted: Wanted) -> Awaitable[Whole]:
        """See `Store.whole`."""
        what = f"{self.url}/{wanted.key}"
        return self._wholes.read(self._store, self._prefix + wanted.key, what, wanted)


class HttpsStore(FsspecStore):
    """A directory on a web server, listed by the links of its pages and read by obstore.

    Parameters
    ----------
    url : str
    store : obstore store
    """

    asynchronous = True

    def __init__(self, url: str, store: Any) -> None:  # noqa: ANN401 - obstore's stores
        super().__init__("https", url, url)
        self._store = store
        self._wholes = WholeReader()

    def stream(
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        what = f"{self.url}/{key}"
        return open_stream(self._store, key, what, etag=etag, version=version, start=start)

    def whole(self, wanted: Wanted) -> Awaitable[Whole]:
        """See `Store.whole`."""
        what = f"{self.url}/{wanted.key}"
        return self._wholes.read(self._store, wanted.key, what, wanted)
