"""The interface that every transport implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Self, TypeVar

from bidsplan.errors import (
    CredentialsError,
    ListingError,
    SourceChangedError,
    StorageError,
    UnreachableError,
)
from bidsplan.paths import printable
from bidsplan.storage.objects import Abilities, ObjectMetadata
from bidsplan.storage.retry import Deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from bidsplan.storage.file_state import FileVersion
    from bidsplan.storage.objects import Children, FetchedObject, FetchRequest, Object, Stream


T = TypeVar("T")

_LONGEST_KEY = 4096
"""Characters of a key that a plan can hold."""

_SHOWN = 200

# One lock for all stores, because they share the sessions that provide credentials.
_RENEWING = Lock()


class Store(ABC):
    """A dataset's root in storage, which can be listed and read.

    Attributes
    ----------
    url : str
        The root's URL, without credentials.
    endpoint : str or None
        The URL that requests are sent to, for object stores.
    abilities : Abilities
        What the store can do in addition to listing and reading.
    etag_is_not_digest : bool
        Whether the store has returned an object whose entity tag is not a digest. The tags of other
        objects may then not be digests either.

    Notes
    -----
    Several threads may use a store at once. A prefix is the start of keys: empty, or whole
    directory names that end in ``/``.
    """

    url: str
    endpoint: str | None = None
    abilities: Abilities = Abilities()
    _renewals = 0
    etag_is_not_digest: bool = False

    @abstractmethod
    def children(self, prefix: str = "") -> Children:
        """List the objects and directories directly below a prefix.

        Parameters
        ----------
        prefix : str
            The prefix: empty, or ending in ``/``.

        Returns
        -------
        Children
            Empty if nothing is below the prefix.

        Raises
        ------
        DeniedError, UnreachableError, ThrottledError, StorageError
            If the listing fails. A failed listing never returns an empty result.
        """

    def list(self, prefix: str = "") -> Iterator[Object]:
        """List all objects below a prefix, in all its subdirectories.

        Parameters
        ----------
        prefix : str
            The prefix: empty, or ending in ``/``.

        Yields
        ------
        Object
            In the order of the storage.

        Raises
        ------
        DeniedError, UnreachableError, ThrottledError, StorageError
            As in `children`.
        """
        # Lists one directory at a time, because web servers have no other listings, and because
        # fsspec's own walk skips directories that can't be listed.
        waiting = [prefix]
        while waiting:
            directory = waiting.pop()
            if len(directory) > _LONGEST_KEY:
                where = printable(f"{self.url}/{directory[:_SHOWN]}")
                raise ListingError(f"{where}…: directories in directories without end")
            objects, directories = self.children(directory)
            yield from objects
            waiting += directories

    def list_after(self, prefix: str, after: str) -> Iterator[Object]:
        """List the objects with a prefix that come after a key.

        Only stores with `Abilities.ordered_listings` have this method.

        Parameters
        ----------
        prefix : str
            The start of the keys, which may end within a name.
        after : str
            The key after which the listing starts, even if there is no such key.

        Yields
        ------
        Object
            In the order of the storage. Some storage ignores `after`.
        """
        raise StorageError(f"{self.url}/{prefix}: it can't be listed from {after!r} on")

    @abstractmethod
    def stream(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Stream:
        """Open an object for reading.

        Parameters
        ----------
        key : str
            The object's key, as in a listing.
        etag : str, optional
            The entity tag that the object must have.
        version : str, optional
            The version to read.
        start : int
            The first byte to read.
        stop : int, optional
            The byte to stop before, for stores with `Abilities.ranges`. The default is the object's
            end.

        Returns
        -------
        Stream

        Raises
        ------
        SourceMissingError
            If there is no such object.
        SourceChangedError
            If the object's tag is not `etag`. The stream may also raise this while it is read.
        DeniedError, ThrottledError, UnreachableError, StorageError
            If the object can't be read. The stream may also raise these while it is read.
        """

    def read(
        self, key: str, *, limit: int, etag: str | None = None, size: int | None = None
    ) -> bytes:
        """Read a whole small object.

        Parameters
        ----------
        key : str
        limit : int
            The maximum size of the object in bytes.
        etag : str, optional
            As in `stream`.
        size : int, optional
            The object's size in the listing.

        Returns
        -------
        bytes

        Raises
        ------
        UnreachableError
            If the number of received bytes is not `size`, since bytes may be missing.
        StorageError
            If the object has more than `limit` bytes. Other storage errors are those of `stream`.
        """
        stream, where = self.stream(key, etag=etag), f"{self.url}: {key!r}"
        try:
            if etag is not None and stream.etag not in {None, etag}:
                # Some servers ignore the condition that a request contains.
                raise SourceChangedError(f"{where} is no longer the object that was listed")
            data = _read(stream, where, limit if size is None else min(limit, size))
        finally:
            stream.close()
        if size is not None and len(data) != size:
            got = f"{len(data):,}" if len(data) < size else "more"
            raise UnreachableError(
                f"{where} was listed with {size:,} bytes, and {got} came; it has changed, or the "
                "answer was cut short; try again"
            )
        if len(data) > limit:
            raise StorageError(f"{where} has more than {limit} bytes")
        return data

    def whole(self, wanted: FetchRequest) -> Awaitable[FetchedObject]:
        """Read a whole small object in one attempt, without retries.

        Only stores with `Abilities.async_reads` have this method.

        Parameters
        ----------
        wanted : FetchRequest

        Returns
        -------
        awaitable of FetchedObject

        Raises
        ------
        StorageError
            If the attempt fails. Call `stream` to find the cause.
        """
        raise NotImplementedError

    def renew(self) -> bool:
        """Request new credentials after the current ones were refused.

        Returns
        -------
        bool
            Whether the credentials have changed, so that another attempt may succeed.
        """
        return False

    def renewing(self, call: Callable[[], T]) -> T:
        """Call a function, and call it again if refused credentials could be renewed."""
        seen = self._renewals
        try:
            return call()
        except CredentialsError:
            with _RENEWING:
                # Another thread may have renewed them meanwhile.
                if self._renewals == seen and self.renew():
                    self._renewals += 1
                if self._renewals == seen:
                    raise
            return call()

    def versions(self, directory: str) -> Iterator[Object]:
        """List the latest versions of the objects directly below a directory.

        Parameters
        ----------
        directory : str
            The directory: empty, or ending in ``/``.

        Yields
        ------
        Object
            Each object with its version. Keys that were deleted are left out.

        Raises
        ------
        StorageError
            If versions can't be listed. `version_of` may still return them.
        """
        raise StorageError(f"{self.url}: this storage has no versions")

    def version_of(self, key: str) -> Object:
        """Return one object as it is now, with its version.

        Parameters
        ----------
        key : str

        Returns
        -------
        Object
            The object, without a version if the bucket keeps no versions.

        Raises
        ------
        SourceMissingError
            If there is no such object.
        StorageError
            If the object's metadata can't be read.
        """
        raise StorageError(f"{self.url}: this storage has no versions")

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """Report whether an object's entity tag is the MD5 of its bytes.

        bidsplan calls this method if tag and MD5 differ, because the tag of an encrypted object is
        not its MD5.

        Parameters
        ----------
        key : str
        version : str, optional
            The version to ask about.

        Returns
        -------
        bool
        """
        return True

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """Return an object's metadata, with at most one request.

        Parameters
        ----------
        key : str
        etag : str, optional
            The planned entity tag. If the object has another tag, no checksum is returned.
        version : str, optional
            The version to ask about.

        Returns
        -------
        ObjectMetadata

        Raises
        ------
        StorageError
            If the metadata can't be read.
        """
        return ObjectMetadata(self.etag_is_md5(key, version=version))

    def absent(self, keys: Iterable[str]) -> set[str]:
        """Return the listed keys whose content is missing, as in a DataLad clone.

        Parameters
        ----------
        keys : iterable of str

        Returns
        -------
        set of str
        """
        return set()

    def file_version(self, key: str) -> FileVersion | None:
        """Return a local file's state, to find out later whether it has changed.

        Parameters
        ----------
        key : str

        Returns
        -------
        FileVersion or None
            None for other storage, and for a file that no longer exists.
        """
        return None

    def close(self) -> None:  # noqa: B027 - most stores hold nothing open
        """Close connections; do not use the store afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(stream: Stream, where: str, limit: int) -> bytes:
    """Read a stream to its end, or until it has more than `limit` bytes."""
    deadline, data = Deadline(), bytearray()
    for chunk in stream:
        data += chunk
        deadline.reached(len(data))
        if deadline.left() <= 0:
            raise UnreachableError(f"{where} comes too slowly")
        if len(data) > limit:
            break
    return bytes(data)
