"""SHA-256 digests of sources, from an earlier plan or by reading them."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from bidsplan.compile.survey.sources import errors_at
from bidsplan.errors import Problem, SourceChangedError
from bidsplan.events import Digested, Digesting, Progressed
from bidsplan.paths import printable
from bidsplan.plan.integrity import CheckMethod, best_check
from bidsplan.storage.places import place_of
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned, Root
    from bidsplan.storage import Access, Store
    from bidsplan.storage.file_state import FileVersion


_TOGETHER = 10_000
"""The number of entries whose sources are read at a time."""


def carry_digests(
    context: Context, entries: Iterable[Entry], previous: Planned, directory: Path
) -> Iterator[Entry]:
    """Yield entries with the digests of the same objects in an earlier plan.

    A digest is copied if place, size, entity tag and version are equal; local files have no tag. An
    entry with a SHA-256 keeps its own. A warning is added if digests are lost because files come
    from another place. The earlier plan's relative URLs are relative to the given directory.
    """
    roots = context.roots
    known: dict[tuple[object, ...], tuple[str | None, str | None]] = {}
    by_path: dict[str, tuple[object, ...]] = {}
    identity = _identities(previous.header.roots, roots.access, directory)
    for entry in previous.entries:
        if entry.content is None and (entry.md5 or entry.sha256):
            known[identity(entry)] = (entry.md5, entry.sha256)
            by_path[entry.path] = _state(entry)
    if not known:
        yield from entries
        return
    lost = 0
    identity = _identities(roots.listed, roots.access, roots.plan_directory)
    for entry in entries:
        if entry.content is not None or entry.sha256 is not None:
            yield entry
        elif found := known.get(identity(entry)):
            yield msgspec.structs.replace(entry, md5=found[0], sha256=found[1])
        else:
            lost += by_path.get(entry.path) == _state(entry)
            yield entry
    if lost:
        problem = Problem(
            message=f"{lost} digests of the earlier plan are not carried over: its files "
            "come from another place than those of this plan",
            hint="where they are the same files, fetch and pin the plan again, or compile it "
            "with --digest",
        )
        context.report.warn(problem)


def _identities(
    roots: Sequence[Root], access: Access, directory: Path
) -> Callable[[Entry], tuple[object, ...]]:
    """Return a function that identifies objects, however their root is spelt."""
    prefixes = [place_of(root.url, access, directory).prefix for root in roots]
    return lambda entry: (prefixes[entry.root] + entry.key, *_state(entry))


def _state(entry: Entry) -> tuple[object, ...]:
    return entry.size, entry.etag, entry.version


def add_digests(context: Context, entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield entries, and add a SHA-256 if only the size is known.

    Raises SourceChangedError if a source is not the one that was listed.
    """
    files = size = 0
    for entry in entries:
        if best_check(entry) is CheckMethod.SIZE:
            files, size = files + 1, size + entry.size
    context.report.add_event(Digesting(files=files, bytes=size))
    further = iter(entries)
    with closing(DigestCache()) as cache:
        while some := list(islice(further, _TOGETHER)):
            wanted = [entry for entry in some if best_check(entry) is CheckMethod.SIZE]
            digested = iter(context.lister.each(partial(_digest, context, cache), wanted))
            for entry in some:
                yield next(digested) if best_check(entry) is CheckMethod.SIZE else entry


def _digest(context: Context, cache: DigestCache, entry: Entry) -> Entry:
    with errors_at(context.roots.place(entry.root)):
        return _digest_source(context, cache, entry)


def _digest_source(context: Context, cache: DigestCache, entry: Entry) -> Entry:
    store, notify = context.roots.store(entry.root), context.report.add_event
    version = store.file_version(entry.key)
    if version is not None and version.size != entry.size:
        raise _changed(entry, f"{entry.size} bytes were listed, and it has {version.size}")
    known = sha256 = cache.find(version)
    if sha256 is not None:
        notify(Progressed(entry=entry, bytes=entry.size))
    else:
        began = time.time_ns()
        sha256 = retrying()(_read, entry, store, notify)
        if store.file_version(entry.key) != version:
            raise _changed(entry, "it changed while it was read")
        cache.add(version, sha256, began)
    done = msgspec.structs.replace(entry, sha256=sha256)
    notify(Digested(entry=done, cached=known is not None))
    return done


