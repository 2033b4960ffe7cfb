"""The interface of all storage that files are written to.

A key has its object only once all of it was written and checked; until then it holds what it held.
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

    A context manager: on exit, what is not committed is discarded, and leaves nothing. Its methods
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
            The bytes' xxh3-128, in hexadecimal, to compare with where no tag or checksum shows it.

        Returns
        -------
        Object
            As it is stored now, with its tag.

        Raises
        ------
        ExistingFileError
            If the key has an object by now that must not be replaced.
        IntegrityError
            If what arrived is not what was written; it was removed again.
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
        Its URL, free of credentials.
    endpoint : str or None
        Where requests go, for object stores.
    store : Store
        The same place, to be listed and read. Its entity tags are whatever the storage tells
        objects apart by, and need not hold anywhere else.

    Notes
    -----
    It may be used from several threads at once. Its methods raise StorageError, and those that
    write DestinationError too.
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
            Keys of which something is left that could not be removed.
        """
        return []
