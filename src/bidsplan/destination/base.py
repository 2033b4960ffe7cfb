"""The interface of all destinations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bidsplan.errors import MissingFileError
from bidsplan.paths import printable
from bidsplan.plan.integrity import Checker

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from threading import Event as ThreadEvent

    from typing_extensions import Buffer

    from bidsplan.destination.blocks import Blocks
    from bidsplan.destination.receipts import Receipt
    from bidsplan.events import Event, Opened, Waiting, Warned
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import CheckMethod, Verdict

    Tap = Callable[[Entry], Callable[[bytes], None]]

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - a request that was obeyed, and no error
    """The run was asked to stop."""


class FileState(NamedTuple):
    """The state of a file at a path in the destination.

    Parameters
    ----------
    identity : int, str or None
        A value that changes whenever the file is written. In a directory, it is the modification
        time in nanoseconds; in storage, the tag. None if the storage has none.
    regular : bool
        Whether it is a regular file, and not a link or a directory.
    """

    size: int
    identity: int | str | None
    regular: bool = True


class Listed(NamedTuple):
    """A file that a destination lists.

    Parameters
    ----------
    removable : bool
        Whether it is a regular file or a link.
    mark : object
        A value by which the destination recognises the unchanged file.
    """

    path: str
    state: FileState
    removable: bool = True
    mark: object = None


class Writer(ABC):
    """A file that is being written, and gets its path by `commit`."""

    def blocks(self, size: int) -> Blocks | None:
        """Open the file for writing in any order; None if only in order."""
        return None

    def prefix(self, stopping: Callable[[], bool]) -> Generator[Buffer, None, None]:
        """Yield the bytes that an earlier run wrote, from the start."""
        yield from ()

    @abstractmethod
    def write(self, data: Buffer) -> object:
        """Write the next bytes."""

    @abstractmethod
    def restart(self) -> None:
        """Discard the bytes that were written."""

    def failed(self, *, resumable: bool) -> bool:
        """Note that the download failed, and whether to keep its bytes.

        Returns whether the bytes are kept for later runs.
        """
        return False

    def descriptor(self) -> int | None:
        """Return a descriptor to read the written bytes, or None."""
        return None

    def link(self, name: str, directory: int, found: os.stat_result) -> bool:
        """Replace the file by a hard link to another file.

        Returns whether it is linked, and was still the file that was `found`; otherwise nothing
        changes.
        """
        return False

    def link_as(self, name: str, directory: int) -> bool:
        """Give the file a second name; returns whether that worked."""
        return False

    @abstractmethod
    def commit(self, content: str, *, replace: bool) -> FileState | None:
        """Move the file to its path; None if another file must stay there.

        Parameters
        ----------
        content : str
            The bytes' xxh3-128, in hexadecimal.

        Raises
        ------
        DestinationError, StorageError
            The file at the path is unchanged.
        """


class Discard(Writer):
    """Takes bytes that are only compared, and discards them."""

    def write(self, data: Buffer) -> None:
        """See `Writer.write`."""

    def restart(self) -> None:
        """See `Writer.restart`."""

    def commit(self, content: str, *, replace: bool) -> None:
        """See `Writer.commit`."""


class Destination(ABC):
    """A place that files are fetched to, verified in and pruned from.

    Attributes
    ----------
    url : str
        The path or URL without credentials, for messages.
    stop : threading.Event
        Set when the run is stopping, to end waits between attempts.
    whole_up_to : int
        Files up to this size are kept in memory as a whole.
    quick : bool
        Whether `write_small` may be called on an event loop.
    compares_first : bool
        Whether to compare a file with its source before anything is written.
    check_space : bool
        Whether `admit` checks the free space.

    Notes
    -----
    Only one thread may call `inspect` and `write_small`. Several threads may call all other methods
    at once.
    """

    url: str
    stop: ThreadEvent
    whole_up_to: int
    quick: bool = False
    compares_first: bool = False
    check_space: bool = True

    @abstractmethod
    def inspect(self, path: str) -> FileState | None:
        """Return the state of a path cheaply; call in the plan's order."""

    @abstractmethod
    def state(self, path: str) -> FileState | None:
        """Return the state of a path now."""

    def proof(self, entry: Entry, state: FileState) -> CheckMethod | None:
        """Return how a file's identity alone proves it, or None."""
        return None

    @abstractmethod
    def read(
        self, path: str, stopping: Callable[[], bool]
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file to read its bytes.

        Raises
        ------
        MissingFileError
            If there is no such file.
        Stopped
            While reading.
        """

    def check(self, entry: Entry, stopping: Callable[[], bool], tap: Tap | None = None) -> Verdict:
        """Read a file, and compare it with the plan.

        Parameters
        ----------
        tap : callable, optional
            Called whenever reading begins. It returns a function that also receives the bytes.

        Raises
        ------
        DestinationError, StorageError, Stopped
            As in `read`.
        """

        def read() -> Verdict:
            checker = Checker(entry)
            take = tap(entry) if tap else None
            with self.read(entry.path, stopping) as chunks:
                for chunk in chunks:
                    checker.update(chunk)
                    if take is not None:
                        take(chunk)
            return checker.verdict()

        return self.retried(read)

    def retried(self, call: Callable[[], T]) -> T:
        """Call a function, and retry it if the failure may pass."""
        return call()

    @abstractmethod
    def writer(
        self, path: str, size: int, *, replace: bool, key: str | None = None
    ) -> AbstractContextManager[Writer]:
        """Begin to write a file, which is discarded or kept if not committed.

        Parameters
        ----------
        key : str, optional
            The key by which a later run finds the unfinished file, if it may resume it.
        """

    def write_small(
        self, path: str, data: Buffer, content: str, *, replace: bool
    ) -> FileState | None:
        """Write a whole file; otherwise like `Writer.commit`."""
        with self.writer(path, memoryview(data).nbytes, replace=replace) as writer:
            writer.write(data)
            return writer.commit(content, replace=replace)

    @abstractmethod
    def read_receipts(self) -> Iterator[Receipt]:
        """Read all receipts, and skip invalid ones."""

    @abstractmethod
    def write_receipts(self, receipts: list[Receipt]) -> None:
        """Store receipts once their files are safely stored.

        Raises
        ------
        OSError, BidsplanError
        """

    def lock(
        self,
        *,
        wait: bool,
        shared: bool = False,
        create: bool = True,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[Waiting | Warned]:
        """Lock the destination against other runs, if it supports locks.

        Parameters
        ----------
        wait : bool
            Whether to wait for another run.
        shared : bool
            Whether other runs with a shared lock may work at the same time.
        create : bool
            Whether to create the lock if no run has done so.
        stopping : callable
            Called while waiting. If it returns true, waiting ends without the lock.

        Raises
        ------
        LockedError
            If another run has the lock, and `wait` is false.
        """
        yield from ()

    def opened(self) -> Opened | None:
        """Return the event about the destination's endpoint, if there is one."""
        return None

    def prepare(self) -> None:  # noqa: B027 - a directory needs nothing
        """Check whether files can be written."""

    def admit(self, plan: Planned) -> None:  # noqa: B027 - storage is asked by `prepare`
        """Check, before any request, whether a plan's files can be written.

        Raises
        ------
        DestinationError
            If nothing can be written, or there is too little free space for the missing files.
        """

    def folds_names(self) -> bool:
        """Report whether names that differ in case or Unicode form are the same."""
        return False

    @abstractmethod
    def spare(self, roots: Sequence[str], base: str, keep: Sequence[str]) -> None:
        """Exclude the sources of a plan's files from `list_files`.

        Parameters
        ----------
        roots : sequence of str
            URLs. Relative ones are relative to the directory `base`.
        keep : sequence of str
            Other local files and directories to keep.

        Raises
        ------
        UsageError
            If the destination is one of them, or inside one of them.
        """

    @abstractmethod
    def list_files(self) -> Iterator[Listed]:
        """List files, except bidsplan's, git's and those of other destinations inside."""

    @abstractmethod
    def remove(self, listed: Listed) -> bool:
        """Remove a file and empty directories; False if the file has changed.

        Raises
        ------
        DestinationError, StorageError
        """

    def finish(self) -> Iterator[Event]:
        """Clean up after a complete run."""
        yield from ()

    def shorten_timeouts(self) -> None:  # noqa: B027 - a directory waits for nothing
        """Wait only briefly from now on, because the run is stopping."""

    @abstractmethod
    def close(self, *, busy: bool = False) -> None:
        """Discard unfinished files, release the lock, and close.

        Parameters
        ----------
        busy : bool
            Whether threads still use the destination. Nothing that they write is committed any
            more.
        """


def missing(path: str) -> MissingFileError:
    """Make the error for a file that does not exist."""
    return MissingFileError(f"{printable(path)}: there is no such file; fetch the plan to get it")
