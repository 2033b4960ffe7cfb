"""A destination in a local directory."""

from __future__ import annotations

import functools
import os
import stat
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING

from bidsplan.destination.base import Destination, FileState, Listed, Stopped, Writer
from bidsplan.destination.blocks import Blocks
from bidsplan.destination.directory import Directory, destination_error, write_all
from bidsplan.destination.free_space import check_free_space
from bidsplan.destination.lock import RunLock
from bidsplan.destination.open_directories import OpenDirectories
from bidsplan.destination.partial_files import NEW_FILE
from bidsplan.destination.receipt_files import append_receipts, compact, new_name, read_receipts
from bidsplan.destination.strays import list_files, remove_file, spared_identities
from bidsplan.errors import BidsplanError, DestinationError, MissingFileError
from bidsplan.events import Resumable
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.storage.rename import rename

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from typing_extensions import Buffer

    from bidsplan.destination.partial_files import Partial
    from bidsplan.destination.receipts import Receipt
    from bidsplan.destination.strays import Identity
    from bidsplan.events import Waiting, Warned
    from bidsplan.plan import Planned

_CHUNK = 1 << 20
# This takes half the time of the constructor, for each of a million entries.
_new_state = functools.partial(tuple.__new__, FileState)

_SMALL = 4 << 20
"""Bytes up to which an object is read whole, with hundreds of others at a time.

Larger ones cost less processor time when they are streamed.
"""


