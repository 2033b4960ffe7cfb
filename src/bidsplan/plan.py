"""The plan: which bytes go where, resolved.

A plan is the seam of the project. What compiles a manifest ends here; what fetches and verifies
starts here and knows nothing of manifests. The models are msgspec structures, since a plan may
hold a million entries.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from itertools import islice
from operator import attrgetter, eq
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from bidsplan.errors import PlanError, PlanVersionError
from bidsplan.keys import collision_form, parents, unsafe_key, unsafe_path

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["PLAN_VERSION", "Entry", "Header", "Plan", "Reason", "Root", "clashes"]

PLAN_VERSION = 1

Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The lengths stand beside the patterns because "$" also matches before a last line feed.
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]

Reason = Literal[
    "selected", "inherited", "association", "fieldmap", "reference", "table", "dataset"
]
"""Why an entry is in a plan: a filter took it, or it belongs to what a filter took."""


class Root(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A dataset's location in storage.

    Parameters
    ----------
    url : str
        Any fsspec URL, or a local path relative to the plan's own directory.
    anonymous : bool or None
        Whether requests go unsigned; None where the protocol knows no signatures.
    """

    url: Annotated[str, Meta(min_length=1, max_length=4096)]
    anonymous: bool | None = None


class Entry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    # Text and numbers make no cycles, and a million entries are much for the collector to visit.
    gc=False,
):
    """One file of a plan.

    Parameters
    ----------
    path : str
        Where it lands: POSIX, below the destination.
    key : str
        The object's name below its root; empty for a generated file.
    size : int
        Bytes.
    reason : str
        Why it is in the plan: selected, inherited, association, fieldmap, reference, table or
        dataset.
    root : int
        Index into the header's roots.
    etag : str or None
        The entity tag as HTTP has it, without quotes; none for local files and memory.
    version : str or None
        The object's VersionId, where versions are pinned.
    md5, sha256 : str or None
        Digests in hexadecimal, where they are known.
    content : str or None
        The whole text of a generated file, which has no source.
    """

    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    key: Annotated[str, Meta(max_length=4096)] = ""
    size: Size
    reason: Reason
    root: Annotated[int, Meta(ge=0, le=100_000)] = 0
    etag: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    version: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    md5: Hex32 | None = None
    sha256: Hex64 | None = None
    content: Annotated[str, Meta(max_length=65_536)] | None = None


