"""Digests of local files that were read before, kept in the user's cache folder."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from bidsplan.storage.file_state import FileVersion


_NAME = "digests-1.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS digests (
    device TEXT, inode TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT,
    PRIMARY KEY (device, inode)) WITHOUT ROWID"""
_FIND = """SELECT sha256 FROM digests
    WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?"""
_ADD = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)"
_SHA256 = re.compile(r"[0-9a-f]{64}")

_YOUNG_NS = 2_000_000_000
"""Nanoseconds within which a file may change again and keep its times, on coarse file systems."""

_PATIENCE = 2.0
"""Seconds to wait for another process that writes."""

_INTERVAL = 1.0
"""Seconds after which digests are written, so that a run that is stopped keeps most of them."""


class DigestCache:
    """SHA-256 by what tells one state of a local file from all others.

    Notes
    -----
    May be used from several threads. It is only a cache: what goes wrong with it is ignored, and
    costs reading again.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[tuple[str | int, ...]] = []
        self._written = time.monotonic()
        self._database: sqlite3.Connection | None = None
        with self._used():
            self._database = _open()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Give the cache up for good when it fails."""
        import sqlite3  # only who asks for digests needs it

        try:
            yield
        except (sqlite3.Error, OSError, RuntimeError, OverflowError):
            self._database = None

    def find(self, version: FileVersion | None) -> str | None:
        """Give the digest of a file that has not changed since it was read."""
        if version is None:
            return None
        with self._lock, self._used():
            if self._database is not None:
                found = self._database.execute(_FIND, _columns(version)).fetchone()
                if found and _SHA256.fullmatch(str(found[0])):
                    return str(found[0])
        return None

    def add(self, version: FileVersion | None, sha256: str, began_ns: int) -> None:
        """Keep a digest.

        Parameters
        ----------
        version : FileVersion or None
            Which the file had before it was read, and after.
        began_ns : int
            When reading it began; what was modified just before is not kept.
        """
        if version is None or max(version.mtime_ns, version.ctime_ns) > began_ns - _YOUNG_NS:
            return
        with self._lock, self._used():
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
        """Write what is left."""
        with self._lock, self._used():
            self._write()
            if self._database is not None:
                self._database.close()
                self._database = None


def _columns(version: FileVersion) -> tuple[str | int, ...]:
    # Device and inode may be larger than the integers of a database.
    return (str(version.device), str(version.inode), *version[2:])


def _open() -> sqlite3.Connection:
    import sqlite3

    home = os.environ.get("XDG_CACHE_HOME", "")
    above = Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()
    folder = above / "bidsplan"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = sqlite3.connect(folder / _NAME, timeout=_PATIENCE, check_same_thread=False)
    database.execute(_TABLE)
    return database
