"""The lock of a destination: one run, or several runs of parts.

A lock avoids repeated work, but correctness does not depend on it. Every run writes to its own
partial files and renames them, so runs that can't see each other's locks also succeed. The kernel
releases a lock when its process ends, for whatever reason. The text in the lock file is only used
in messages.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from bidsplan.destination.directory import write_all
from bidsplan.destination.partial_files import is_at
from bidsplan.errors import LockedError, Problem
from bidsplan.events import Waiting, Warned
from bidsplan.paths import STATE_DIRECTORY, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from bidsplan.destination.directory import Directory


_NAME = "lock"
# Some network file systems allow an exclusive lock only for files open for writing.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST_NOTE = 1 << 10
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
"""Seconds between two attempts; while blocking in the kernel, a signal could be missed."""


class _Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a lock file about the run that holds it."""

    pid: int
    host: str
    since: str


class RunLock:
    """The lock of a destination.

    Attributes
    ----------
    exclusive : bool
        Whether this run does not share the lock.
    """

    def __init__(self, folder: Directory) -> None:
        self._folder = folder
        self._descriptor = -1
        self._shared = False
        self._trouble: OSError | None = None

    @property
    def exclusive(self) -> bool:  # noqa: D102 - see the class
        return self._descriptor >= 0 and not self._shared

    def acquire(
        self,
        *,
        wait: bool,
        shared: bool = False,
        create: bool = True,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Generator[Waiting | Warned, None, None]:
        """Take the lock, if locks work there; see `Destination.lock`."""
        pause, self._shared = _FIRST_PAUSE, shared
        while not self._is_settled(create=create):
            holder = self._holder()
            if not wait:
                raise LockedError(
                    f"{printable(self._folder.root)}: another run is active there{holder}; stop "
                    "it, or wait for it with --wait"
                )
            if pause == _FIRST_PAUSE:
                yield Waiting(holder=f"another run is active in {self._folder.root}{holder}")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if stopping():
                return
        if self._trouble is not None:
            yield _unlocked(self._trouble)

    def _is_settled(self, *, create: bool) -> bool:
        """Try once; returns whether the run has the lock or must do without."""
        try:
            with self._folder.directory(STATE_DIRECTORY, create=create) as directory:
                return self._try(directory) or self._is_settled(create=create)
        except BlockingIOError:
            return False
        except OSError as error:
            # If the directory does not exist or can't be written, no run can be working there.
            if error.errno not in {errno.ENOENT, errno.EROFS}:
                self._trouble = error
            return True

    def _try(self, directory: int) -> bool:
        """Lock the lock file; returns whether it still has its name."""
        descriptor = os.open(_NAME, _FLAGS, 0o666, dir_fd=directory)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise OSError(errno.EINVAL, "the lock is a link, or no plain file")
            kind = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if not is_at(descriptor, _NAME, directory):
                return False
            self._descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        self._note()
        return True

    def _note(self) -> None:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        holder = _Holder(pid=os.getpid(), host=os.uname().nodename, since=since)
        # On a full disk, the lock file has no text about its holder.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            write_all(self._descriptor, msgspec.json.encode(holder))

    def _holder(self) -> str:
        """Describe the run that holds the lock, if known."""
        note = self._read_note()
        if note is None:
            # The lock may have been acquired at this moment.
            time.sleep(_FIRST_PAUSE)
            note = self._read_note()
        if note is None:
            return ""
        return f" (process {note.pid} on {printable(note.host)}, since {printable(note.since)})"

    def _read_note(self) -> _Holder | None:
        try:
            with self._folder.reading(f"{STATE_DIRECTORY}/{_NAME}") as descriptor:
                return msgspec.json.decode(os.read(descriptor, _LONGEST_NOTE), type=_Holder)
        except (OSError, ValueError, RecursionError):
            return None

    def release(self) -> None:
        """Release the lock, if this run has it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # A killed run leaves its name in the lock file, and a run that ends normally does not.
            if not self._shared:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
            # The kernel releases the lock even if it reports an error.
            with suppress(OSError):
                os.close(descriptor)


def _unlocked(error: OSError) -> Warned:
    reason = error.strerror or str(error)
    message = (
        f"the destination cannot be locked ({reason}); another run at the same time is not detected"
    )
    hint = "both runs write correct files; some may be fetched twice"
    return Warned(problem=Problem(message=message, hint=hint))
