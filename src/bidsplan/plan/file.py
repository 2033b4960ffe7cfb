"""Plans on disk: JSON Lines, plain or compressed by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bidsplan.errors import DestinationError, PlanError, UsageError
from bidsplan.paths import open_regular
from bidsplan.plan import Header, Plan, parse_lines, read_entries
from bidsplan.plan.model import LONGEST_LINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from bidsplan.plan import Entry


LARGEST = 1 << 33
"""Bytes that a plan may have, unpacked."""

_FEW = 50_000
"""Entries that are kept in memory rather than read again, at half a kilobyte each."""

_BLOCK = 1 << 20
"""Bytes that are read and checked in one go."""

_GZIP_LEVEL = 6
"""Takes half the time of gzip's highest level, for a file that is hardly larger."""

_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def default_plan_path(manifest: str | PathLike[str]) -> Path:
    """Name the plan that stands beside a manifest.

    Examples
    --------
    >>> default_plan_path("studies/hbn.yaml").as_posix()
    'studies/hbn.plan.jsonl'
    """
    return Path(manifest).with_suffix(".plan.jsonl")


def plan_suffix(path: Path) -> str:
    """Tell how a plan is packed, by its name.

    Returns
    -------
    str
        ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``.

    Raises
    ------
    UsageError
        Where it is no plan's name.
    """
    found = next((suffix for suffix in reversed(_SUFFIXES) if path.name.endswith(suffix)), None)
    if found is None:
        raise UsageError(f"{path}: a plan's name ends in {', '.join(_SUFFIXES)}")
    return found


def read_plan(path: str | PathLike[str]) -> Plan:
    """Read a plan, trusting nothing in it.

    Parameters
    ----------
    path : path
        Ending in ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``.

    Returns
    -------
    Plan

    Raises
    ------
    PlanError
        Where it can't be read, or is truncated, edited, unsafe or no plan at all.
    """
    path = Path(path)
    with _opened(path) as stream:
        return Plan.parse(_blocks(stream))


class StoredPlan:
    """A plan on disk; if it is long, it is read whenever its entries are walked.

    Parameters
    ----------
    path : path
        As in `read_plan`.

    Raises
    ------
    PlanError
        As `read_plan` does, before anything is done with it.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        with _opened(self._path) as stream:
            seen: list[bytes] = []
            blocks = _noted(_blocks(stream), seen)
            first = next(blocks, b"")
            self.header = Header.parse(first)
            self._kept = _few(read_entries(self.header, blocks, first=first))
        self._seen = tuple(seen)

    @property
    def entries(self) -> Iterable[Entry]:
        """The entries, sorted by path; they can be walked any number of times."""
        return _Entries(self._path, self._seen) if self._kept is None else self._kept


def _noted(blocks: Iterator[bytes], seen: list[bytes]) -> Iterator[bytes]:
    """Note the digest of each block."""
    for block in blocks:
        seen.append(hashlib.sha256(block).digest())
        yield block


def _few(found: Iterator[list[Entry]]) -> list[Entry] | None:
    """Check all entries, and keep them where they are few; the header may say anything."""
    kept: list[Entry] | None = []
    for some in found:
        if kept is not None:
            kept += some
            kept = kept if len(kept) <= _FEW else None
    return kept


class _Entries:
    """Entries of a file, each block of which was checked before, and is known by its digest."""

    def __init__(self, path: Path, seen: tuple[bytes, ...]) -> None:
        self._path = path
        self._seen = seen

    def __iter__(self) -> Iterator[Entry]:
        with _opened(self._path) as stream:
            blocks = _blocks(stream)
            for number, digest in enumerate((*self._seen, None)):
                block = next(blocks, None)
                if digest != (block and hashlib.sha256(block).digest()):
                    raise PlanError("it was replaced while it was in use; run it again")
                if block is not None and number:
                    yield from parse_lines(block)


def read_header(path: str | PathLike[str]) -> Header:
    """Read a plan's first line only, without checking what follows.

    Parameters
    ----------
    path : path
        As in `read_plan`.

    Raises
    ------
    PlanError
        Where it can't be read, or does not start as a plan does.
    """
    path = Path(path)
    with _opened(path) as stream:
        return Header.parse(next(_blocks(stream), b""))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a plan's unpacked bytes; every failure to read them is the plan's."""
    suffix = plan_suffix(path)
    try:
        with open_regular(path) as file, _unpacked(file, suffix) as stream:
            yield stream
    except PlanError as error:
        raise type(error)(f"{path}: {error}") from error
    except EOFError as error:
        raise PlanError(f"{path}: it is truncated; compile it again") from error
    except zlib.error as error:
        raise PlanError(f"{path}: it is not valid gzip: {error}; compile it again") from error
    except OSError as error:
        raise PlanError(f"{path}: can't be read: {error.strerror or error}") from error


@contextmanager
def _unpacked(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".jsonl.gz":
        with gzip.GzipFile(fileobj=file) as stream:
            yield io.BufferedReader(stream)
    elif suffix == ".jsonl.zst":
        import zstandard  # only for plans that are packed so

        try:
            with zstandard.ZstdDecompressor().stream_reader(file) as stream:
                yield io.BufferedReader(stream)
        except zstandard.ZstdError as error:
            raise PlanError(f"it is not valid zstd: {error}") from error
    else:
        yield file


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Read the first line, then whole lines, about a MiB at a time."""
    total = 0
    block = stream.readline(LONGEST_LINE + 1)
    while block:
        total += len(block)
        if len(block) > LONGEST_LINE or total > LARGEST:
            raise PlanError("it is larger than any plan; it is refused unread")
        if not block.endswith(b"\n"):
            raise PlanError("its last line is cut off; compile it again")
        yield block
        block = stream.read(_BLOCK)
        if block and not block.endswith(b"\n"):
            block += stream.readline(LONGEST_LINE)


def write_plan(plan: Plan, path: str | PathLike[str]) -> None:
    """Write a plan so that there is all of it or nothing.

    Parameters
    ----------
    plan : Plan
    path : path
        Ending in ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst``; packed so that the same plan gives
        the same bytes.

    Raises
    ------
    DestinationError
        Where it can't be written.
    """
    from bidsplan.paths import replacing  # reading goes without

    path = Path(path)
    suffix = plan_suffix(path)
    try:
        with replacing(path) as file, _packed(file, suffix) as stream:
            for line in plan.lines():
                stream.write(line)
    except OSError as error:
        raise DestinationError(
            f"{path}: can't be written: {error.strerror or error}; name another place by '-o'"
        ) from error


@contextmanager
def _packed(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".jsonl.gz":
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
            yield stream  # type: ignore[misc] # a GzipFile is written as any file is
    elif suffix == ".jsonl.zst":
        import zstandard  # only for plans that are packed so

        with zstandard.ZstdCompressor(level=9).stream_writer(file, closefd=False) as stream:
            yield stream
    else:
        yield file
