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

# Stores share the sessions that credentials come from.
_RENEWING = Lock()


class Store(ABC):
    """A dataset's root in storage: it can be listed and read.

    Attributes
    ----------
    url : str
        The root's URL, free of credentials.
    endpoint : str or None
        Where requests go, for object stores.
    abilities : Abilities
        What it can do beyond that.
    etag_is_not_digest : bool
        Whether an object was met whose plain entity tag is not a digest, so others may be the same.

    Notes
    -----
    A store may be used from several threads at once. Prefixes are plain string prefixes that are
    empty or end in ``/``; callers never pass half a segment.
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
            Empty, or ending in ``/``.

        Returns
        -------
        Children
            Empty where there is nothing.

        Raises
        ------
        DeniedError, UnreachableError, ThrottledError, StorageError
            A listing that fails is never an empty one.
        """

    def list(self, prefix: str = "") -> Iterator[Object]:
        """List all objects below a prefix, however deep.

        Parameters
        ----------
        prefix : str
            Empty, or ending in ``/``.

        Yields
        ------
        Object
            In the storage's own order.

        Raises
        ------
        DeniedError, UnreachableError, ThrottledError, StorageError
            As in `children`.
        """
        # A directory at a time: web servers list no other way, and fsspec's own walk skips
        # directories that can't be listed.
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
        """List objects with a prefix behind a key; for stores with `Abilities.ordered_listings`.

        Parameters
        ----------
        prefix : str
            May end anywhere.
        after : str
            The last key to leave out; it need not exist.

        Yields
        ------
        Object
            As the storage lists them, which may not heed `after`.
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
            As a listing has it.
        etag : str, optional
            Read only the object that has this tag.
        version : str, optional
            Read this version.
        start : int
            The first byte to read.
        stop : int, optional
            The byte to stop before, for stores with `Abilities.ranges`; the end by default.

        Returns
        -------
        Stream

        Raises
        ------
        SourceMissingError
            Where there is no such object.
        SourceChangedError
            Where its tag is not `etag`, also when that shows only while reading.
        DeniedError, ThrottledError, UnreachableError, StorageError
            Also while reading.
        """

    def read(
        self, key: str, *, limit: int, etag: str | None = None, size: int | None = None
    ) -> bytes:
        """Read a small object whole.

        Parameters
        ----------
        key : str
        limit : int
            The most bytes to accept.
        etag : str, optional
            As in `stream`.
        size : int, optional
            How many bytes it was listed with.

        Returns
        -------
        bytes

        Raises
        ------
        UnreachableError
            Where it has another size, since the answer may have been cut short.
        StorageError
            Where it has more than `limit` bytes, and as in `stream`.
        """
        stream, where = self.stream(key, etag=etag), f"{self.url}: {key!r}"
        try:
            if etag is not None and stream.etag not in {None, etag}:
                # Not every server heeds the condition of a request.
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
        """Read a small object whole, in one try; for stores with `Abilities.async_reads`.

        Parameters
        ----------
        wanted : FetchRequest

        Returns
        -------
        awaitable of FetchedObject

        Raises
        ------
        StorageError
            As in `stream`, which also has the patience to find out why.
        """
        raise NotImplementedError

    def renew(self) -> bool:
        """Request credentials anew, after those that it has were refused.

        Returns
        -------
        bool
            Whether they are others now, so that another try is worth it.
        """
        return False

    def renewing(self, call: Callable[[], T]) -> T:
        """Call a function, and once more where credentials were refused and there are new ones."""
        seen = self._renewals
        try:
            return call()
        except CredentialsError:
            with _RENEWING:
                # Unless another thread has done so meanwhile.
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
            Empty, or ending in ``/``.

        Yields
        ------
        Object
            With its version; none for a key that was deleted.

        Raises
        ------
        StorageError
            Where versions can't be listed; `version_of` may still return them.
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
            Without a version where the bucket keeps none.

        Raises
        ------
        SourceMissingError
            Where there is no such object.
        StorageError
        """
        raise StorageError(f"{self.url}: this storage has no versions")

    def etag_is_md5(self, key: str, *, version: str | None = None) -> bool:
        """Report whether an object's plain entity tag is the MD5 of its bytes.

        Asked when the two differ: encrypted objects have other tags, and are not corrupt.

        Parameters
        ----------
        key : str
        version : str, optional
            Ask about this version.

        Returns
        -------
        bool
        """
        return True

    def about(
        self, key: str, *, etag: str | None = None, version: str | None = None
    ) -> ObjectMetadata:
        """Return an object's metadata, by one request at most.

        Parameters
        ----------
        key : str
        etag : str, optional
            The planned one; an object that has another comes without a checksum.
        version : str, optional
            Ask about this version.

        Returns
        -------
        ObjectMetadata

        Raises
        ------
        StorageError
        """
        return ObjectMetadata(self.etag_is_md5(key, version=version))

    def absent(self, keys: Iterable[str]) -> set[str]:
        """Return those of some listed keys whose content is not here, as in a DataLad clone.

        Parameters
        ----------
        keys : iterable of str

        Returns
        -------
        set of str
        """
        return set()

    def file_version(self, key: str) -> FileVersion | None:
        """Return a local file's state, which shows later whether it has changed.

        Parameters
        ----------
        key : str

        Returns
        -------
        FileVersion or None
            None for objects of any other storage, and for a file that is gone.
        """
        return None

    def close(self) -> None:  # noqa: B027 - most stores hold nothing open
        """Release connections; the store is not used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(stream: Stream, where: str, limit: int) -> bytes:
    """Read a stream to its end, or until more than `limit` bytes have come."""
    deadline, data = Deadline(), bytearray()
    for chunk in stream:
        data += chunk
        deadline.reached(len(data))
        if deadline.left() <= 0:
            raise UnreachableError(f"{where} comes too slowly")
        if len(data) > limit:
            break
    return bytes(data)
