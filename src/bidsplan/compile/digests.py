"""Reading sources for the digests that nothing else tells."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from bidsplan.compile.digest_cache import DigestCache
from bidsplan.errors import SourceChangedError
from bidsplan.events import Digested, Digesting, Progressed
from bidsplan.paths import printable
from bidsplan.plan.integrity import CheckMethod, best_check
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.plan import Entry
    from bidsplan.storage import Store
    from bidsplan.storage.file_state import FileVersion


def add_digests(context: Context, entries: Sequence[Entry]) -> list[Entry]:
    """Give entries the SHA-256 of their sources where only their size would prove them.

    Returns
    -------
    list of Entry
        In the same order.

    Raises
    ------
    SourceChangedError
        Where a source is another one than was listed.
    StorageError
        Where one can't be read.
    """
    wanted = [entry for entry in entries if best_check(entry) is CheckMethod.SIZE]
    size = sum(entry.size for entry in wanted)
    context.report.add_event(Digesting(files=len(wanted), bytes=size))
    with closing(DigestCache()) as cache:
        reader = _Reader(context, cache)
        digests = iter(context.lister.each(reader.digest, wanted))
    return [next(digests) if best_check(entry) is CheckMethod.SIZE else entry for entry in entries]


class _Reader:
    """Reads sources, each once."""

    def __init__(self, context: Context, cache: DigestCache) -> None:
        self._roots = context.roots
        self._tell = context.report.add_event
        self._cache = cache

    def digest(self, entry: Entry) -> Entry:
        """Give an entry its source's SHA-256."""
        store = self._roots.store(entry.root)
        version = store.file_version(entry.key)
        if version is not None and version.size != entry.size:
            raise _changed(entry, f"{entry.size} bytes were listed, and it has {version.size}")
        known = self._cache.find(version)
        if known is not None:
            self._tell(Progressed(entry=entry, bytes=entry.size))
        sha256 = known or self._digested(entry, store, version)
        done = msgspec.structs.replace(entry, sha256=sha256)
        self._tell(Digested(entry=done, cached=known is not None))
        return done

    def _digested(self, entry: Entry, store: Store, version: FileVersion | None) -> str:
        began = time.time_ns()
        sha256: str = retrying()(self._read, entry, store)
        if store.file_version(entry.key) != version:
            raise _changed(entry, "it was written to while it was read")
        self._cache.add(version, sha256, began)
        return sha256

    def _read(self, entry: Entry, store: Store) -> str:
        digest, arrived = hashlib.sha256(), 0
        try:
            with closing(store.stream(entry.key, etag=entry.etag, version=entry.version)) as stream:
                for chunk in stream:
                    digest.update(chunk)
                    length = memoryview(chunk).nbytes
                    arrived += length
                    self._tell(Progressed(entry=entry, bytes=length))
                    if arrived > entry.size:
                        break
            if arrived != entry.size:
                got = f"more than {entry.size}" if arrived > entry.size else f"{arrived}"
                raise _changed(entry, f"{entry.size} bytes were listed, and {got} came")
        except BaseException:
            self._tell(Progressed(entry=entry, bytes=-arrived))
            raise
        return digest.hexdigest()


def _changed(entry: Entry, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{printable(entry.path)}: its source has changed since it was listed: {how}; compile again"
    )
