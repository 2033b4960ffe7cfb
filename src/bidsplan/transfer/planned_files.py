"""Reads a plan's files from their sources, without fetching them."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from bidsplan.errors import StorageError
from bidsplan.paths import parents
from bidsplan.plan.file import read_plan
from bidsplan.plan.model import ENCODER
from bidsplan.plan.tree import PlanTree
from bidsplan.transfer.planned_ranges import GeneratedRanges, PlannedRanges
from bidsplan.transfer.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.storage import Access
    from bidsplan.storage.file_state import FileVersion


_PLANS_KEPT = 4
"""The number of plans that are kept, so that paths of the same plan do not read it again."""


class HeldPlan:
    """A plan in memory, which its digest identifies.

    fsspec converts every argument to text, and a plan may have a million entries.
    """

    def __init__(self, plan: Planned) -> None:
        self.plan = plan
        self._digest = hashlib.sha256(ENCODER.encode(plan.header)).hexdigest()

    def __repr__(self) -> str:
        return f"<plan {self._digest}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldPlan) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


class PlannedFiles:
    """A plan's files, and the stores that contain their bytes."""

    def __init__(self, plan: Planned, access: Access, base: str) -> None:
        self.digest = plan.header.entries_sha256
        self.tree = PlanTree(tuple(plan.entries))
        self._header = plan.header
        self._access, self._base = access, base
        self._roots: tuple[int, Roots] | None = None

    def url(self, entry: Entry) -> str | None:
        """Return the URL of an entry's root; None for a generated file."""
        return self._header.roots[entry.root].url if entry.content is None else None

    def ranges(self, entry: Entry) -> PlannedRanges | GeneratedRanges:
        """Open an entry for reading."""
        if entry.content is not None:
            return GeneratedRanges(entry.content)
        roots = self._opened()
        try:
            return PlannedRanges(entry, roots.store(entry.root))
        except StorageError:
            # Roots open each store only once. In a notebook, the cause of a failure may be gone the
            # next time.
            self._roots = None
            raise

    def _opened(self) -> Roots:
        found = self._roots
        # Connections can't be used after a fork.
        if found is None or found[0] != os.getpid():
            roots = Roots(self._header.roots, self._access, self._base, lambda _: None)
            self._roots = found = os.getpid(), roots
        return found[1]

    def copy(self, entry: Entry, file: IO[bytes], progress: Callable[[int], object]) -> None:
        """Write an entry's bytes to a file, and check them."""
        ranges, start = self.ranges(entry), file.tell()

        def attempt() -> None:
            done = 0
            file.seek(start)
            for piece in ranges.whole():
                file.write(piece)
                done += len(piece)
                progress(done)

        ranges.retried(attempt)


class PlannedPath(NamedTuple):
    """A path in a plan, which may be part of a longer path."""

    files: PlannedFiles
    start: str
    path: str

    def name(self, found: Entry | str) -> str:
        """Return the path of a file or directory in the file system."""
        path = found if isinstance(found, str) else found.path
        return f"{self.start}/{path}".rstrip("/") if self.start else path

    def info(self, found: Entry | str) -> dict[str, Any]:
        """Return the plan's fields of a file or directory."""
        if isinstance(found, str):
            return {"name": self.name(found), "size": 0, "type": "directory"}
        names = ("size", "etag", "version", "md5", "sha256", "reason", "key")
        fields = {name: getattr(found, name) for name in names}
        return {"name": self.name(found), "type": "file", **fields, "url": self.files.url(found)}

    def found(self) -> Entry | str:
        """Return the file's entry or the directory's path; raises OSError if absent."""
        tree, path = self.files.tree, self.path
        if (entry := tree.entry(path)) is not None:
            return entry
        if tree.is_directory(path):
            return path
        if any(tree.entry(above) is not None for above in parents(path)):
            raise NotADirectoryError(errno.ENOTDIR, "it is below a file", self.name(path))
        message = "the plan has no such file or directory"
        raise FileNotFoundError(errno.ENOENT, message, self.name(path))

    def entry(self) -> Entry:
        """Return the file's entry; raises OSError if it does not exist."""
        found = self.found()
        if isinstance(found, str):
            message = "expected a file, got a directory"
            raise IsADirectoryError(errno.EISDIR, message, self.name(found))
        return found

    def below(self, maxdepth: int | None, *, withdirs: bool) -> Iterator[Entry | str]:
        """Yield files and, if wanted, directories, some of them repeatedly."""
        tree, path = self.files.tree, self.path
        skip = len(path) + 1 if path else 0
        if (entry := tree.entry(path)) is not None:
            yield entry
        elif withdirs and self.name(path) and tree.is_directory(path):
            yield path
        above = None
        for entry in tree.below(path):
            if maxdepth is None or entry.path.count("/", skip) < maxdepth:
                yield entry
            directory = entry.path.rpartition("/")[0]
            if withdirs and directory != above:
                above = directory
                for name in parents(entry.path):
                    if len(name) >= skip and (maxdepth is None or name.count("/", skip) < maxdepth):
                        yield name


@functools.lru_cache(maxsize=_PLANS_KEPT)
def open_planned_files(
    source: str | HeldPlan, _state: FileVersion | None, access: Access, base: str
) -> PlannedFiles:
    """Read a plan, or reuse it if its file has not changed."""
    plan = source.plan if isinstance(source, HeldPlan) else read_plan(source)
    return PlannedFiles(plan, access, base)
