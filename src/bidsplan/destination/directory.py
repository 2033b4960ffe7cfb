"""A local directory to fetch to, which no link can lead out of.

Every directory below the root is opened relative to its parent and without following links, both
for reading and for writing. A file gets its name only by renaming a checked partial file.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.destination.base import FileState, missing
from bidsplan.destination.partial_files import (
    NEW_FILE,
    Partial,
    claim,
    held_bytes,
    open_directory,
    run_name,
)
from bidsplan.destination.resume import adopt_partial, forget, keep, sweep
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    DiskFullError,
    ExistingFileError,
    UnsafePathError,
)
from bidsplan.help_codes import HelpCode
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.storage.rename import rename

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})
_UNSAFE = frozenset({errno.ELOOP, errno.ENOTDIR})
PARTIALS = f"{STATE_DIRECTORY}/partial"


def state_of(found: os.stat_result) -> FileState:
    """Return the state that a `stat` result describes."""
    return FileState(found.st_size, found.st_mtime_ns, stat.S_ISREG(found.st_mode))


def destination_error(error: OSError, what: str, doing: str = "written") -> DestinationError:
    """Make our error for an error of the operating system, while `what` was read or written."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFullError(
            f"{what}: can't be written: {reason}; free some space, and run it again"
        )
    if error.errno in _UNSAFE:
        return UnsafePathError(
            f"{what}: a link or a file is where a directory should be; nothing was written "
            "through it"
        )
    if error.errno in _MANY_OPEN:
        return DestinationError(
            f"{what}: {reason}; raise the limit ('ulimit -n'), or lower --jobs",
            help_code=HelpCode.OPEN_FILES,
        )
    if error.errno == errno.EISDIR:
        return ExistingFileError(f"{what}: a directory has this name")
    return DestinationError(f"{what}: can't be {doing}: {reason}")


def write_all(descriptor: int, data: Buffer) -> None:
    """Write all bytes to a file."""
    written = os.write(descriptor, data)
    view = memoryview(data)
    while written < view.nbytes:
        written += os.write(descriptor, view[written:])


