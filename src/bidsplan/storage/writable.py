"""Where files are written that is not a directory: one interface for all kinds of storage.

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
    """One object being written to its key, which has it only once it is committed.

    A context manager: on exit, what is not committed is discarded, and leaves nothing. Its methods
    raise DestinationError or StorageError where the object can't be written.
    """

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Append bytes."""

    @abstractmethod
    def restart(self) -> None:
        """Discard what was written, and begin again."""

    @abstractmethod
    def commit(self, content: str) -> Object:
        """Publish what was written under its key, and check that it arrived.

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
        """Discard what was not committed; does nothing after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class WritableStore(ABC):
    """A place in storage that is written to.

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
        """List all objects, sorted by key as far as the storage does so."""

    @abstractmethod
    def state(self, key: str) -> Object | None:
        """Return the object of a key."""

    @abstractmethod
    def prepare(self) -> None:
        """Find out once whether it can be written, and how."""

    @abstractmethod
    def upload(self, key: str, size: int, *, replace: bool) -> Upload:
        """Begin to write an object of `size` bytes, which may take another one's place or not."""

    @abstractmethod
    def remove(self, found: Object) -> bool:
        """Remove an object; False where another one has its key by now.

        Raises
        ------
        DestinationError, StorageError
        """

    def shorten_timeouts(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Stop waiting and retrying, since the run is being stopped."""

    def close(self) -> list[str]:
        """Discard pending uploads; the store is not used afterwards.

        Returns
        -------
        list of str
            Keys of which something is left that could not be removed.
        """
        return []
