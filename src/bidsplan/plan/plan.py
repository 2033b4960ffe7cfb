"""A whole plan: built, written and parsed."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence  # msgspec resolves the types of fields
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from bidsplan.errors import PlanError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import collision_form, printable
from bidsplan.plan import model
from bidsplan.plan.model import ENCODER, Entry, Header, Root
from bidsplan.plan.parse import PathCheck, read_entries
from bidsplan.plan.places import Places, pipelines_of
from bidsplan.plan.spool import SpooledEntries, blocks_of, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_PARTS = 256
"""Parts of a plan's hashes that are searched for repeated ones, one by one."""

_LONG = 1000
"""Bytes of a line below which nothing in it can be too long."""


class Planned(Protocol):
    """A plan, in memory or on disk; its entries are sorted and can be iterated repeatedly."""

    @property
    def header(self) -> Header: ...  # noqa: D102 - see the class

    @property
    def entries(self) -> Iterable[Entry]: ...  # noqa: D102 - see the class

    def to_dicts(self) -> list[dict[str, object]]: ...  # noqa: D102 - see `Plan`


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved download plan: a header and its entries, sorted by path.

    Parameters
    ----------
    header : Header
    entries : sequence of Entry
        A tuple; or, where a large plan was compiled with ``spool=True``, `SpooledEntries`.

    Notes
    -----
    Make one with `Plan.build`, which sorts, checks and counts.
    """

    header: Header
    entries: Sequence[Entry]

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
        """Sort, check and count entries, and make their header.

        Parameters
        ----------
        entries : iterable of Entry
            In any order; `SpooledEntries` must be sorted, and stay where they are.
        manifest_sha256, study, roots, subjects, random_seed, sampling
            As in `Header`.

        Raises
        ------
        PlanError
            Where two entries have the same path, a file is also a directory, a path is unsafe, or
            a reader would refuse the header or an entry.
        """
        ordered: Sequence[Entry] = (
            entries
            if isinstance(entries, SpooledEntries)
            else tuple(sorted(entries, key=attrgetter("path")))
        )
        places = tuple(roots)
        size, digest = _check_entries(ordered, len(places))
        header = Header(
            plan_version=model.PLAN_VERSION,
            manifest_sha256=manifest_sha256,
            study=study,
            roots=places,
            random_seed=random_seed,
            sampling=sampling,
            subjects=tuple(sorted(subjects)),
            files=len(ordered),
            bytes=size,
            entries_sha256=digest,
        )
        _check_header(header)
        return cls(header=header, entries=ordered)

    @classmethod
    def rebuild(cls, header: Header, entries: Iterable[Entry]) -> Plan:
        """Build a plan of other entries for the manifest, roots and subjects of a header."""
        names = ("manifest_sha256", "study", "roots", "subjects", "random_seed", "sampling")
        built = cls.build(entries, **{name: getattr(header, name) for name in names})
        head = msgspec.structs.replace(built.header, part=header.part)
        return msgspec.structs.replace(built, header=head)

    def to_dicts(self) -> list[dict[str, object]]:
        """Return the entries as dictionaries, for a table such as a pandas DataFrame.

        Returns
        -------
        list of dict
            One for each entry, all with the keys of `Entry`; ``url``, that of its root, None for a
            generated file; and as its path says, else None, ``subject``, ``session``, ``datatype``,
            ``suffix``, ``extension`` and ``pipeline``. With sites, a subject is ``site/label``.
        """
        return entry_dicts(self)

    def lines(self) -> Iterator[bytes]:
        """Yield the header, then each entry: a line of compact JSON with its line feed."""
        for text in self.texts():
            yield from text.splitlines(keepends=True)

    def texts(self) -> Iterator[bytes]:
        """Yield the header's line, then the lines of some thousands of entries at a time."""
        yield ENCODER.encode(self.header) + b"\n"
        yield from texts_of(self.entries)

    @classmethod
    def parse(cls, lines: Iterable[bytes]) -> Plan:
        """Parse a plan and check all that can be checked.

        Parameters
        ----------
        lines : iterable of bytes
            With or without their line feeds; the header's first, then any number at a time.

        Raises
        ------
        PlanVersionError
            Where a newer bidsplan wrote it.
        PlanError
            Where it is truncated, edited, unsafe or not a plan; the message names the line.
        """
        blocks = (line if line.endswith(b"\n") else line + b"\n" for line in lines)
        first = next(blocks, b"\n")
        header = Header.parse(first)
        entries = [entry for some in read_entries(header, blocks, first=first) for entry in some]
        return cls(header=header, entries=tuple(map(_frugal, entries)))


