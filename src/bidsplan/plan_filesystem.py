"""A plan as a read-only fsspec file system.

Listing the file system sends no request. A file's bytes are requested when they are read, and only
from the planned object.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fsspec.caching import BaseCache, register_cache
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.registry import register_implementation
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from fsspec.utils import isfilelike

from bidsplan.errors import ArgumentTypeError, StalePlanError, UsageError
from bidsplan.messages import has_user_info
from bidsplan.paths import parents, printable, replacing
from bidsplan.plan.file import PLAN_SUFFIXES
from bidsplan.storage.access import Access
from bidsplan.storage.file_state import file_version
from bidsplan.storage.ranges import FIRST, ReadAhead
from bidsplan.transfer.planned_files import (
    HeldPlan,
    PlannedFiles,
    PlannedPath,
    open_planned_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from bidsplan.plan import Planned
    from bidsplan.storage.ranges import Ranges


_RANGES_AT_ONCE = 8
"""The most requests at a time for one call that reads several ranges."""


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
        The plan. When the file system is pickled, a path is pickled as a path, and a `Plan` with
        all its entries.
    access : Access, optional
        How storage may be reached. It contains no credentials, which are looked up on the machine
        that reads the bytes.
    base : path, optional
        The directory that the plan's relative URLs are relative to. The default is the directory of
        the plan's file or, for a `Plan`, the current directory.

    Returns
    -------
    PlanFileSystem
        An `fsspec.AbstractFileSystem` with the paths of the dataset, such as
        ``sub-01/anat/sub-01_T1w.nii.gz``.

    Raises
    ------
    PlanError
        If the file can't be read or is not a plan, or the plan is truncated, was edited or has an
        unsafe path.

    Examples
    --------
    >>> import bidsplan
    >>> fs = bidsplan.filesystem("manifests/demo.plan.jsonl")
    >>> fs.ls("sub-1", detail=False)
    ['sub-1/ses-baseline', 'sub-1/sub-1_sessions.tsv']
    """
    return PlanFileSystem(plan, access=access, base=base)


class PlanFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """A plan as a read-only fsspec file system; see `filesystem`.

    Parameters
    ----------
    plan : path or Plan, optional
        The plan, whose dataset's paths are the paths of the file system. Without a plan, each path
        begins with the path of a plan's file:
        ``bidsplan:///study/study.plan.jsonl/sub-01/anat/sub-01_T1w.nii.gz``.
    access, base
        As in `filesystem`.
    entries_sha256 : str, optional
        The digest that the plan's header must have; another plan is refused. The digest is pickled
        with the file system.

    Notes
    -----
    Several threads may use the file system at once. `info` returns the plan's fields of a file.
    A path that is not planned raises a builtin error, such as `FileNotFoundError`. If the storage
    refuses a request, a `StorageError` is raised, which is also an `OSError`.
    """

    protocol = "bidsplan"
    # A cached instance would miss a change of the plan's file, and a new one costs little.
    cachable = False

    def __init__(
        self,
        plan: str | PathLike[str] | Planned | HeldPlan | None = None,
        *,
        access: Access | None = None,
        base: str | PathLike[str] | None = None,
        entries_sha256: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._access = access or Access()
        self._source = None if plan is None else _source(plan)
        if base is None and isinstance(self._source, HeldPlan):
            base = "."
        self._base = None if base is None else _absolute(base)
        self._files = None if self._source is None else self._read(self._source)
        if self._files is not None and entries_sha256 not in {None, self._files.digest}:
            raise StalePlanError(
                f"{printable(str(self._source))}: expected the plan with entries_sha256 "
                f"{printable(str(entries_sha256))}, got another, with {self._files.digest}; it was "
                "replaced, or is another one on this machine"
            )

    def _read(self, source: str | HeldPlan) -> PlannedFiles:
        base, state = self._base or "", None
        if isinstance(source, str):
            base, state = base or str(Path(source).parent), file_version(source)
        return open_planned_files(source, state, self._access, base)

    @property
    def _fs_token(self) -> str:
        """The text by which file systems are equal, the same on every machine."""
        plain = replace(self._access, allow_protocols=frozenset())
        allowed = sorted(self._access.allow_protocols)
        digest = self._files and self._files.digest
        parts = repr((str(self._source), digest, self._base, plain, allowed))
        return hashlib.sha256(parts.encode(errors="surrogatepass")).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        if has_user_info(self._access.endpoint_url or ""):
            raise UsageError(
                "the file system can't be pickled, since its endpoint's URL holds a password; name "
                "the endpoint without it, or by AWS_ENDPOINT_URL_S3 where the bytes are read"
            )
        options: dict[str, Any] = {"access": self._access, "base": self._base}
        if self._files is not None:
            options |= {"plan": self._source, "entries_sha256": self._files.digest}
        return functools.partial(type(self), **options), ()

    def _place(self, path: str) -> PlannedPath:
        """Return the plan that a path is in, and its place in the plan's tree."""
        path = self._strip_protocol(path)
        if self._files is not None:
            return PlannedPath(self._files, "", path.lstrip("/"))
        for above in (*parents(path), path):
            if above.endswith(PLAN_SUFFIXES) and os.path.isfile(above):  # noqa: PTH113 - text
                return PlannedPath(self._read(_source(above)), above, path[len(above) + 1 :])
        raise FileNotFoundError(
            errno.ENOENT,
            "there is no plan at the start of the path; expected one as in "
            "'bidsplan://study.plan.jsonl/sub-01/anat', or the option plan='study.plan.jsonl'",
            path,
        )

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        """List a directory's direct contents, or a file itself; see fsspec."""
        place = self._place(path)
        found = place.found()
        listed = [place.info(found)]
        if isinstance(found, str):
            listed = [place.info(child) for child in place.files.tree.children(found)]
            listed.sort(key=lambda info: str(info["name"]))
        return listed if detail else [info["name"] for info in listed]

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Return the plan's fields of a file or directory; see fsspec.

        Files and directories have fsspec's ``name``, ``size`` and ``type``. A file also has the
        ``etag``, ``version``, ``md5``, ``sha256``, ``reason`` and ``key`` of its `Entry`, and
        ``url``, the URL of its root.
        """
        place = self._place(path)
        return place.info(place.found())

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
        place = self._place(path)
        listed = {place.name(each): each for each in place.below(maxdepth, withdirs=withdirs)}
        names = sorted(listed)
        return {name: place.info(listed[name]) for name in names} if detail else names

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        """Read a file, or one range of it with a single request; see fsspec."""
        place = self._place(path)
        entry = place.entry()
        first, stop, _step = slice(start, end).indices(entry.size)
        if first >= stop:
            return b""
        with closing(place.files.ranges(entry)) as ranges:
            return ranges.read(first, stop)

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
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("`paths`, `starts` and `ends` must have one length")

        def read(path: str, start: int | None, end: int | None) -> bytes | Exception:
            try:
                return self.cat_file(path, start, end)
            except Exception as error:
                if on_error == "return":
                    return error
                raise

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
        """Copy a file to a local path, if its bytes are the planned ones."""
        place = self._place(rpath)
        target: Any = lpath if outfile is None else outfile
        if not isfilelike(target) and isinstance(place.found(), str):
            Path(target).mkdir(parents=True, exist_ok=True)
            return
        entry = place.entry()
        callback.set_size(entry.size)
        if isfilelike(target):
            place.files.copy(entry, target, callback.absolute_update)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(target)) as file:
            place.files.copy(entry, file, callback.absolute_update)

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any
    ) -> PlannedFile:
        if mode != "rb":
            raise _read_only(path)
        place = self._place(path)
        entry = place.entry()
        options = {"cache_type": _GrowingCache.name, **options, "size": entry.size}
        return PlannedFile(self, path, place.files.ranges(entry), block_size, **options)

    def _refuse(self, *_: object, **__: object) -> None:
        raise _read_only()

    mkdir = makedirs = rmdir = touch = pipe_file = put_file = cp_file = rm_file = _rm = _refuse


def _read_only(*path: str) -> OSError:
    message = "a plan is read-only; fetch it, as by bidsplan.fetch, and write to the copy"
    return OSError(errno.EROFS, message, *path)


class PlannedFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """A planned file, opened for reading from one unchanged object."""

    DEFAULT_BLOCK_SIZE = FIRST

    def __init__(
        self,
        fs: PlanFileSystem,
        path: str,
        ranges: Ranges,
        block_size: int | None,
        **options: Any,
    ) -> None:
        self._ranges = ranges
        super().__init__(fs, path, "rb", block_size, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        # Some of fsspec's caches request whole blocks.
        return self._ranges.read(start, min(end, self.size))

    def close(self) -> None:
        """Close the file, and discard the bytes that were read ahead."""
        super().close()
        self._ranges.close()


class _GrowingCache(BaseCache):  # type: ignore[misc] # fsspec has no types
    """Reads ahead in growing pieces, beginning with one block."""

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
# universal_pathlib needs the class itself, and does not read the entry point that names it.
register_implementation("bidsplan", PlanFileSystem, clobber=True)


def _absolute(path: str | PathLike[str]) -> str:
    return os.path.abspath(os.fspath(path))  # noqa: PTH100 - without '..', and links not followed


def _source(plan: object) -> str | HeldPlan:
    """Return a plan's absolute path, or the plan itself."""
    if isinstance(plan, str | os.PathLike):
        return _absolute(plan)
    if isinstance(plan, HeldPlan):
        return plan
    if hasattr(plan, "header") and hasattr(plan, "entries"):
        return HeldPlan(plan)  # type: ignore[arg-type] # as `Planned` says
    raise ArgumentTypeError(f"`plan` must be a path or a Plan; got {type(plan).__name__}")


def __getattr__(name: str) -> Any:
    if name != "PlanPath":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from upath import UPath  # only users of universal_pathlib get here

    # Without its own class, universal_pathlib warns that the protocol may not be tested.
    found = type(name, (UPath,), {"__module__": __name__, "__slots__": ()})
    globals()[name] = found
    return found
