"""The interface of all storage that files are written to.

A key gets its new object only after the object was completely written and checked. Until then, the
key is unchanged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from bidsplan.storage.objects import Object
    from bidsplan.storage.store import Store


class Upload(ABC):
    """An object that is written, and appears only when committed.

    An upload is a context manager. On exit, uncommitted bytes are discarded completely. Its methods
    raise DestinationError or StorageError if the object can't be written.
    """

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Append bytes."""

    @abstractmethod
    def restart(self) -> None:
        """Discard the written bytes, and begin again."""

    @abstractmethod
    def commit(self, content: str) -> Object:
        """Publish the object under its key, and check it.

        Parameters
        ----------
        content : str
            The bytes' xxh3-128 in hexadecimal, which is compared if no tag or checksum proves the
            object.

        Returns
        -------
        Object
            The object as it is stored now, with its tag.

        Raises
        ------
        ExistingFileError
            If the key now has an object that must not be replaced.
        IntegrityError
            If other bytes were stored than were written. The object was then removed again.
        """

    @abstractmethod
    def abort(self) -> None:
        """Discard uncommitted bytes; does nothing after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class WritableStore(ABC):
    """A place in storage, for writing.

    Attributes
    ----------
    url : str
        The URL, without credentials.
    endpoint : str or None
        The URL that requests are sent to, for object stores.
    store : Store
        The same place, for listing and reading. Its entity tags are any values by which the storage
        distinguishes objects, and may not be valid elsewhere.

    Notes
    -----
    Several threads may use it at once. Its methods raise StorageError, and those that write also
    DestinationError.
    """

    url: str
    endpoint: str | None = None
    store: Store

    @abstractmethod
    def list_objects(self) -> Iterator[Object]:
        """List all objects, sorted by key if the storage sorts them."""

    @abstractmethod
    def state(self, key: str) -> Object | None:
        """Return the object with a key."""

    @abstractmethod
    def prepare(self) -> None:
        """Check once whether, and how, files can be written."""

    @abstractmethod
    def upload(self, key: str, size: int, *, replace: bool) -> Upload:
        """Begin to write an object of `size` bytes."""

    @abstractmethod
    def remove(self, found: Object) -> bool:
        """Remove an object; False if its key has another object by now.

        Raises
        ------
        DestinationError, StorageError
        """

    def shorten_timeouts(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Stop waiting and retrying, because the run is stopping."""

    def close(self) -> list[str]:
        """Discard unfinished uploads; do not use the store afterwards.

        Returns
        -------
        list of str
            Keys of uploads whose remains could not be removed.
        """
        return []
