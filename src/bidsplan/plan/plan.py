"""A whole plan: builds, writes and parses it."""

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
"""Groups that the hashes of paths are divided into; each is searched by itself."""

_LONG = 1000
"""Lines that are shorter than these bytes have no value that is too long."""


class Planned(Protocol):
    """A plan, in memory or on disk.

    Its entries are sorted by path, and can be iterated repeatedly.
    """

    @property
    def header(self) -> Header: ...  # noqa: D102 - see the class

    @property
    def entries(self) -> Iterable[Entry]: ...  # noqa: D102 - see the class

    def to_dicts(self) -> list[dict[str, object]]: ...  # noqa: D102 - see `Plan`


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A download plan: a header, and entries sorted by path.

    Parameters
    ----------
    header : Header
    entries : sequence of Entry
        A tuple. For a large plan that was compiled with ``spool=True``, it is `SpooledEntries`,
        which reads the entries from a temporary file.

    Notes
    -----
    Make a plan with `Plan.build`, which sorts and checks the entries and counts them for the
    header.
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
        """Build a plan: sort, check and count entries, and make their header.

        Parameters
        ----------
        entries : iterable of Entry
            Entries in any order. `SpooledEntries` must be sorted already; they are not copied to
            memory.
        manifest_sha256, study, roots, subjects, random_seed, sampling
            As in `Header`.

        Raises
        ------
        PlanError
            If two entries have the same path, a path is both a file and a directory, a path is
            unsafe, or the header or an entry would not be valid in a plan's file.
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
        """Build a plan of other entries, with a header for the same manifest and subjects.

        Parameters
        ----------
        header : Header
            The header of the original plan.
        entries : iterable of Entry
            As in `build`.

        Returns
        -------
        Plan

        Raises
        ------
        PlanError
            As in `build`.
        """
        names = ("manifest_sha256", "study", "roots", "subjects", "random_seed", "sampling")
        built = cls.build(entries, **{name: getattr(header, name) for name in names})
        head = msgspec.structs.replace(built.header, part=header.part)
        return msgspec.structs.replace(built, header=head)

    def to_dicts(self) -> list[dict[str, object]]:
        """Return the entries as dictionaries, for a table such as a pandas DataFrame.

        Returns
        -------
        list of dict
            One dictionary for each entry. It has all fields of `Entry`, and ``url``: the URL of the
            entry's root, or None for a generated file. It also has ``subject``, ``session``,
            ``datatype``, ``suffix``, ``extension`` and ``pipeline``, each None if the path does not
            name it. With sites, a subject is ``site/label``.
        """
        return entry_dicts(self)

    def lines(self) -> Iterator[bytes]:
        """Yield the header and then each entry as a line of compact JSON."""
        for text in self.texts():
            yield from text.splitlines(keepends=True)

    def texts(self) -> Iterator[bytes]:
        """Yield the header's line, then blocks of some thousand lines."""
        yield ENCODER.encode(self.header) + b"\n"
        yield from texts_of(self.entries)

    @classmethod
    def parse(cls, lines: Iterable[bytes]) -> Plan:
        """Parse a plan, and check it completely.

        Parameters
        ----------
        lines : iterable of bytes
            The header's line first, then blocks of one or more lines. The last line feed of each
            block may be missing.

        Returns
        -------
        Plan

        Raises
        ------
        PlanVersionError
            If the plan was written by a newer version of bidsplan.
        PlanError
            If the lines are not a plan, or the plan is truncated, was edited or has an unsafe path.
            The message names the line.
        """
        blocks = (line if line.endswith(b"\n") else line + b"\n" for line in lines)
        first = next(blocks, b"\n")
        header = Header.parse(first)
        entries = [entry for some in read_entries(header, blocks, first=first) for entry in some]
        return cls(header=header, entries=tuple(map(_frugal, entries)))


def _frugal(entry: Entry) -> Entry:
    """Store an entry's text once if its key and path are equal."""
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
    """Finds paths that differ only in case or Unicode form."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_PARTS)]

    def add(self, path: str) -> None:
        """Add a path."""
        found = hash(collision_form(path))
        self._hashes[found % _PARTS].append(found)

    def pairs(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
        """Yield pairs of added entries whose paths clash, in their order."""
        # There are hardly ever any, so one set at a time is all that takes memory.
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
    """Yield pairs of entries whose paths differ only in case or Unicode form.

    The entries must allow repeated iteration. Each pair is in their order.
    """
    finder = ClashFinder()
    for entry in entries:
        finder.add(entry.path)
    return finder.pairs(entries)


def _check_header(header: Header) -> None:
    """Refuse a header that could not be read again."""
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
    """Refuse entries whose names or tags are too long to be read again."""
    for entry in entries:
        try:
            model.ENTRY_DECODER.decode(ENCODER.encode(entry))
        except msgspec.ValidationError as error:
            raise PlanError(
                f"the file {printable(entry.path[:80])!r} can't be in a plan: {error}; exclude it"
            ) from error