class LocalDestination(Directory, Destination):
    """A local directory; parameters as for `Directory`.

    Raises MissingFileError if it does not exist and is not to be created.
    """

    whole_up_to = _SMALL
    quick = True

    def __init__(self, root: str, *, create: bool) -> None:
        try:
            super().__init__(root, create=create)
        except DestinationError as error:
            if create or not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise MissingFileError(
                f"{printable(root)}: there is no such directory; fetch the plan to get it"
            ) from error.__cause__
        self.url = root
        self.stop = Event()
        self._run_lock = RunLock(self)
        self._receipt_file = new_name()
        self._noted = False
        self._spared: set[Identity] = set()
        # A directory is rarely both read and written at the same time.
        self._looked_into = OpenDirectories(self)
        self._written_to = OpenDirectories(self)
        self._absent: str | None = None
        self._parent: str | None = None
        self._descriptor = -1

    def inspect(self, path: str) -> FileState | None:
        """See `Destination.inspect`."""
        # This runs for each of a million entries, so it makes as few calls as possible.
        parent, _, name = path.rpartition("/")
        if parent == self._absent:
            return None
        try:
            if parent != self._parent:
                # If a directory is missing, the next planned files in it are missing too.
                self._parent, self._absent = None, parent
                self._descriptor = self._looked_into.descriptor(parent)
                self._parent, self._absent = parent, None
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._absent = None
            raise destination_error(error, printable(f"{self.root}/{path}"), "read") from error
        return _new_state((found.st_size, found.st_mtime_ns, stat.S_ISREG(found.st_mode)))

    @contextmanager
    def read(self, path: str, stopping: Callable[[], bool]) -> Iterator[Iterator[bytes]]:
        """See `Destination.read`."""
        with self.reading(path) as descriptor:
            yield _chunks(descriptor, stopping)

    @contextmanager
    def writer(
        self, path: str, size: int, *, replace: bool, key: str | None = None
    ) -> Iterator[Writer]:
        """See `Destination.writer`."""
        with self.partial() if key is None else self.resumable_partial(key) as partial:
            try:
                yield LocalWriter(self, path, partial, keeps=key is not None)
            except BidsplanError:
                raise
            except OSError as error:
                raise destination_error(error, printable(path)) from error

    def write_small(
        self, path: str, data: Buffer, content: str, *, replace: bool
    ) -> FileState | None:
        """See `Destination.write_small`."""
        try:
            partials, name = self.partials(), self.new_name()
            try:
                descriptor = os.open(name, NEW_FILE, 0o666, dir_fd=partials)
                try:
                    write_all(descriptor, data)
                finally:
                    # Network file systems report some write errors only when the file is closed.
                    os.close(descriptor)
                found = os.stat(name, dir_fd=partials, follow_symlinks=False)
                committed = self._rename_small(name, partials, path, replace=replace)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=partials)
                raise
            if not committed:
                os.unlink(name, dir_fd=partials)
                return None
        except OSError as error:
            raise destination_error(error, printable(f"{self.root}/{path}")) from error
        return FileState(found.st_size, found.st_mtime_ns)

    def _rename_small(self, name: str, partials: int, path: str, *, replace: bool) -> bool:
        parent, _, base = path.rpartition("/")
        directory = self._written_to.descriptor(parent, create=True)
        try:
            return rename(name, base, above=partials, directory=directory, replace=replace)
        except FileNotFoundError:
            # The directory was removed while it was open.
            self._written_to.close()
            directory = self._written_to.descriptor(parent, create=True)
            return rename(name, base, above=partials, directory=directory, replace=replace)

    def admit(self, plan: Planned) -> None:
        """See `Destination.admit`."""
        try:
            self.partials()
        except OSError as error:
            raise destination_error(error, printable(f"{self.root}/{STATE_DIRECTORY}")) from error
        if self.check_space:
            check_free_space(self.root, plan)

    def read_receipts(self) -> Iterator[Receipt]:
        """See `Destination.read_receipts`."""
        return read_receipts(self)

    def write_receipts(self, receipts: list[Receipt]) -> None:
        """See `Destination.write_receipts`."""
        append_receipts(self, self._receipt_file, receipts)
        self._noted = True

    def lock(
        self,
        *,
        wait: bool,
        shared: bool = False,
        create: bool = True,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Generator[Waiting | Warned, None, None]:
        """See `Destination.lock`."""
        return self._run_lock.acquire(wait=wait, shared=shared, create=create, stopping=stopping)

    def finish(self) -> Iterator[Resumable]:
        """Merge the receipts of many runs; see `Destination.finish`."""
        if self._run_lock.exclusive and self._noted:
            compact(self)
        if kept := self.resumable_bytes():
            yield Resumable(bytes=kept)

    def spare(self, roots: Sequence[str], base: str, keep: Sequence[str]) -> None:
        """See `Destination.spare`."""
        self._spared = spared_identities(self, roots, base, keep)

    def list_files(self) -> Iterator[Listed]:
        """See `Destination.list_files`."""
        return list_files(self, self._spared)

    def remove(self, listed: Listed) -> bool:
        """See `Destination.remove`."""
        return remove_file(self, listed)

    def close(self, *, busy: bool = False) -> None:
        """See `Destination.close`."""
        self._looked_into.close()
        self._written_to.close()
        try:
            super().close(busy=busy)
        finally:
            self._run_lock.release()


class LocalWriter(Writer):
    """A partial file that is being written.

    Parameters
    ----------
    keeps : bool
        Whether later runs find the file if it stays unfinished.
    """

    def __init__(
        self, folder: Directory, path: str, partial: Partial, *, keeps: bool = False
    ) -> None:
        self._folder = folder
        self._path = path
        self._partial = partial
        self._keeps = keeps

    def prefix(self, stopping: Callable[[], bool]) -> Generator[Buffer, None, None]:
        """See `Writer.prefix`; copying these bytes may fill the disk."""
        partial = self._partial
        if partial.prefix < 0:
            return
        try:
            for chunk in _chunks(partial.prefix, stopping):
                if partial.prefix != partial.descriptor:
                    write_all(partial.descriptor, chunk)
                yield chunk
        finally:
            partial.close_prefix()

    def blocks(self, size: int) -> Blocks:
        """See `Writer.blocks`."""
        return Blocks(self._partial, size)

    def write(self, data: Buffer) -> None:
        """See `Writer.write`."""
        write_all(self._partial.descriptor, data)

    def restart(self) -> None:
        """See `Writer.restart`."""
        os.lseek(self._partial.descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._partial.descriptor, 0)

    def failed(self, *, resumable: bool) -> bool:
        """See `Writer.failed`."""
        self._partial.unfinished = resumable
        return resumable and self._keeps

    def descriptor(self) -> int:
        """See `Writer.descriptor`."""
        return self._partial.descriptor

    def link(self, name: str, directory: int, found: os.stat_result) -> bool:
        """See `Writer.link`."""
        return self._folder.adopt_link(self._partial, name, directory, found)

    def link_as(self, name: str, directory: int) -> bool:
        """See `Writer.link_as`."""
        return self._folder.link_partial(self._partial, name, directory)

    def commit(self, content: str, *, replace: bool) -> FileState | None:
        """See `Writer.commit`."""
        return self._folder.rename_into_place(self._partial, self._path, replace=replace)


def _chunks(descriptor: int, stopping: Callable[[], bool]) -> Iterator[bytes]:
    while chunk := os.read(descriptor, _CHUNK):
        if stopping():
            raise Stopped
        yield chunk