def _frugal(entry: Entry) -> Entry:
    """Let an entry have its key's text once where its path is the same, as it mostly is."""
    if entry.key == entry.path:
        msgspec.structs.force_setattr(entry, "key", entry.path)
    return entry


def entry_dicts(plan: Planned) -> list[dict[str, object]]:
    """Return a plan's entries as dictionaries; see `Plan.to_dicts`."""
    roots = plan.header.roots
    places = Places(plan.header, pipelines_of(plan))
    return [
        {
            **msgspec.structs.asdict(entry),
            "url": roots[entry.root].url if entry.content is None else None,
            **places(entry.path).columns(entry.reason),
        }
        for entry in plan.entries
    ]


class ClashFinder:
    """Finds paths that differ only in case or Unicode form, with eight bytes for each path."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_PARTS)]

    def add(self, path: str) -> None:
        """Add a path."""
        found = hash(collision_form(path))
        self._hashes[found % _PARTS].append(found)

    def pairs(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
        """Yield pairs of the entries whose paths were added, the first first."""
        # Nearly always there are none, and a set of one part is all that is made.
        repeated = {
            each
            for part in self._hashes
            if len(set(part)) < len(part)
            for each, times in Counter(part).items()
            if times > 1
        }
        seen: dict[str, Entry] = {}
        for entry in entries if repeated else ():
            form = collision_form(entry.path)
            if hash(form) in repeated:
                first = seen.setdefault(form, entry)
                if first.path != entry.path:
                    yield first, entry


def clashes(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Yield pairs of entries whose paths differ only in case or Unicode form, the first first.

    The entries can be iterated repeatedly.
    """
    finder = ClashFinder()
    for entry in entries:
        finder.add(entry.path)
    return finder.pairs(entries)


def _check_header(header: Header) -> None:
    """Refuse a header that a reader would refuse."""
    line = ENCODER.encode(header)
    if len(header.subjects) > model.MOST_SUBJECTS or len(line) >= model.LONGEST_LINE:
        raise PlanError(
            f"the plan would name {len(header.subjects):,} subjects in {len(line):,} bytes; the "
            f"most are {model.MOST_SUBJECTS:,} in {model.LONGEST_LINE:,}; select fewer, or split "
            "the manifest by site",
            help_code=HelpCode.LIMIT,
        )
    try:
        model.HEADER_DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise PlanError(f"the plan's header can't be written: {error}") from error


def _check_entries(entries: Sequence[Entry], roots: int) -> tuple[int, str]:
    """Check sorted entries, and return their bytes and the digest of their lines."""
    digest, size = hashlib.sha256(), 0
    check = PathCheck(roots)
    for some, text in blocks_of(entries):
        check(some)
        size += sum(entry.size for entry in some)
        digest.update(text)
        if max(map(len, text.split(b"\n"))) > _LONG:
            _check_long(some)
    if size > model.LARGEST_SIZE:
        raise PlanError(
            f"the files have {size:,} bytes in all, more than a plan can say "
            f"({model.LARGEST_SIZE:,}); the storage reports impossible sizes",
            help_code=HelpCode.LIMIT,
        )
    return size, digest.hexdigest()


def _check_long(entries: Iterable[Entry]) -> None:
    """Refuse entries with names or tags that a reader would refuse as too long."""
    for entry in entries:
        try:
            model.ENTRY_DECODER.decode(ENCODER.encode(entry))
        except msgspec.ValidationError as error:
            raise PlanError(
                f"the file {printable(entry.path[:80])!r} can't be in a plan: {error}; exclude it"
            ) from error
