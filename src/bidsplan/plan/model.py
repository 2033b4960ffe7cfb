"""The models of a plan's roots, entries and header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from bidsplan.errors import PlanError, PlanVersionError
from bidsplan.messages import has_user_info

if TYPE_CHECKING:
    import builtins


PLAN_VERSION = 1

LARGEST_SIZE = 2**63 - 1
"""Most bytes of a file, and of all files of a plan."""

LONGEST_LINE = 1 << 24
"""Most bytes of a plan's line; the header lists every subject."""

MOST_SUBJECTS = 1_000_000

_MOST_COMMAS = 1_500_000
"""Most commas in a header's line, for all subjects and roots that it may have."""

Size = Annotated[int, Meta(ge=0, le=LARGEST_SIZE)]
# The lengths are limited too, because "$" also matches before a last line feed.
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]

# Both are sent in headers or queries of requests, and "$" would allow a last line feed.
EntityTag = Annotated[str, Meta(pattern=r"^[ !#-~]+(?![\s\S])", max_length=1024)]
VersionId = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]+(?![\s\S])", max_length=1024)]

Reason = Literal[
    "selected", "inherited", "association", "fieldmap", "reference", "table", "dataset"
]
"""Why an entry is in a plan: a filter selects it, or a selected file needs it."""

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The errors of JSON that is not valid, or does not fit a model."""


class Root(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A dataset's location in storage.

    Parameters
    ----------
    url : str
        An fsspec URL, or a local path. A relative path is relative to the plan's directory.
    anonymous : bool or None
        Whether requests are unsigned; None if the protocol has no signed requests.
    """

    url: Annotated[str, Meta(min_length=1, max_length=4096)]
    anonymous: bool | None = None

    def __post_init__(self) -> None:
        if has_user_info(self.url):
            raise PlanError("a root's URL is refused: it holds a user name or password")


class Entry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    # Text and numbers form no cycles, and a million entries would slow down the collector.
    gc=False,
):
    """One file of a plan.

    Parameters
    ----------
    path : str
        Path below the destination, in POSIX form.
    key : str
        The object's name below its root; empty for a generated file.
    size : int
        Size in bytes.
    reason : str
        Why the file is in the plan: selected, inherited, association, fieldmap, reference, table
        or dataset.
    root : int
        Index of the file's root in the header's `roots`.
    etag : str or None
        The strong HTTP entity tag without quotes; None for local files and memory.
    version : str or None
        The object's VersionId, if versions are pinned.
    md5, sha256 : str or None
        Digests in hexadecimal, if they are known.
    content : str or None
        The whole text of a generated file, which has no source.
    """

    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    key: Annotated[str, Meta(max_length=4096)] = ""
    size: Size
    reason: Reason
    root: Annotated[int, Meta(ge=0, le=100_000)] = 0
    etag: EntityTag | None = None
    version: VersionId | None = None
    md5: Hex32 | None = None
    sha256: Hex64 | None = None
    content: Annotated[str, Meta(max_length=65_536)] | None = None


class Header(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A plan's first line: what the plan was compiled from, and what it contains.

    Parameters
    ----------
    plan_version : int
        The version of the plan format.
    manifest_sha256 : str
        SHA-256 of the manifest's canonical form, which ignores comments and layout.
    study : str
        The study's id.
    roots : tuple of Root
        The datasets that entries come from.
    random_seed : int or None
        The seed of the sample, if subjects were sampled.
    sampling : str or None
        The method of sampling: rank or shuffle.
    subjects : tuple of str
        The selected subjects' labels, sorted. If the manifest lists sites, they are
        ``site/label``.
    files, bytes : int
        Number and total size of the planned files.
    entries_sha256 : str
        SHA-256 of the entries' lines, each with its line feed.
    part : str or None
        Which part of a larger plan this is; None for a whole plan. Several parts may be fetched to
        one destination at the same time. `prune` refuses a part, since the destination may contain
        the files of other parts.
    """

    plan_version: Annotated[int, Meta(ge=1)]
    manifest_sha256: Hex64
    study: Annotated[str, Meta(min_length=1, max_length=1024)]
    roots: Annotated[tuple[Root, ...], Meta(max_length=100_000)]
    random_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    sampling: Literal["rank", "shuffle"] | None = None
    subjects: Annotated[tuple[str, ...], Meta(max_length=MOST_SUBJECTS)]
    files: Size
    bytes: Size
    entries_sha256: Hex64
    part: Annotated[str, Meta(min_length=1, max_length=65_536)] | None = None

    @classmethod
    def parse(cls, line: builtins.bytes) -> Header:
        """Parse a plan's first line; raises the errors of `Plan.parse`."""
        # Counted first, since millions of short words would take far more memory than their text.
        if line.count(b",") > _MOST_COMMAS:
            raise PlanError("line 1: it names more subjects or roots than a plan may have")
        try:
            version = msgspec.json.decode(line, type=_Version).plan_version
        except DECODE_ERRORS as error:
            if is_conflict(line):
                raise PlanError(f"line 1: {CONFLICT}") from error
            raise PlanError(
                f"line 1: this is not a bidsplan plan: no header with plan_version ({error})"
            ) from error
        if version > PLAN_VERSION:
            raise PlanVersionError(
                f"line 1: the plan has version {version}; this bidsplan reads up to "
                f"{PLAN_VERSION}; update bidsplan"
            )
        if line.endswith(b"\r\n"):
            raise PlanError(
                "line 1: it ends in CRLF: git or an editor has changed the plan's line ends; "
                "compile it again, and add '*.plan.jsonl -text' to .gitattributes"
            )
        try:
            return HEADER_DECODER.decode(line)
        except DECODE_ERRORS as error:
            raise PlanError(f"line 1: not a valid header: {error}") from error


CONFLICT = "git could not merge two versions of the plan; compile it again"


def is_conflict(line: builtins.bytes) -> bool:
    """Report whether a line is a marker that git writes if versions can't be merged."""
    return line.startswith((b"<<<<<<< ", b"||||||| ", b"=======", b">>>>>>> "))


class _Version(msgspec.Struct):
    plan_version: int


ENCODER = msgspec.json.Encoder()
ENTRY_DECODER = msgspec.json.Decoder(Entry)
HEADER_DECODER = msgspec.json.Decoder(Header)
