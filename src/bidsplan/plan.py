"""The plan: which bytes go where, resolved.

A plan is the seam of the project. What compiles a manifest ends here; what fetches and verifies
starts here and knows nothing of manifests. The models are msgspec structures, since a plan may
hold a million entries.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from bidsplan.errors import PlanError, PlanVersionError
from bidsplan.keys import collision_form, parents, unsafe_key, unsafe_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PLAN_VERSION", "Entry", "Header", "Plan", "Reason", "Root", "clashes", "plan_schema"]

PLAN_VERSION = 1

Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]

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
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
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


_ENCODER = msgspec.json.Encoder()
_ENTRY_DECODER = msgspec.json.Decoder(Entry)
_HEADER_DECODER = msgspec.json.Decoder(Header)


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
        ordered = tuple(sorted(entries, key=lambda entry: entry.path))
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
            entries_sha256=_digest(_lines(ordered)),
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
        yield from _lines(self.entries)

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
        numbered = enumerate(lines, start=1)
        header = _parse_header(next(numbered, (1, b""))[1])
        digest = hashlib.sha256()
        entries: list[Entry] = []
        for number, line in numbered:
            digest.update(line.rstrip(b"\n") + b"\n")
            entries.append(_parse_entry(line, number))
        _check_counts(header, entries, digest.hexdigest())
        _check_entries(entries, len(header.roots))
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


def _lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    for entry in entries:
        yield _ENCODER.encode(entry) + b"\n"


def _digest(lines: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


def _parse_header(line: bytes) -> Header:
    try:
        version = msgspec.json.decode(line, type=_Version).plan_version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(
            f"line 1: this is not a bidsplan plan; expected a header with plan_version ({error})"
        ) from error
    if version > PLAN_VERSION:
        raise PlanVersionError(
            f"line 1: the plan has version {version}; this bidsplan reads up to {PLAN_VERSION}; "
            "update bidsplan"
        )
    try:
        return _HEADER_DECODER.decode(line)
    except msgspec.MsgspecError as error:
        raise PlanError(f"line 1: not a valid header: {error}") from error


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


def _check_entries(entries: Iterable[Entry], roots: int) -> None:
    """Refuse unsafe and doubled paths; `entries` must be sorted by path."""
    previous = ""
    directories: set[str] = set()
    files: set[str] = set()
    for entry in entries:
        if entry.path <= previous:
            what = "is there twice" if entry.path == previous else "is out of order"
            raise PlanError(f"the path {entry.path!r} {what}")
        _check_entry(entry, roots)
        directories.update(parents(entry.path))
        files.add(entry.path)
        previous = entry.path
    for path in sorted(files & directories):
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


def plan_schema() -> dict[str, object]:
    """Give the JSON Schema of a plan's lines.

    Returns
    -------
    dict
        JSON Schema 2020-12: a line is a header or an entry.
    """
    (header, entry), definitions = msgspec.json.schema_components(
        [Header, Entry], ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bidsplan plan",
        "description": "One line of a plan (JSON Lines): the header first, then the entries.",
        "anyOf": [header, entry],
        "$defs": definitions,
    }
