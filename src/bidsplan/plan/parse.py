"""Parses and checks a plan's entries, some thousands at a time."""

from __future__ import annotations

import hashlib
import re
from itertools import islice, pairwise
from operator import eq, lt
from typing import TYPE_CHECKING

from bidsplan.errors import PlanError
from bidsplan.paths import parents, unsafe_key, unsafe_path
from bidsplan.plan.model import (
    CONFLICT,
    DECODE_ERRORS,
    ENCODER,
    ENTRY_DECODER,
    Entry,
    Header,
    is_conflict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_PLAIN = re.compile(r"(?!\.)[ -.0-\[\]-~]+(?:[/\n](?!\.)[ -.0-\[\]-~]+)*")
"""Lines of safe names, as nearly all are: printable ASCII, without a dot at a segment's start."""


def read_entries(header: Header, blocks: Iterable[bytes], *, first: bytes) -> Iterator[list[Entry]]:
    """Yield the entries of each block of lines, after checking them.

    `first` is the header's line. Raises PlanError if the plan is truncated, edited or unsafe,
    sometimes only after the last block.
    """
    stream = iter(blocks)
    digest = hashlib.sha256()
    check = PathCheck(len(header.roots))
    files = size = 0
    odd_line = 1 if ENCODER.encode(header) + b"\n" != first else None
    for text in stream:
        digest.update(text)
        found = parse_lines(text, files + 2)
        if odd_line is None and ENCODER.encode_lines(found) != text:
            written = map(ENCODER.encode, found)
            odd_line = files + 2 + list(map(eq, written, text.splitlines())).index(False)
        try:
            check(found)
        except PlanError as error:
            # The message that a plan was edited is more useful than the problems that editing
            # caused.
            for rest in stream:
                digest.update(rest)
            _check_digest(header, digest, error)
            raise
        files += len(found)
        size += sum(entry.size for entry in found)
        yield found
    if (header.files, header.bytes) != (files, size):
        raise PlanError(
            f"the plan is truncated or edited: its header says {header.files} files and "
            f"{header.bytes} bytes, it holds {files} and {size}; compile it again"
        )
    _check_digest(header, digest)
    if odd_line is not None:
        raise PlanError(
            f"line {odd_line}: not as bidsplan writes it: doubled or reordered fields, spaces "
            "or escapes; compile it again"
        )


def _check_digest(header: Header, digest: hashlib._Hash, cause: Exception | None = None) -> None:
    if header.entries_sha256 != digest.hexdigest():
        raise PlanError(
            "the plan was edited: its entries do not match the header's entries_sha256; "
            "compile it again"
        ) from cause


def parse_lines(text: bytes, number: int = 1) -> list[Entry]:
    """Parse whole lines without checking the entries' values.

    Raises PlanError for a line that is not an entry; `number` is the first line's.
    """
    try:
        found = ENTRY_DECODER.decode_lines(text)
    except DECODE_ERRORS:
        found = []
    if len(found) == text.count(b"\n"):
        return found
    found = []
    for line in text.removesuffix(b"\n").split(b"\n"):
        try:
            found.append(ENTRY_DECODER.decode(line))
        except DECODE_ERRORS as error:
            number += len(found)
            if is_conflict(line):
                raise PlanError(f"line {number}: {CONFLICT}") from error
            raise PlanError(f"line {number}: not a valid entry: {error}") from error
    return found


class PathCheck:
    """Refuses unsafe, duplicate and unsorted paths of entries."""

    def __init__(self, roots: int) -> None:
        self._roots = roots
        self._last = ""
        # The earlier files whose paths the last path starts with. Only these can turn out to be
        # directories of a later path, since all sorted paths between the two start alike.
        self._above: set[str] = set()

    def __call__(self, entries: Sequence[Entry]) -> None:
        """Check the next entries, or raise PlanError."""
        if not entries:
            return
        paths = [entry.path for entry in entries]
        _check_order([self._last, *paths])
        if not self._are_plain(entries, paths):
            for entry in entries:
                _check_entry(entry, self._roots)
        files = self._above.union(paths)
        lowest = {path.rpartition("/")[0] for path in paths}
        both = files.intersection(
            directory for path in lowest for directory in (path, *parents(path))
        )
        if both:
            raise PlanError(f"the path {min(both)!r} is both a file and a directory")
        last = self._last = paths[-1]
        self._above = {last[:end] for end in range(1, len(last) + 1)}.intersection(files)

    def _are_plain(self, entries: Sequence[Entry], paths: list[str]) -> bool:
        """Report whether all entries pass a fast check, as most do."""
        keys = [entry.key for entry in entries]
        return (
            _all_plain(paths)
            and (keys == paths or _all_plain(keys))
            and all(entry.content is None for entry in entries)
            and max(entry.root for entry in entries) < self._roots
        )


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
    if reason := unsafe_path(entry.path):
        raise PlanError(f"the path {entry.path!r} is refused: {reason}")
    if entry.content is not None:
        if entry.key or len(entry.content.encode()) != entry.size:
            raise PlanError(f"{entry.path!r} is generated, so it has no key and its content's size")
        return
    if reason := unsafe_key(entry.key):
        raise PlanError(f"the key {entry.key!r} is refused: {reason}")
    if entry.root >= roots:
        raise PlanError(f"{entry.path!r} names root {entry.root}, and there are {roots}")
