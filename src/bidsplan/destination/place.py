"""Writing small files and committing them to their paths, with directories kept open."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bidsplan.destination.directory import FileState, destination_error, write_all
from bidsplan.destination.partial_files import NEW_FILE
from bidsplan.paths import printable
from bidsplan.storage.rename import rename

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from bidsplan.destination.directory import Destination


_OPEN = 8


class OpenDirectories:
    """Opens directories, through no link, and keeps the latest few open.

    Notes
    -----
    For use from one thread only.
    """

    def __init__(self, folder: Destination) -> None:
        self._folder = folder
        self._open: dict[str, int] = {}

    def descriptor(self, path: str, *, create: bool = False) -> int:
        """Open a directory.

        Parameters
        ----------
        create : bool
            Whether to make what is not there.

        Returns
        -------
        int
            Good until the next call.

        Raises
        ------
        OSError
        """
        found = self._open.get(path)
        if found is None:
            with self._folder.directory(path, create=create) as directory:
                found = os.dup(directory)
            if len(self._open) >= _OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[path] = found
        return found

    def close(self) -> None:
        """Close them all."""
        while self._open:
            os.close(self._open.popitem()[1])


class AtomicWriter:
    """Writes files whole, and keeps the directories open that they go to.

    Notes
    -----
    As `Destination.partial` and `Destination.rename_into_place` do it, but for use from one
    thread only.
    """

    def __init__(self, folder: Destination) -> None:
        self._folder = folder
        self._directories = OpenDirectories(folder)

    def place(self, path: str, data: Buffer, *, replace: bool) -> FileState | None:
        """Write a file by way of a partial.

        Parameters
        ----------
        replace : bool
            Whether to replace what stands there.

        Returns
        -------
        FileState or None
            None where something stands there that is not to be replaced.

        Raises
        ------
        DestinationError
            The path holds what it held before.
        """
        try:
            partials = self._folder.partials()
            name = self._folder.new_name()
            try:
                return self._write(partials, name, path, data, replace=replace)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=partials)
                raise
        except OSError as error:
            raise destination_error(error, printable(f"{self._folder.root}/{path}")) from error

    def _write(
        self, partials: int, name: str, path: str, data: Buffer, *, replace: bool
    ) -> FileState | None:
        descriptor = os.open(name, NEW_FILE, 0o666, dir_fd=partials)
        try:
            write_all(descriptor, data)
        finally:
            # Network file systems tell only now what they could not write.
            os.close(descriptor)
        found = os.stat(name, dir_fd=partials, follow_symlinks=False)
        parent, _, base = path.rpartition("/")
        directory = self._directories.descriptor(parent, create=True)
        try:
            landed = rename(name, base, above=partials, directory=directory, replace=replace)
        except FileNotFoundError:
            # The directory was removed while it was open here.
            self._directories.close()
            directory = self._directories.descriptor(parent, create=True)
            landed = rename(name, base, above=partials, directory=directory, replace=replace)
        if not landed:
            os.unlink(name, dir_fd=partials)
            return None
        return FileState(found.st_size, found.st_mtime_ns, regular=True)

    def close(self) -> None:
        """Close the directories."""
        self._directories.close()
