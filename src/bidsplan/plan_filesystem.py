"""A plan as a read-only fsspec file system: its paths, wherever their bytes are.

Listing it requests nothing. A file's bytes are requested where they are read, from the object that
is planned, and from no other.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fsspec.caching import BaseCache, register_cache
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.registry import register_implementation
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from fsspec.utils import isfilelike

from bidsplan.errors import StalePlanError, StorageError, UsageError
from bidsplan.paths import parents, printable, replacing
from bidsplan.plan.file import read_plan
from bidsplan.plan.model import ENCODER
from bidsplan.plan.tree import PlanTree
from bidsplan.storage.access import Access
from bidsplan.storage.file_state import file_version
from bidsplan.storage.ranges import FIRST, ReadAhead
from bidsplan.transfer.planned_ranges import GeneratedRanges, PlannedRanges
from bidsplan.transfer.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from bidsplan.plan import Entry, Planned
    from bidsplan.storage.file_state import FileVersion


_PLANS_KEPT = 4
"""Plans that are kept after they were read, so that URLs of the same plan don't read it again."""

_RANGES_AT_ONCE = 8
"""Requests at a time of one call for several ranges."""


def filesystem(
    plan: str | PathLike[str] | Planned,
    *,
    access: Access | None = None,
    base: str | PathLike[str] | None = None,
) -> PlanFileSystem:
    """Open a plan as a read-only fsspec file system, without fetching it.

    Parameters
    ----------
    plan : path or Plan
        Pickled by its path, if it is given by one; a Plan is pickled with all its entries.
    access : Access, optional
        How storage may be reached. It holds no credentials; they are found where bytes are read.
    base : path, optional
        The directory that relative URLs of the plan are relative to; by default the directory of
        the plan's file, and the current directory for a Plan.

    Returns
    -------
    PlanFileSystem
        A `fsspec.AbstractFileSystem`, whose paths are those of the dataset, such as
        ``sub-01/anat/sub-01_T1w.nii.gz``.

    Raises
    ------
    PlanError
        Where the plan can't be read, or is truncated, edited, unsafe or no plan at all.

    Examples
    --------
    >>> import bidsplan
    >>> fs = bidsplan.filesystem("manifests/demo.plan.jsonl")
    >>> fs.glob("sub-*/anat/*_T1w.nii.gz")[0]
    'sub-02/anat/sub-02_T1w.nii.gz'
    """
    return PlanFileSystem(plan, access=access, base=base)


class PlanFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """A plan as a read-only fsspec file system; see `filesystem`.

    Parameters
    ----------
    plan : path or Plan
    access, base
        As of `filesystem`.
    entries_sha256 : str, optional
        The digest in the plan's header; a plan that has another is refused. It is pickled.
    fo, target_protocol, target_options
        The plan's path and protocol in a chained URL, such as
        ``bidsplan://sub-01/anat::file:///study/study.plan.jsonl``.

    Notes
    -----
    It may be used from several threads at once. What the plan says of a file is in its `info`.
    Paths that are not planned raise the builtin errors of files, and whatever the storage refuses
    is a StorageError, an OSError too.
    """

    protocol = "bidsplan"
    # Instances would outlive a change of the plan's file; what is costly is kept by `_opened`.
    cachable = False

    def __init__(
        self,
        plan: str | PathLike[str] | Planned | _Held | None = None,
        *,
        access: Access | None = None,
        base: str | PathLike[str] | None = None,
        entries_sha256: str | None = None,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: object = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        source = _source(plan if plan is not None else fo, target_protocol)
        named = isinstance(source, str)
        folder = os.path.dirname(source) if isinstance(source, str) else "."  # noqa: PTH120 - text
        base = os.path.abspath(folder if base is None else base)  # noqa: PTH100 - as above
        access = access or Access()
        state = file_version(source) if isinstance(source, str) else None
        self._planned = _opened(source, state, access, base)
        digest = self._planned.digest
        if entries_sha256 not in {None, digest}:
            where = f"{printable(source)}: " if isinstance(source, str) else ""
            raise StalePlanError(
                f"{where}the plan is another one than this file system was opened for; expected "
                f"entries_sha256 {printable(str(entries_sha256))}, got {digest}"
            )
        self._options: dict[str, Any] = {
            "plan": source,
            "access": access,
            "base": base,
            "entries_sha256": digest if named else None,
        }

    @property
    def _fs_token(self) -> str:
        """What makes file systems equal: the same on each machine, unlike fsspec's own."""
        access = self._options["access"]
        plain = replace(access, allow_protocols=frozenset())
        parts = (self._planned.digest, self._options["base"], plain, sorted(access.allow_protocols))
        return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._options), ()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/")

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        """List what is directly below a directory, or a file itself; see fsspec."""
        path = self._strip_protocol(path)
        tree = self._planned.tree
        if (entry := tree.entry(path)) is not None:
            found = [self._info(entry)]
        elif tree.is_directory(path):
            found = [self._info(child) for child in tree.children(path)]
            found.sort(key=lambda info: str(info["name"]))
        else:
            raise self._not_found(path)
        return found if detail else [info["name"] for info in found]

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Return what the plan says of a file or directory; see fsspec.

        Beside fsspec's ``name``, ``size`` and ``type``, a file has ``etag``, ``version``, ``md5``,
        ``sha256``, ``reason``, ``key`` and ``url`` (that of its root), as an `Entry` has them.
        """
        path = self._strip_protocol(path)
        entry = self._planned.tree.entry(path)
        if entry is None and not self._planned.tree.is_directory(path):
            raise self._not_found(path)
        return self._info(path if entry is None else entry)

    def _info(self, found: Entry | str) -> dict[str, Any]:
        if isinstance(found, str):
            return {"name": found, "size": 0, "type": "directory"}
        names = ("size", "etag", "version", "md5", "sha256", "reason", "key")
        said = {name: getattr(found, name) for name in names}
        return {"name": found.path, "type": "file", **said, "url": self._planned.url(found)}

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **_: object,
    ) -> Any:
        """List all files below a path; see fsspec."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._strip_protocol(path)
        found = {name: self._info(each) for name, each in self._below(path, maxdepth, withdirs)}
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def _below(
        self, path: str, maxdepth: int | None, withdirs: bool
    ) -> Iterator[tuple[str, Entry | str]]:
        """Yield files, and directories if asked for, some of them several times."""
        tree, skip = self._planned.tree, len(path) + 1 if path else 0
        if (entry := tree.entry(path)) is not None:
            yield path, entry
        elif withdirs and path and tree.is_directory(path):
            yield path, path
        above = None
        for entry in tree.below(path):
            if maxdepth is None or entry.path.count("/", skip) < maxdepth:
                yield entry.path, entry
            directory = entry.path.rpartition("/")[0]
            if withdirs and directory != above:
                for name in parents(entry.path):
                    inside = len(name) >= skip > 0 or not path
                    if inside and (maxdepth is None or name.count("/", skip) < maxdepth):
                        yield name, name
                above = directory

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        """Read a file, or a range of it by one request; see fsspec."""
        entry = self._entry(self._strip_protocol(path))
        first, stop, _step = slice(start, end).indices(entry.size)
        return self._planned.ranges(entry).read(first, stop) if first < stop else b""

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | list[int | None] | None,
        ends: int | list[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: object,
    ) -> list[bytes | Exception]:
        """Read ranges of files, several at a time; see fsspec. `max_gap` is not used."""
        if not isinstance(paths, list):
            raise TypeError(f"`paths` must be a list; got {type(paths).__name__}")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)

        def read(path: str, start: int | None, end: int | None) -> bytes | Exception:
            try:
                return self.cat_file(path, start, end)
            except Exception as error:
                if on_error == "return":
                    return error
                raise

        if not len(paths) == len(starts) == len(ends):
            raise ValueError("`paths`, `starts` and `ends` must have one length")
        with ThreadPoolExecutor(_RANGES_AT_ONCE, thread_name_prefix="bidsplan-ranges") as pool:
            return list(pool.map(read, paths, starts, ends))

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: IO[bytes] | None = None,
        **_: object,
    ) -> None:
        """Copy one file to a local one, which appears if its bytes are the planned ones."""
        path = self._strip_protocol(rpath)
        target: Any = lpath if outfile is None else outfile
        if not isfilelike(target) and self.isdir(path):
            Path(target).mkdir(parents=True, exist_ok=True)
            return
        entry = self._entry(path)
        callback.set_size(entry.size)
        if isfilelike(target):
            self._copy(entry, target, callback)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(target)) as file:
            self._copy(entry, file, callback)

    def _copy(self, entry: Entry, file: IO[bytes], callback: Any) -> None:
        ranges, start = self._planned.ranges(entry), file.tell()

        def attempt() -> None:
            done = 0
            file.seek(start)
            for piece in ranges.whole():
                file.write(piece)
                done += len(piece)
                callback.absolute_update(done)

        ranges.retried(attempt)

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any
    ) -> PlannedFile:
        if mode != "rb":
            raise _read_only(path)
        entry = self._entry(path)
        options = {"cache_type": _GrowingCache.name, **options, "size": entry.size}
        return PlannedFile(self, entry, self._planned.ranges(entry), block_size, **options)

    def _entry(self, path: str) -> Entry:
        """Return the entry of a file; raises OSError where there is none."""
        entry = self._planned.tree.entry(path)
        if entry is not None:
            return entry
        if self._planned.tree.is_directory(path):
            raise IsADirectoryError(errno.EISDIR, "expected a file, got a directory", path)
        raise self._not_found(path)

    def _not_found(self, path: str) -> OSError:
        if any(self._planned.tree.entry(above) is not None for above in parents(path)):
            return NotADirectoryError(errno.ENOTDIR, "it is below a file", path)
        return FileNotFoundError(errno.ENOENT, "the plan has no such file or directory", path)

    def _refuse(self, *_: object, **__: object) -> None:
        raise _read_only()

    mkdir = makedirs = rmdir = touch = pipe_file = put_file = cp_file = rm_file = _rm = _refuse


