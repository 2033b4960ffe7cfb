"""A whole plan: built, written and parsed."""

from __future__ import annotations

import hashlib
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_BATCH = 4096
"""Entries that are encoded in one call."""

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
        """Sort, check and count entries, and make their header.

        Parameters
        ----------
        entries : iterable of Entry
            In any order.
        manifest_sha256, study, roots, subjects, random_seed, sampling
            As in `Header`.

        Raises
        ------
        PlanError
            Where two entries have the same path, a file is also a directory, a path is unsafe, or
            a reader would refuse the header or an entry.
        """
        ordered = tuple(sorted(entries, key=attrgetter("path")))
        places = tuple(roots)
        PathCheck(len(places))(ordered)
        size = sum(entry.size for entry in ordered)
        if size > model.LARGEST_SIZE:
            raise PlanError(
                f"the files have {size:,} bytes in all, more than a plan can say "
                f"({model.LARGEST_SIZE:,}); the storage reports impossible sizes",
                help_code=HelpCode.LIMIT,
            )
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
            entries_sha256=_digest(ordered),
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
        yield ENCODER.encode(self.header) + b"\n"
        for entry in self.entries:
            yield ENCODER.encode(entry) + b"\n"

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
            Where it is truncated, edited, unsafe or no plan at all; the message names the line.
        """
        blocks = (line if line.endswith(b"\n") else line + b"\n" for line in lines)
        first = next(blocks, b"\n")
        header = Header.parse(first)
        entries = [entry for some in read_entries(header, blocks, first=first) for entry in some]
        return cls(header=header, entries=tuple(entries))


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


def clashes(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Yield pairs of entries whose paths differ only in case or Unicode form, the first first."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(collision_form(entry.path), entry)
        if first.path != entry.path:
            yield first, entry


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


def _digest(entries: tuple[Entry, ...]) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(entries), _BATCH):
        some = entries[start : start + _BATCH]
        text = ENCODER.encode_lines(some)
        digest.update(text)
        if max(map(len, text.split(b"\n"))) > _LONG:
            _check_long(some)
    return digest.hexdigest()


def _check_long(entries: Iterable[Entry]) -> None:
    """Refuse entries with names or tags that a reader would refuse as too long."""
    for entry in entries:
        try:
            model.ENTRY_DECODER.decode(ENCODER.encode(entry))
        except msgspec.ValidationError as error:
            raise PlanError(
                f"the file {printable(entry.path[:80])!r} can't be in a plan: {error}; exclude it"
            ) from error
