"""Reading a plan's entries and trusting nothing in them, some thousands at a time."""

from __future__ import annotations

import hashlib
import re
from itertools import islice, pairwise
from operator import eq, lt
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import PlanError
from bidsplan.paths import parents, unsafe_key, unsafe_path
from bidsplan.plan.model import ENCODER, ENTRY_DECODER, Entry, Header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_PLAIN = re.compile(r"(?!\.)[ -.0-\[\]-~]+(?:[/\n](?!\.)[ -.0-\[\]-~]+)*")
"""Names of printable ASCII segments, a line each, no segment with a dot in front.

They are safe, as nearly all are.
"""


def read_entries(header: Header, blocks: Iterable[bytes], *, first: bytes) -> Iterator[list[Entry]]:
    """Read entries, checking all that can be checked of them.

    Parameters
    ----------
    blocks : iterable of bytes
        Whole lines, any number at a time.
    first : bytes
        The header's line.

    Yields
    ------
    list of Entry
        A block's.

    Raises
    ------
    PlanError
        Where they are truncated, edited or unsafe; some are found to be so only at the end.
    """
    stream = iter(blocks)
    digest = hashlib.sha256()
    check = PathCheck(len(header.roots))
    files = size = 0
    strange = 1 if ENCODER.encode(header) + b"\n" != first else None
    for text in stream:
        digest.update(text)
        found = parse_lines(text, files + 2)
        if strange is None and ENCODER.encode_lines(found) != text:
            written = map(ENCODER.encode, found)
            strange = files + 2 + list(map(eq, written, text.splitlines())).index(False)
        try:
            check(found)
        except PlanError as error:
            _blame_edits(header, digest, stream, error)
            raise
        files += len(found)
        size += sum(entry.size for entry in found)
        yield found
    _check_counts(header, files, size, digest.hexdigest())
    if strange is not None:
        raise PlanError(
            f"line {strange}: not as bidsplan writes it: doubled or reordered fields, spaces "
            "or escapes; compile it again"
        )


def parse_lines(text: bytes, number: int = 1) -> list[Entry]:
    """Parse whole lines, without a look at what the entries say.

    Parameters
    ----------
    number : int
        The first line's, for messages.

    Raises
    ------
    PlanError
        Naming the line that is no entry.
    """
    try:
        found = ENTRY_DECODER.decode_lines(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = []
    if len(found) == text.count(b"\n"):
        return found
    lines = text.removesuffix(b"\n").split(b"\n")
    return [_parse_entry(line, number + index) for index, line in enumerate(lines)]


def _parse_entry(line: bytes, number: int) -> Entry:
    try:
        return ENTRY_DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"line {number}: not a valid entry: {error}") from error


def _blame_edits(
    header: Header, digest: hashlib._Hash, rest: Iterator[bytes], error: PlanError
) -> None:
    """Say that a plan was edited, rather than what that led to."""
    for text in rest:
        digest.update(text)
    if digest.hexdigest() != header.entries_sha256:
        raise _edited() from error


def _edited() -> PlanError:
    return PlanError(
        "the plan was edited: its entries do not match the header's entries_sha256; "
        "compile it again"
    )


def _check_counts(header: Header, files: int, size: int, digest: str) -> None:
    if (header.files, header.bytes) != (files, size):
        raise PlanError(
            f"the plan is truncated or edited: its header says {header.files} files and "
            f"{header.bytes} bytes, it holds {files} and {size}; compile it again"
        )
    if header.entries_sha256 != digest:
        raise _edited()


class PathCheck:
    """Refuses unsafe and doubled paths of entries that come sorted by path.

    Parameters
    ----------
    roots : int
        How many roots there are.
    """

    def __init__(self, roots: int) -> None:
        self._roots = roots
        self._last = ""
        # Of the files so far, those that the last path starts with: only they can be said by a
        # later path to be directories, since whatever stands between two such paths starts alike.
        self._above: set[str] = set()

    def __call__(self, entries: Sequence[Entry]) -> None:
        """Check the next entries.

        Raises
        ------
        PlanError
        """
        if not entries:
            return
        paths = [entry.path for entry in entries]
        _check_order([self._last, *paths])
        if not self._are_plain(entries, paths):
            for entry in entries:
                _check_entry(entry, self._roots)
        self._check_directories(paths)

    def _are_plain(self, entries: Sequence[Entry], paths: list[str]) -> bool:
        """Tell what can be said of nearly all entries at once."""
        keys = [entry.key for entry in entries]
        return (
            _all_plain(paths)
            and (keys == paths or _all_plain(keys))
            and all(entry.content is None for entry in entries)
            and max(entry.root for entry in entries) < self._roots
        )

    def _check_directories(self, paths: list[str]) -> None:
        files = self._above.union(paths)
        lowest = {path.rpartition("/")[0] for path in paths}
        both = files.intersection(
            directory for path in lowest for directory in (path, *parents(path))
        )
        if both:
            raise PlanError(f"the path {min(both)!r} is both a file and a directory")
        last = self._last = paths[-1]
        self._above = {last[:end] for end in range(1, len(last) + 1)}.intersection(files)


def _all_plain(names: list[str]) -> bool:
    text = "\n".join(names)
    return text.count("\n") < len(names) and _PLAIN.fullmatch(text) is not None


def _check_order(paths: list[str]) -> None:
    if all(map(lt, paths, islice(paths, 1, None))):
        return
    for previous, path in pairwise(paths):
        if path <= previous:
            what = "is there twice" if path == previous else "is out of order"
            raise PlanError(f"the path {path!r} {what}")


def _check_entry(entry: Entry, roots: int) -> None:
    reason = unsafe_path(entry.path)
    if reason:
        raise PlanError(f"the path {entry.path!r} is refused: {reason}")
    if entry.content is not None:
        if entry.key or len(entry.content.encode()) != entry.size:
            raise PlanError(f"{entry.path!r} is generated, so it has no key and its content's size")
        return
    reason = unsafe_key(entry.key)
    if reason:
        raise PlanError(f"the key {entry.key!r} is refused: {reason}")
    if entry.root >= roots:
        raise PlanError(f"{entry.path!r} names root {entry.root}, and there are {roots}")
