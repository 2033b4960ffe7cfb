"""Limits the size of a content cache by removing what was least used."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import closing, contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.destination.content_files import ContentFiles, Removed, room_of
from bidsplan.destination.directory import destination_error
from bidsplan.destination.free_space import missing_bytes
from bidsplan.errors import Choice
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.destination.cache_options import CacheOptions
    from bidsplan.destination.content_files import Held
    from bidsplan.plan import Planned

_SPARE = 0.1
"""The part of the size that is freed in addition, so that files are rarely counted."""

_STEPS = 20
"""The number of parts of the cache's size; the cache is checked after each added part."""

_PAUSE = 0.2
"""Seconds between two attempts to count while another run is counting."""

_SECOND = 1_000_000_000


class ContentSpace:
    """Decides whether a run may add contents, and makes room for them.

    Parameters
    ----------
    most : int or None
        The size above which the least recently used contents are removed.
    root : str or None
        The destination, if it is a directory: the cache leaves space for its files.
    plan : Planned
        The plan that is fetched.
    """

    def __init__(self, most: int | None, root: str | None, plan: Planned) -> None:
        self._most = most
        self._root = root
        self._plan = plan
        self._reserved: int | None = None
        self._new = 0
        self._lock = Lock()

    def fits(self, files: ContentFiles, size: int) -> bool:
        """Report whether the destination's files still fit after adding a content.

        Raises OSError.
        """
        if self._root is None or not files.shares_disk(self._root):
            return True
        free = files.free_bytes() - size
        with self._lock:
            reserved = self._plan.header.bytes if self._reserved is None else self._reserved
            if free < reserved and self._reserved is None:
                # All planned files are only checked if space is scarce.
                self._reserved = reserved = missing_bytes(self._root, self._plan)
        return free >= reserved

    def is_too_large(self, size: int) -> bool:
        """Report whether a content is larger than the cache may be."""
        return self._most is not None and room_of(size) > self._most

    def written(self, size: int) -> None:
        """Note that a planned file's bytes are in the destination."""
        with self._lock:
            if self._reserved is not None:
                self._reserved -= size

    def added(self, files: ContentFiles, size: int, stopping: Callable[[], bool]) -> None:
        """Count added bytes, and sometimes make room; raises OSError."""
        with self._lock:
            self._new += room_of(size)
            due = self._most is not None and self._new >= self._most // _STEPS
        if due:
            self.settle(files, stopping)

    def settle(self, files: ContentFiles, stopping: Callable[[], bool]) -> None:
        """Write down the added bytes, and reduce the cache; raises OSError."""
        with self._lock:
            new, self._new = self._new, 0
        if not new:
            return
        files.note_added(new)
        held = files.estimate()
        if self._most is not None and held > self._most and not stopping():
            reduce_to(files, self._most)


class CacheTask(Choice):
    """What to do with a content cache.

    Attributes
    ----------
    COUNT
        Count the contents.
    PRUNE
        Remove the least recently used contents, if the cache is too large.
    CLEAR
        Remove all contents.
    """

    COUNT = "count"
    PRUNE = "prune"
    CLEAR = "clear"


def manage_cache(options: CacheOptions, task: CacheTask) -> Removed:
    """Count or remove a cache's contents, also while runs use it.

    Raises
    ------
    DestinationError
        If the directory can't be opened or written.
    """
    root = os.fspath(options.directory)
    with closing(ContentFiles(root, create=False)) as files:
        try:
            if task is CacheTask.COUNT:
                by_second, number = _counted(files)
                return Removed(0, 0, number, sum(by_second.values()), len(files.unread))
            most = 0 if task is CacheTask.CLEAR else options.max_bytes
            while (removed := reduce_to(files, most or 0)) is None:
                # Another run is counting, which takes seconds.
                time.sleep(_PAUSE)
            return removed
        except OSError as error:
            raise destination_error(error, printable(root)) from error


def reduce_to(files: ContentFiles, most: int) -> Removed | None:
    """Remove least recently used contents until the cache fits a size.

    If the contents fit, nothing is removed. Otherwise they take at most nine tenths of `most`
    afterwards.

    Returns
    -------
    Removed or None
        None if another run is doing this.
    """
    with _alone(files) as alone:
        if not alone:
            return None
        notes = files.added()
        by_second, number = _counted(files)
        total = sum(by_second.values())
        removed = size = 0
        if total > most:
            removed, size = _remove_oldest(files, by_second, total - int(most * (1 - _SPARE)))
        if notes or total:
            files.replace_notes(notes, total - size)
        failed = files.not_removed + len(files.unread)
        return Removed(removed, size, number - removed, total - size, failed)


@contextmanager
def _alone(files: ContentFiles) -> Iterator[bool]:
    """Stop other runs from counting at the same time, if locks work."""
    with files.directory("") as directory:
        # The file is opened again, because a duplicate descriptor would share the lock.
        own = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            yield _is_locked(own)
        finally:
            os.close(own)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Without locks, two runs may remove more than necessary.
        logging.getLogger(__name__).debug("no lock on a content cache: %s", error)
    return True


def _counted(files: ContentFiles) -> tuple[dict[int, int], int]:
    """Sum up bytes by the second of their last use."""
    by_second: dict[int, int] = {}
    number = 0
    for number, each in enumerate(files.held(), 1):  # noqa: B007 - the last one counts
        second = each.used_ns // _SECOND
        by_second[second] = by_second.get(second, 0) + room_of(each.size)
    return by_second, number


def _remove_oldest(files: ContentFiles, by_second: dict[int, int], excess: int) -> tuple[int, int]:
    """Remove at least `excess` bytes, the oldest contents first."""
    border, before = 0, 0
    for border in sorted(by_second):
        if before + by_second[border] >= excess:
            break
        before += by_second[border]
    number = size = 0
    last: list[Held] = []
    for each in files.held():
        if each.used_ns // _SECOND < border:
            done = files.remove(each)
            number, size = number + done, size + room_of(each.size) * done
        elif each.used_ns // _SECOND == border:
            last.append(each)
    for each in sorted(last, key=lambda held: (held.used_ns, held.name)):
        if size >= excess:
            break
        done = files.remove(each)
        number, size = number + done, size + room_of(each.size) * done
    return number, size