def _read(entry: Entry, store: Store, notify: Callable[[Event], None]) -> str:
    """Read a source once, and return its SHA-256."""
    digest, arrived = hashlib.sha256(), 0
    try:
        with closing(store.stream(entry.key, etag=entry.etag, version=entry.version)) as stream:
            for chunk in stream:
                digest.update(chunk)
                length = memoryview(chunk).nbytes
                arrived += length
                notify(Progressed(entry=entry, bytes=length))
                if arrived > entry.size:
                    break
        if arrived != entry.size:
            got = f"more than {entry.size}" if arrived > entry.size else f"{arrived}"
            raise _changed(entry, f"{entry.size} bytes were listed, and {got} came")
    except BaseException:
        notify(Progressed(entry=entry, bytes=-arrived))
        raise
    return digest.hexdigest()


def _changed(entry: Entry, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{printable(entry.path)}: its source has changed since it was listed: {how}; compile again"
    )


_NAME = "digests-1.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS digests (
    device TEXT, inode TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT,
    PRIMARY KEY (device, inode)) WITHOUT ROWID"""
_FIND = """SELECT sha256 FROM digests
    WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?"""
_ADD = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)"
_SHA256 = re.compile(r"[0-9a-f]{64}")

_YOUNG_NS = 2_000_000_000
"""Nanoseconds in which a file can change without new times, on coarse file systems."""

_PATIENCE = 2.0
"""Seconds to wait for another process that writes."""

_INTERVAL = 1.0
"""Seconds after which digests are written, so that a stopped run keeps most of them."""


class DigestCache:
    """The user's cache of digests of local files, by file version.

    Several threads may use the cache. Its errors are ignored; the files are then read again.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[tuple[str | int, ...]] = []
        self._written = time.monotonic()
        self._database: sqlite3.Connection | None = None
        with self._used():
            self._database = _open_database()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Stop using the cache if it fails."""
        import sqlite3  # only --digest needs it

        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError, RuntimeError, OverflowError):
                self._database = None

    def find(self, version: FileVersion | None) -> str | None:
        """Return the digest of a file that has not changed since."""
        if version is None:
            return None
        with self._used():
            if self._database is not None:
                found = self._database.execute(_FIND, _columns(version)).fetchone()
                if found and _SHA256.fullmatch(str(found[0])):
                    return str(found[0])
        return None

    def add(self, version: FileVersion | None, sha256: str, began_ns: int) -> None:
        """Keep a file's digest, unless it was modified just before it was read."""
        if version is None or max(version.mtime_ns, version.ctime_ns) > began_ns - _YOUNG_NS:
            return
        with self._used():
            self._waiting.append((*_columns(version), sha256))
            if time.monotonic() - self._written > _INTERVAL:
                self._write()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._database is not None and waiting:
            with self._database:
                self._database.executemany(_ADD, waiting)
        self._written = time.monotonic()

    def close(self) -> None:
        """Write the digests that are not written yet."""
        with self._used():
            self._write()
            if self._database is not None:
                self._database.close()
                self._database = None


def _columns(version: FileVersion) -> tuple[str | int, ...]:
    # Device and inode numbers may exceed the integers of a database.
    return (str(version.device), str(version.inode), *version[2:])


def _open_database() -> sqlite3.Connection:
    import sqlite3

    home = os.environ.get("XDG_CACHE_HOME", "")
    above = Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()
    folder = above / "bidsplan"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = sqlite3.connect(folder / _NAME, timeout=_PATIENCE, check_same_thread=False)
    database.execute(_TABLE)
    return database
