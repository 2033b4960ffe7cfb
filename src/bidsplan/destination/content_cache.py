"""The content cache: files that several destinations share, by digest.

The cache is never trusted. Each content is digested when it is used, in the very copy that becomes
the file. If a content does not match its name, it is removed, and the file is fetched. Only the
plan's own digests count. A size, or a checksum that only detects damage, does not prove a file that
other users may have written.
"""

from __future__ import annotations

import errno
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.destination.base import Stopped
from bidsplan.destination.cache_options import CacheLink
from bidsplan.destination.content_files import ContentFiles, content_keys, forbid_writing, note_use
from bidsplan.destination.content_queue import ContentQueue
from bidsplan.destination.content_space import ContentSpace
from bidsplan.destination.copying import Moved, can_link, chunks, clone, copy, holds_bytes
from bidsplan.destination.directory import write_all
from bidsplan.errors import BidsplanError, DestinationError, Problem
from bidsplan.messages import listed
from bidsplan.paths import printable
from bidsplan.plan.integrity import Checker, CheckMethod, best_check, check_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from typing_extensions import Buffer

    from bidsplan.destination.base import Writer
    from bidsplan.destination.cache_options import CacheOptions
    from bidsplan.destination.content_files import ContentKey
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict

_KINDS = {
    CheckMethod.SHA256: "sha256",
    CheckMethod.MD5: "md5",
    CheckMethod.ETAG_MD5: "md5",
    CheckMethod.MULTIPART: "parts",
}
"""The checks that prove a content, each with the kind of its key."""

_LEAST_LINKED = 4 << 20
"""The smallest content that is linked; copying smaller ones is faster."""


class _UnreadableError(Exception):
    """A cached file can't be read."""