class Header(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A plan's first line: what it was made from, and what it holds.

    Parameters
    ----------
    plan_version : int
        The format's version.
    manifest_sha256 : str
        Digest of the manifest's canonical form.
    study : str
        The study's name.
    roots : tuple of Root
        The datasets that entries come from.
    random_seed : int or None
        The seed of the draw, where subjects were drawn.
    sampling : str or None
        The method of the draw: rank or shuffle.
    subjects : tuple of str
        The selected subjects' labels, sorted; ``site/label`` where the manifest lists sites.
    files, bytes : int
        The entries' number and total size.
    entries_sha256 : str
        Digest of the entries' lines, each with its line feed.
    """

    plan_version: Annotated[int, Meta(ge=1)]
    manifest_sha256: Hex64
    study: Annotated[str, Meta(min_length=1, max_length=1024)]
    roots: Annotated[tuple[Root, ...], Meta(max_length=100_000)]
    random_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    sampling: Literal["rank", "shuffle"] | None = None
    subjects: tuple[str, ...]
    files: Size
    bytes: Size
    entries_sha256: Hex64

    @classmethod
    def parse(cls, line: builtins.bytes) -> Header:
        """Read a plan's first line; raises as `Plan.parse` does."""
        try:
            version = msgspec.json.decode(line, type=_Version).plan_version
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PlanError(
                f"line 1: this is not a bidsplan plan: no header with plan_version ({error})"
            ) from error
        if version > PLAN_VERSION:
            raise PlanVersionError(
                f"line 1: the plan has version {version}; this bidsplan reads up to "
                f"{PLAN_VERSION}; update bidsplan"
            )
        try:
            return _HEADER_DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PlanError(f"line 1: not a valid header: {error}") from error


_ENCODER = msgspec.json.Encoder()
_ENTRY_DECODER = msgspec.json.Decoder(Entry)
_HEADER_DECODER = msgspec.json.Decoder(Header)

_BATCH = 4096
"""Entries that are encoded and decoded in one call."""

_PLAIN = re.compile(r"(?!\.)[ -.0-\[\]-~]+(?:/(?!\.)[ -.0-\[\]-~]+)*")
"""Printable ASCII segments, none with a dot in front: safe names, as nearly all are."""


class _Version(msgspec.Struct):
    plan_version: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved download plan: a header and its entries, sorted by path.

    Parameters
    ----------
    header : Header
    entries : tuple of Entry

    Notes
    -----
    Make one with `Plan.build`, which sorts, checks and counts.
    """

    header: Header
    entries: tuple[Entry, ...]

    @classmethod
    def build(
        cls,
        entries: Iterable[Entry],
        *,
        manifest_sha256: str,
        study: str,
        roots: Iterable[Root],
        subjects: Iterable[str],
        random_seed: int | None = None,
        sampling: Literal["rank", "shuffle"] | None = None,
    ) -> Plan:
        """Sort, check and count entries, and put a header over them.

        Parameters
        ----------
        entries : iterable of Entry
            In any order.
        manifest_sha256, study, roots, subjects, random_seed, sampling
            As in `Header`.

        Returns
        -------
        Plan

        Raises
        ------
        PlanError
            Where two entries want one path, a file is also a directory, or a path is unsafe.
        """
        ordered = tuple(sorted(entries, key=attrgetter("path")))
        places = tuple(roots)
        _check_entries(ordered, len(places))
        header = Header(
            plan_version=PLAN_VERSION,
            manifest_sha256=manifest_sha256,
            study=study,
            roots=places,
            random_seed=random_seed,
            sampling=sampling,
            subjects=tuple(sorted(subjects)),
            files=len(ordered),
            bytes=sum(entry.size for entry in ordered),
            entries_sha256=_digest(ordered),
        )
        return cls(header=header, entries=ordered)

    def lines(self) -> Iterator[bytes]:
        """Write the plan, a line at a time, each with its line feed.

        Yields
        ------
        bytes
            The header, then an entry a line: compact JSON, UTF-8.
        """
        yield _ENCODER.encode(self.header) + b"\n"
        for entry in self.entries:
            yield _ENCODER.encode(entry) + b"\n"

    @classmethod
    def parse(cls, lines: Iterable[bytes]) -> Plan:
        """Read a plan, trusting nothing in it.

        Parameters
        ----------
        lines : iterable of bytes
            With or without their line feeds.

        Returns
        -------
        Plan

        Raises
        ------
        PlanVersionError
            Where a newer bidsplan wrote it.
        PlanError
            Where it is truncated, edited, unsafe or no plan at all; the message names the line.
        """
        stream = iter(lines)
        first = next(stream, b"")
        header = Header.parse(first)
        digest = hashlib.sha256()
        entries: list[Entry] = []
        strange = None if _ENCODER.encode(header) == first.rstrip(b"\n") else 1
        while batch := [line.rstrip(b"\n") for line in islice(stream, _BATCH)]:
            text = b"\n".join(batch) + b"\n"
            digest.update(text)
            found = _parse_entries(text, batch, len(entries) + 2)
            if strange is None and _ENCODER.encode_lines(found) != text:
                written = map(_ENCODER.encode, found)
                strange = len(entries) + 2 + list(map(eq, written, batch)).index(False)
            entries += found
        _check_counts(header, entries, digest.hexdigest())
        _check_entries(entries, len(header.roots))
        if strange is not None:
            raise PlanError(
                f"line {strange}: not as bidsplan writes it: doubled or reordered fields, spaces "
                "or escapes; compile it again"
            )
        return cls(header=header, entries=tuple(entries))


def clashes(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Find entries whose paths are one where case or Unicode form is folded.

    Parameters
    ----------
    entries : iterable of Entry

    Yields
    ------
    first, other : Entry
        The first of each such path, and each further one.
    """
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(collision_form(entry.path), entry)
        if first.path != entry.path:
            yield first, entry


def _digest(entries: tuple[Entry, ...]) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(entries), _BATCH):
        digest.update(_ENCODER.encode_lines(entries[start : start + _BATCH]))
    return digest.hexdigest()


def _parse_entries(text: bytes, lines: list[bytes], number: int) -> list[Entry]:
    """Parse lines at once, or one by one where that fails, to name the one that is wrong."""
    try:
        found = _ENTRY_DECODER.decode_lines(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = []
    if len(found) == len(lines):
        return found
    return [_parse_entry(line, number + index) for index, line in enumerate(lines)]


def _parse_entry(line: bytes, number: int) -> Entry:
    try:
        return _ENTRY_DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"line {number}: not a valid entry: {error}") from error


def _check_counts(header: Header, entries: list[Entry], digest: str) -> None:
    total = sum(entry.size for entry in entries)
    if (header.files, header.bytes) != (len(entries), total):
        raise PlanError(
            f"the plan is truncated or edited: its header says {header.files} files and "
            f"{header.bytes} bytes, it holds {len(entries)} and {total}; compile it again"
        )
    if header.entries_sha256 != digest:
        raise PlanError(
            "the plan was edited: its entries do not match the header's entries_sha256; "
            "compile it again"
        )


def _check_entries(entries: Sequence[Entry], roots: int) -> None:
    """Refuse unsafe and doubled paths; `entries` must be sorted by path."""
    previous = directory = ""
    directories: set[str] = set()
    plain = _PLAIN.fullmatch
    for entry in entries:
        path = entry.path
        if path <= previous:
            what = "is there twice" if path == previous else "is out of order"
            raise PlanError(f"the path {path!r} {what}")
        # What can be said of nearly every entry at once; the rest is looked at in detail.
        if (
            not plain(path)
            or entry.content is not None
            or entry.root >= roots
            or not plain(entry.key)
        ):
            _check_entry(entry, roots)
        above = path.rpartition("/")[0]
        if above != directory:
            directories.update(parents(path))
            directory = above
        previous = path
    _check_directories(entries, directories)


def _check_directories(entries: Sequence[Entry], directories: set[str]) -> None:
    for path in sorted(directories):
        found = bisect_left(entries, path, key=attrgetter("path"))
        if found < len(entries) and entries[found].path == path:
            raise PlanError(f"the path {path!r} is both a file and a directory")


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
