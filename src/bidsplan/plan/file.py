"""Reads and writes plan files: JSON Lines, compressed according to their names."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bidsplan.errors import DestinationError, PlanError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import near_document
from bidsplan.paths import open_regular, replacing
from bidsplan.plan import Header, Plan
from bidsplan.plan.model import LONGEST_LINE
from bidsplan.plan.parse import parse_lines, read_entries
from bidsplan.plan.plan import entry_dicts
from bidsplan.plan.spool import MOST_IN_MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from bidsplan.plan import Entry


_LARGEST = 1 << 33
"""The most bytes of an uncompressed plan."""

_BLOCK = 1 << 20
"""The bytes that are read and checked at a time."""

_GZIP_LEVEL = 6
"""Half the time of gzip's highest level, for a file that is hardly larger."""

_ZSTD_LEVEL = 9

PLAN_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def default_plan_path(manifest: str | PathLike[str]) -> Path:
    """Return the default path of a manifest's plan: ``a/x.plan.jsonl`` for ``a/x.yaml``."""
    return Path(manifest).with_suffix(".plan.jsonl")


def plan_suffix(path: Path) -> str:
    """Return ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``, or raise UsageError."""
    found = next((suffix for suffix in reversed(PLAN_SUFFIXES) if path.name.endswith(suffix)), None)
    if found is None:
        raise UsageError(f"{path}: a plan's name ends in {', '.join(PLAN_SUFFIXES)}")
    return found


def read_plan(path: str | PathLike[str], *, file: IO[bytes] | None = None) -> Plan:
    """Read a plan's file, and check it completely.

    Parameters
    ----------
    path : path
        The plan's file. Its name ends in ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``.
    file : binary file, optional
        A file to read instead of the one at the path, such as an earlier version of it. The path
        is then only used for its name.

    Returns
    -------
    Plan

    Raises
    ------
    PlanError
        If the file can't be read or is not a plan, or the plan is truncated, was edited or has an
        unsafe path.
    """
    with _opened(Path(path), file) as stream:
        return Plan.parse(_blocks(stream))


class StoredPlan:
    """A plan on disk, of which only short ones are kept in memory.

    Each iteration over the entries of a long plan reads the file again. The constructor checks the
    whole plan, and raises PlanError as `read_plan` does.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._digests: list[bytes] = []
        kept: list[Entry] | None = []
        with _opened(self._path) as stream:
            blocks = self._noted(_blocks(stream))
            first = next(blocks, b"")
            self.header = Header.parse(first)
            # The header may claim any number of entries.
            for found in read_entries(self.header, blocks, first=first):
                if kept is not None:
                    kept += found
                    kept = kept if len(kept) <= MOST_IN_MEMORY else None
        self._kept = kept

    def _noted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._digests.append(hashlib.sha256(block).digest())
            yield block

    @property
    def entries(self) -> Iterable[Entry]:
        """The entries, sorted by path, which can be iterated repeatedly."""
        return self if self._kept is None else self._kept

    def to_dicts(self) -> list[dict[str, object]]:
        """Return the entries as dictionaries; see `Plan.to_dicts`."""
        return entry_dicts(self)

    def __iter__(self) -> Iterator[Entry]:
        """Read the entries again, and check that the file has not changed."""
        with _opened(self._path) as stream:
            blocks = _blocks(stream)
            for number, digest in enumerate((*self._digests, None)):
                block = next(blocks, None)
                if digest != (block and hashlib.sha256(block).digest()):
                    raise PlanError("it was replaced while it was in use; run it again")
                if block is not None and number:
                    yield from parse_lines(block)


@contextmanager
def _opened(path: Path, file: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """Open a plan's uncompressed bytes; every failure becomes a PlanError."""
    suffix = plan_suffix(path)
    try:
        with file or open_regular(path) as found, _uncompressed(found, suffix) as stream:
            yield stream
    except PlanError as error:
        raise type(error)(f"{path}: {error}", help_code=error.help_code) from error
    except EOFError as error:
        raise PlanError(f"{path}: it is truncated; compile it again") from error
    except zlib.error as error:
        raise PlanError(f"{path}: it is not valid gzip: {error}; compile it again") from error
    except OSError as error:
        text = f"{path}: can't be read: {error.strerror or error}"
        hint = near_document(path) if isinstance(error, FileNotFoundError) else None
        raise PlanError(
            f"{text}; {hint}" if hint else text, help_code=HelpCode.PLAN_UNREADABLE
        ) from error


@contextmanager
def _uncompressed(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".jsonl.gz":
        with gzip.GzipFile(fileobj=file) as stream:
            yield io.BufferedReader(stream)
    elif suffix == ".jsonl.zst":
        zstd_file, zstd_error = _zstd()
        try:
            with zstd_file(file) as stream:
                yield io.BufferedReader(stream)
        except zstd_error as error:
            raise PlanError(f"it is not valid zstd: {error}; compile it again") from error
    else:
        yield file


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Read the first line, then whole lines, about a MiB at a time."""
    total = 0
    block = stream.readline(LONGEST_LINE + 1)
    while block:
        total += len(block)
        if len(block) > LONGEST_LINE or total > _LARGEST:
            raise PlanError("it is larger than any plan and was not read")
        if not block.endswith(b"\n"):
            raise PlanError("its last line is cut off; compile it again")
        yield block
        block = stream.read(_BLOCK)
        if block and not block.endswith(b"\n"):
            block += stream.readline(LONGEST_LINE)


def write_plan(plan: Plan, path: str | PathLike[str], *, keep_equal: bool = False) -> None:
    """Write a plan to a file, atomically.

    Parameters
    ----------
    plan : Plan
    path : path
        The plan's file. Its name ends in ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``. Equal plans
        are always written as equal bytes.
    keep_equal : bool
        Whether to leave an existing file with the same bytes untouched, so that it keeps its
        modification time.

    Raises
    ------
    UsageError
        If the path has another ending.
    DestinationError
        If the file can't be written.
    """
    path = Path(path)
    suffix = plan_suffix(path)
    try:
        with (
            replacing(path, keep_equal=keep_equal) as file,
            _compressed(file, suffix) as stream,
        ):
            for text in plan.texts():
                stream.write(text)
    except OSError as error:
        raise DestinationError(
            f"{path}: can't be written: {error.strerror or error}; choose another path with '-o'"
        ) from error


@contextmanager
def _compressed(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".jsonl.gz":
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
            yield stream  # type: ignore[misc] # a GzipFile is written as any file is
    elif suffix == ".jsonl.zst":
        packed = _zstd()[0](file, "wb", level=_ZSTD_LEVEL)
        with packed, io.BufferedWriter(packed, _BLOCK) as stream:
            yield stream
    else:
        yield file


def _zstd() -> tuple[Any, type[Exception]]:
    """Import ZstdFile and ZstdError, which only zstd-compressed plans need."""
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError, ZstdFile
    else:
        from backports.zstd import ZstdError, ZstdFile
    return ZstdFile, ZstdError
