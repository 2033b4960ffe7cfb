"""Where files are written to that is no directory: one interface, and a kind of sink for each URL.

A key has its object only once all of it was written and checked; until then it holds what it held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Buffer

    from bidsplan.storage.objects import Object
    from bidsplan.storage.store import Store


HURRIED = 2.0
"""Seconds that a request may take once the work is being stopped."""


class Upload(ABC):
    """One object on its way to its key, which has it only once it is committed.

    A context manager: what is not committed when it is left is taken back, and leaves nothing.
    """

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Take the next bytes.

        Raises
        ------
        DestinationError, StorageError
        """

    @abstractmethod
    def restart(self) -> None:
        """Forget what was written."""

    @abstractmethod
    def commit(self, content: str) -> Object:
        """Give what was written its key, and look whether it is there.

        Parameters
        ----------
        content : str
            The bytes' xxh3-128, in hexadecimal, to compare with where nothing else tells.

        Returns
        -------
        Object
            As it stands there now, with its tag.

        Raises
        ------
        ExistingFileError
            Where something came to stand there that must not be replaced.
        IntegrityError
            Where what arrived is not what was written; it was removed again.
        DestinationError, StorageError
            Where it can't be written.
        """

    @abstractmethod
    def abort(self) -> None:
        """Take back what was not committed; does nothing after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        The same place, to be listed and read. The entity tags that it gives are whatever the
        storage tells objects apart by, and need not hold anywhere else.

    Notes
    -----
    A sink may be used from several threads at once.
    """

    url: str
    endpoint: str | None = None
    store: Store

    @abstractmethod
    def standing(self) -> Iterator[Object]:
        """List what stands there, sorted by key as far as the storage does so.

        Raises
        ------
        StorageError
        """

    @abstractmethod
    def state(self, key: str) -> Object | None:
        """Look at one object.

        Raises
        ------
        StorageError
        """

    @abstractmethod
    def prepare(self) -> None:
        """Find out whether it can be written, and how; does so once, however often it is called.

        Raises
        ------
        DestinationError, StorageError
        """

    @abstractmethod
    def upload(self, key: str, size: int, *, replace: bool) -> Upload:
        """Begin to write an object.

        Parameters
        ----------
        size : int
            Bytes that it will have.
        replace : bool
            Whether it may take another object's place.

        Raises
        ------
        DestinationError, StorageError
        """

    @abstractmethod
    def remove(self, found: Object) -> bool:
        """Remove an object; False where another one has its key by now.

        Raises
        ------
        DestinationError, StorageError
        """

    def shorten_timeouts(self) -> None:  # noqa: B027 - most sinks have nothing to wait for
        """Wait for nothing any more, since the work is being stopped."""

    def close(self) -> list[str]:
        """Take back what is still on its way; the sink is not used afterwards.

        Returns
        -------
        list of str
            Keys of which something is left that could not be taken back.
        """
        return []