class Directory:
    """A directory to write to, with the run's partial files.

    Parameters
    ----------
    root : str
        The root, which may be a link. Nothing below it may be a link.
    create : bool
        Whether to create the directory if it does not exist.

    Raises
    ------
    DestinationError
        If the directory can't be opened.
    """

    def __init__(self, root: str, *, create: bool) -> None:
        self.root = root
        self._run = run_name()
        self._partials: int | None = None
        self._taken: dict[str, Partial] = {}
        self._kept: dict[str, int] = {}
        self._lock = Lock()
        self._numbers = itertools.count()
        try:
            if create:
                Path(root).mkdir(parents=True, exist_ok=True)
            self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = error.strerror or str(error)
            why = f"can't be opened: {reason}"
            if error.errno in {errno.EEXIST, errno.ENOTDIR}:
                why = "is a file, or lies below one; expected a directory"
            raise DestinationError(f"{printable(root)}: {why}") from error

    @contextmanager
    def _errors(self, path: str, doing: str = "written") -> Iterator[None]:
        try:
            yield
        except BidsplanError:
            raise
        except OSError as error:
            raise destination_error(error, printable(f"{self.root}/{path}"), doing) from error

    @contextmanager
    def directory(self, path: str, *, create: bool = False) -> Iterator[int]:
        """Open a directory below the root.

        Yields a file descriptor, which is closed afterwards.
        """
        descriptor = os.dup(self._fd)
        try:
            for name in path.split("/") if path else ():
                inner = open_directory(name, descriptor, create=create)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def state(self, path: str) -> FileState | None:
        """Return the state of a path; None if nothing is there.

        Raises UnsafePathError if one of the path's directories is a link.
        """
        parent, _, name = path.rpartition("/")
        try:
            with self.directory(parent) as directory:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise destination_error(error, printable(f"{self.root}/{path}"), "read") from error
        return state_of(found)

    @contextmanager
    def reading(self, path: str) -> Iterator[int]:
        """Open a file for reading, as a file descriptor.

        Raises MissingFileError if the file does not exist.
        """
        parent, _, name = path.rpartition("/")
        with self._errors(path, "read"):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            try:
                with self.directory(parent) as directory:
                    descriptor = os.open(name, flags, dir_fd=directory)
            except FileNotFoundError as error:
                raise missing(path) from error
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def partial(self) -> Iterator[Partial]:
        """Create a partial file, which is removed unless it gets its path."""
        name = self.new_name()
        with self._errors(f"{PARTIALS}/{self._run}/{name}"):
            directory = self.partials()
            partial = Partial(name, os.open(name, NEW_FILE, 0o666, dir_fd=directory))
            try:
                yield partial
            finally:
                # Write errors are reported by `rename_into_place`; here the file is discarded.
                with suppress(OSError):
                    partial.close()
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)

    @contextmanager
    def resumable_partial(self, name: str) -> Iterator[Partial]:
        """Open a partial file, which is kept for later runs if unfinished.

        Parameters
        ----------
        name : str
            A `resume.resume_key`.
        """
        with self._errors(f"{PARTIALS}/{self._run}/{name}"):
            directory = self.partials()
            with self.directory(PARTIALS) as above:
                partial = self._taken[name] = adopt_partial(name, above, directory)
            self._kept.pop(name, None)
            try:
                yield partial
            finally:
                with suppress(OSError):
                    partial.close()
                with suppress(FileNotFoundError), self.directory(PARTIALS) as above:
                    if partial.committed:
                        forget(name, above)
                    elif partial.unfinished:
                        self._kept[name] = keep(name, above, directory)
                    else:
                        os.unlink(name, dir_fd=directory)
                self._taken.pop(name, None)

    def resumable_bytes(self) -> int:
        """Count the bytes that later runs can resume from."""
        total = sum(self._kept.values())
        for partial in list(self._taken.values()):
            # Blocked threads may close their files later.
            with suppress(OSError):
                total += held_bytes(os.fstat(partial.descriptor))
        return total

    def rename_into_place(self, partial: Partial, path: str, *, replace: bool) -> FileState | None:
        """Close a partial file, and move it to its path if allowed.

        Raises DestinationError. The file at the path is then unchanged.
        """
        parent, _, base = path.rpartition("/")
        with self._errors(path):
            partials = self.partials()
            partial.close()
            found = os.stat(partial.name, dir_fd=partials, follow_symlinks=False)
            with self.directory(parent, create=True) as directory:
                partial.committed = rename(
                    partial.name, base, above=partials, directory=directory, replace=replace
                )
        if not partial.committed:
            return None
        return FileState(found.st_size, found.st_mtime_ns)

    def adopt_link(
        self, partial: Partial, name: str, directory: int, found: os.stat_result
    ) -> bool:
        """Replace a partial file by a link to the file that was `found`."""
        partials, new = self.partials(), self.new_name()
        try:
            os.link(name, new, src_dir_fd=directory, dst_dir_fd=partials, follow_symlinks=False)
        except OSError:
            return False
        if not os.path.samestat(os.stat(new, dir_fd=partials, follow_symlinks=False), found):
            os.unlink(new, dir_fd=partials)
            return False
        os.replace(new, partial.name, src_dir_fd=partials, dst_dir_fd=partials)
        return True

    def link_partial(self, partial: Partial, name: str, directory: int) -> bool:
        """Give a partial file a second name; False if that fails."""
        try:
            os.link(
                partial.name,
                name,
                src_dir_fd=self.partials(),
                dst_dir_fd=directory,
                follow_symlinks=False,
            )
        except OSError:
            return False
        return True

    def new_name(self) -> str:
        """Return a new name for a partial file of this run."""
        return f"{next(self._numbers):x}"

    def partials(self) -> int:
        """Open this run's directory of partial files, and lock it.

        Returns a descriptor that stays open.
        """
        with self._lock:
            if self._partials is None:
                self._partials = self._make_partials()
            return self._partials

    def _make_partials(self) -> int:
        with self.directory(PARTIALS, create=True) as above:
            sweep(above)
            return claim(self._run, above)

    def folds_names(self) -> bool:
        """Report whether names that differ in case or Unicode form are the same."""
        with self._errors(STATE_DIRECTORY):
            return self._probe(self.partials())

    def _probe(self, directory: int) -> bool:
        for name, other in ((".probe-a", ".probe-A"), (".probe-\u00e9", ".probe-e\u0301")):
            os.close(os.open(name, NEW_FILE, 0o666, dir_fd=directory))
            try:
                os.stat(other, dir_fd=directory)
            except FileNotFoundError:
                continue
            finally:
                os.unlink(name, dir_fd=directory)
            return True
        return False

    def sync(self) -> None:
        """Write all data of this file system to the disk; raises OSError."""
        try:
            # One call syncs any number of files; Python has no function for it.
            call = ctypes.CDLL(None, use_errno=True).syncfs
        except (AttributeError, OSError):
            os.sync()
            return
        if call(self._fd) != 0:
            number = ctypes.get_errno()
            if number != errno.ENOSYS:
                raise OSError(number, os.strerror(number))
            os.sync()

    def close(self, *, busy: bool = False) -> None:
        """Remove this run's leftovers, and close.

        If threads are still `busy`, nothing that they write is committed any more. Descriptors stay
        open, because their numbers must not be reused for other directories.
        """
        if self._partials is not None:
            with suppress(OSError), self.directory(PARTIALS) as above:
                for name in os.listdir(self._partials):
                    self._put_away(name, above, self._partials)
                os.rmdir(self._run, dir_fd=above)
        if busy:
            return
        if self._partials is not None:
            os.close(self._partials)
            self._partials = None
        # If a broken disk reports an error only when a directory is closed, nothing is lost.
        with suppress(OSError):
            os.close(self._fd)

    def _put_away(self, name: str, above: int, run: int) -> None:
        partial = self._taken.get(name)
        if partial is None:
            os.unlink(name, dir_fd=run)
        else:
            # A thread may be blocked, and nothing can wait for it.
            partial.detach()
            keep(name, above, run)