def _read_only(*path: str) -> OSError:
    message = "a plan is read-only; fetch it, as by bidsplan.fetch, and write to the copy"
    return OSError(errno.EROFS, message, *path)


class PlannedFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """A file of a plan, opened for reading; all that is read is of one object."""

    DEFAULT_BLOCK_SIZE = FIRST

    def __init__(
        self,
        fs: PlanFileSystem,
        entry: Entry,
        ranges: PlannedRanges | GeneratedRanges,
        block_size: int | None,
        **options: Any,
    ) -> None:
        self._ranges = ranges
        super().__init__(fs, entry.path, "rb", block_size, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._ranges.read(start, end)


class _GrowingCache(BaseCache):  # type: ignore[misc] # fsspec has no types
    """Reads ahead in growing pieces, the first of which has a block's size."""

    name = "bidsplan"

    def __init__(self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._ahead = ReadAhead(fetcher, size, blocksize)

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        at, data = start or 0, bytearray()
        stop = self.size if stop is None else min(stop, self.size)
        while at < stop:
            some = self._ahead.some(at, stop - at)
            data += some
            at += len(some)
        return bytes(data)


register_cache(_GrowingCache, clobber=True)
# universal_pathlib looks for the class itself, and not for the entry point that names it.
register_implementation("bidsplan", PlanFileSystem, clobber=True)


class _Held:
    """A plan in memory, found equal and written as text by its header's digest.

    fsspec makes a text of every argument, and a plan may have a million entries.
    """

    def __init__(self, plan: Planned) -> None:
        self.plan = plan
        self._digest = hashlib.sha256(ENCODER.encode(plan.header)).hexdigest()

    def __repr__(self) -> str:
        return f"<plan {self._digest}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


def _source(plan: object, protocol: str | None) -> str | _Held:
    """Return a plan's absolute path, or the plan itself."""
    if protocol not in {None, "file", "local"}:
        raise UsageError(
            f"a plan is read from a local file; got one by {printable(str(protocol))!r}; download "
            "it first"
        )
    if isinstance(plan, str | os.PathLike):
        return os.path.abspath(os.fspath(plan))  # noqa: PTH100 - as the chained URL has it
    if isinstance(plan, _Held):
        return plan
    if hasattr(plan, "header") and hasattr(plan, "entries"):
        return _Held(plan)  # type: ignore[arg-type] # as `Planned` says
    raise UsageError(
        "`bidsplan://` needs a plan: give it as plan='study.plan.jsonl', or in the URL, as in "
        "'bidsplan://sub-01/anat::file://study.plan.jsonl'"
    )


class _PlannedFiles:
    """A plan's files, and the stores that their bytes are in."""

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
            # Roots open each store once; in a notebook the cause may be gone the next time.
            self._roots = None
            raise

    def _opened(self) -> Roots:
        found = self._roots
        # Connections don't survive a fork.
        if found is None or found[0] != os.getpid():
            roots = Roots(self._header.roots, self._access, self._base, lambda _: None)
            self._roots = found = os.getpid(), roots
        return found[1]


@functools.lru_cache(maxsize=_PLANS_KEPT)
def _opened(
    source: str | _Held, _state: FileVersion | None, access: Access, base: str
) -> _PlannedFiles:
    """Read a plan, unless its file is in the state in which it was read before."""
    plan = source.plan if isinstance(source, _Held) else read_plan(source)
    return _PlannedFiles(plan, access, base)


def __getattr__(name: str) -> Any:
    if name != "PlanPath":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from upath import UPath  # who asks for its class has it

    # Without a class of its own, universal_pathlib warns that the protocol may not be tested.
    found = type(name, (UPath,), {"__module__": __name__, "__slots__": ()})
    globals()[name] = found
    return found