class ContentCache:
    """The content cache of one run, for several threads.

    Parameters
    ----------
    stopping : callable
        Called often; returns whether to stop.
    root : str or None
        The destination, if it is a directory: the cache leaves space for its files.
    plan : Planned
        The plan that is fetched.

    Attributes
    ----------
    queue : ContentQueue
        Small contents that wait to be added.
    """

    def __init__(
        self, options: CacheOptions, stopping: Callable[[], bool], root: str | None, plan: Planned
    ) -> None:
        self._options = options
        self._hard = options.link is CacheLink.HARD
        self._stopping = stopping
        self._space = ContentSpace(options.max_bytes, root, plan)
        self._lock = Lock()
        self._opened = False
        self._files: ContentFiles | None = None
        self._adding = False
        self.queue = ContentQueue(self.add_small)
        self._damaged: list[str] = []
        self._trouble: str | None = None

    def _open(self) -> ContentFiles | None:
        """Open the cache on first use; None if it can't be used."""
        with self._lock:
            if self._opened:
                return self._files
            self._opened = True
            try:
                directory = os.fspath(self._options.directory)
                files = ContentFiles(directory, create=self._options.create)
            except DestinationError as error:
                self._trouble = str(error)
                return None
            self._files, self._adding = files, files.writable
            return files

    def may_have(self, entry: Entry) -> bool:
        """Report quickly whether the cache may have an entry's content."""
        files = self._open()
        return files is not None and any(map(files.has, content_keys(entry)))

    def read_small(self, entry: Entry) -> tuple[Buffer, Verdict] | None:
        """Return an entry's content with its verdict, if the cache has it."""
        with closing(self._contents(entry)) as contents:
            for key, descriptor in contents:
                with suppress(_UnreadableError):
                    data = self._read(descriptor, 0, entry.size + 1)
                    verdict = check_whole(entry, data)
                    if self._accepts(key, descriptor, entry, verdict):
                        return data, verdict
        return None

    def fill(self, entry: Entry, writer: Writer, copied: Callable[[int], None]) -> Verdict | None:
        """Write an entry's content from the cache, if the cache has it.

        Parameters
        ----------
        copied : callable
            Called with numbers of bytes, which are negative if bytes turn out to be unusable.

        Raises
        ------
        OSError, DestinationError, StorageError
            If it can't be written.
        Stopped
        """
        with closing(self._contents(entry)) as contents:
            for key, descriptor in contents:
                moved = Moved(copied)
                try:
                    verdict = self._move(key, descriptor, entry, writer, moved)
                    if self._accepts(key, descriptor, entry, verdict):
                        return verdict
                except _UnreadableError:
                    pass
                except BaseException:
                    moved.revert()
                    raise
                moved.revert()
        return None

    def _contents(self, entry: Entry) -> Generator[tuple[ContentKey, int], None, None]:
        """Yield the keys and open files of an entry's cached contents."""
        files = self._open()
        for key in content_keys(entry):
            if files is None:
                return
            try:
                descriptor = files.open(key)
            except OSError as error:
                self._fail(error, "read")
                continue
            if descriptor is None:
                continue
            if descriptor < 0:
                self._discard(key)
                continue
            try:
                yield key, descriptor
            finally:
                os.close(descriptor)

    def _move(
        self, key: ContentKey, descriptor: int, entry: Entry, writer: Writer, moved: Moved
    ) -> Verdict:
        """Copy or link a content to a writer's file, and digest it."""
        if self._links(key) and can_link(descriptor, writer):
            verdict = self._linked(key, descriptor, entry, writer, moved)
            if verdict is not None:
                return verdict
            moved.revert()
        elif holds_bytes(writer):
            # The bytes of an earlier run are only replaced by a content that is right.
            verdict = self._digest(entry, descriptor, again=descriptor)
            if not _is_proof(verdict):
                return verdict
        writer.restart()
        verdict = self._copied(descriptor, entry, writer, moved)
        if not _is_proof(verdict):
            writer.restart()
        return verdict

    def _copied(self, descriptor: int, entry: Entry, writer: Writer, moved: Moved) -> Verdict:
        """Copy a file, and digest the copy."""
        into = writer.descriptor()
        if into is not None and clone(descriptor, into):
            return self._digest(entry, into, moved, again=into)
        try:
            return self._digest(entry, descriptor, writer.write, moved, again=into)
        except _UnreadableError:
            writer.restart()
            raise

    def _links(self, key: ContentKey) -> bool:
        return self._hard and key.size >= _LEAST_LINKED

    def _linked(
        self, key: ContentKey, descriptor: int, entry: Entry, writer: Writer, moved: Moved
    ) -> Verdict | None:
        """Link a writer's file to a right cached file; None without links."""
        assert self._files is not None  # noqa: S101 - for the type checker
        try:
            mode = forbid_writing(descriptor)
        except OSError:
            return None
        verdict = self._digest(entry, descriptor, moved, again=descriptor)
        if not _is_proof(verdict):
            return verdict
        with suppress(OSError), self._files.directory(key.place) as directory:
            if writer.link(key.name, directory, os.fstat(descriptor)):
                return verdict
        with suppress(OSError):
            os.fchmod(descriptor, mode)
        return None

    def _digest(
        self,
        entry: Entry,
        descriptor: int,
        *takers: Callable[[bytes], object],
        again: int | None = None,
    ) -> Verdict:
        """Digest a file, and pass on its bytes.

        Parameters
        ----------
        again : int, optional
            A descriptor from which the same bytes can be read again, after they were passed on. The
            parts can then be digested in parallel.
        """
        checker = Checker(entry)
        pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="bidsplan-digest")
        if again is not None:
            checker.digest_aside(functools.partial(self._read, again), pool)
        try:
            for chunk in chunks(functools.partial(self._read, descriptor), entry.size):
                for take in takers:
                    take(chunk)
                checker.update(chunk)
            return checker.verdict()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, descriptor: int, start: int, stop: int) -> bytes:
        if self._stopping():
            raise Stopped
        try:
            return os.pread(descriptor, stop - start, start)
        except OSError as error:
            self._fail(error, "read")
            raise _UnreadableError from error

    def _accepts(self, key: ContentKey, descriptor: int, entry: Entry, verdict: Verdict) -> bool:
        """Report whether a content is the planned one; discard damaged ones."""
        if _is_proof(verdict):
            note_use(descriptor)
            self._space.written(entry.size)
            return True
        if key == content_keys(entry)[0] or not self._is_as_named(key, descriptor):
            self._discard(key)
        return False

    def _is_as_named(self, key: ContentKey, descriptor: int) -> bool:
        return _is_proof(self._digest(key.entry(), descriptor, again=descriptor))

    def _discard(self, key: ContentKey) -> None:
        self._damaged.append(key.name)
        if self._files is not None:
            self._files.discard(key)

    def add_small(self, entry: Entry, verdict: Verdict, data: Buffer) -> None:
        """Add a content that was proved."""
        if self._stopping():
            return
        key = _key_of(entry, verdict)

        def write(descriptor: int) -> bool:
            write_all(descriptor, data)
            return True

        self._space.written(entry.size)
        if key is not None and not self._space.is_too_large(key.size):
            self._add(key, write)

    def add_file(self, entry: Entry, verdict: Verdict, writer: Writer) -> None:
        """Add a proved file that is not at its path yet."""
        source = writer.descriptor()
        if source is None or self._open() is None or not self._adding:
            return
        if verdict.proof is CheckMethod.CHECKSUM and best_check(entry) is CheckMethod.MULTIPART:
            # So far, the storage's checksum was enough, so the parts were not digested.
            with suppress(_UnreadableError, Stopped):
                verdict = self._digest(entry, source, again=source)
        key = _key_of(entry, verdict)
        self._space.written(entry.size)
        if key is None or self._space.is_too_large(key.size):
            return
        if not (self._links(key) and self._link_in(key, source, writer)):
            self._add(key, lambda target: copy(source, target, self._stopping))

    def _link_in(self, key: ContentKey, source: int, writer: Writer) -> bool:
        """Link a writer's file into the cache; False if that fails."""
        assert self._files is not None  # noqa: S101 - for the type checker
        with suppress(OSError), self._files.directory(key.place, create=True) as directory:
            # The directory of partial files shows later runs whether this run was killed.
            self._files.partials()
            mode = forbid_writing(source)
            if writer.link_as(key.name, directory):
                self._space.added(self._files, key.size, self._stopping)
                return True
            os.fchmod(source, mode)
        return False

    def _add(self, key: ContentKey, write: Callable[[int], bool]) -> None:
        files = self._open()
        if files is None or not self._adding:
            return
        try:
            if not self._space.fits(files, key.size):
                raise OSError(
                    errno.ENOSPC, "no room left besides that of the files still to be fetched"
                )
            if files.add(key, write):
                self._space.added(files, key.size, self._stopping)
        except (OSError, BidsplanError) as error:
            self._adding = False
            self._fail(error, "written")

    def _fail(self, error: Exception, what: str) -> None:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self._trouble = self._trouble or f"it can't be {what}: {why}"

    def finish(self) -> Generator[Problem, None, None]:
        """Note the added contents, and yield any problems."""
        self.queue.wait(self._stopping)
        if self.queue.trouble is not None:
            self._fail(self.queue.trouble, "written")
        if self._files is not None:
            self._settle(self._files)
        where = printable(str(self._options.directory))
        if self._damaged:
            names = listed(sorted(set(self._damaged)))
            yield Problem(
                message=f"content cache {where}: damaged files were found and not used: {names}",
                hint="they were fetched from the source",
            )
        if self._trouble:
            yield Problem(
                message=f"content cache {where}: {self._trouble}",
                hint="the files were fetched and checked without it",
            )

    def _settle(self, files: ContentFiles) -> None:
        try:
            self._space.settle(files, self._stopping)
        except (OSError, BidsplanError) as error:
            self._fail(error, "written")

    def close(self, *, busy: bool) -> None:
        """Close the cache; `busy` threads can't add to it any more.

        In that case, descriptors stay open, because their numbers must not be reused for other
        files.
        """
        adding = self.queue.close()
        with self._lock:
            files, self._files, self._opened = self._files, None, True
            self._adding = False
        if files is not None:
            # If a run is closed before its end, its added contents are not noted yet.
            self._settle(files)
            files.close(busy=busy or adding)


def _is_proof(verdict: Verdict) -> bool:
    return verdict.holds and verdict.proof in _KINDS


def _key_of(entry: Entry, verdict: Verdict) -> ContentKey | None:
    """Return the key of a content, from the verdict of its check."""
    kind = _KINDS.get(verdict.proof) if verdict.holds else None
    return next((key for key in content_keys(entry) if key.kind == kind), None)
