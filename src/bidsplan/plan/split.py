"""Splits a plan into many parts at once, with an index of them."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bidsplan.errors import DestinationError, PlanError, UsageError
from bidsplan.paths import printable, relative_path, replacing, unsafe_key
from bidsplan.plan.file import plan_suffix, write_plan
from bidsplan.plan.model import ENCODER
from bidsplan.plan.parse import parse_lines
from bidsplan.plan.parts import header_of_part, is_shared, shares, sites_of
from bidsplan.plan.places import placed
from bidsplan.plan.plan import Plan
from bidsplan.plan.sidecars import Sidecars
from bidsplan.plan.spool import SpooledEntries
from bidsplan.urls import canonical_url, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from bidsplan.plan.model import Entry, Header, Root
    from bidsplan.plan.plan import Planned


class PartFile(NamedTuple):
    """A part of a plan that was written to a file.

    Parameters
    ----------
    name : str
        The subject, the site, or the number of the share.
    plan : str
        The path of the part's file, relative to the directory of the index.
    files, bytes : int
    key : str
        The part's ``entries_sha256``, which changes if a file of the part changes.
    """

    name: str
    plan: str
    files: int
    bytes: int
    key: str


class _Part(NamedTuple):
    """A part to write: its file name, and the description in its header."""

    path: str
    subjects: tuple[str, ...]
    site: str | None
    description: str


def split_by_subject(
    plan: Planned, directory: str | PathLike[str], *, source: str | PathLike[str]
) -> Iterator[PartFile]:
    """Write a plan for each subject, and an index of the plans.

    Parameters
    ----------
    plan : Plan
    directory : path
        The directory to write to, which is created if it does not exist. It gets ``index.tsv``,
        ``index.json`` and, for each subject, ``sub-<label>.plan.jsonl``. With sites, each site's
        plans are in a subdirectory. A part that has not changed keeps its modification time, so
        that workflow engines repeat nothing. The index is always written again.
    source : path
        The plan's own file. Its relative URLs are relative to its directory, and the parts are
        compressed in the same way.

    Yields
    ------
    PartFile
        Each part after it was written, in the order of the header's subjects.

    Raises
    ------
    UsageError
        If the plan has no subjects.
    PlanError
        If a subject's label can't be a file's name.
    DestinationError
        If a file can't be written.
    """
    if not plan.header.subjects:
        raise UsageError(f"{source}: the plan has no subjects to split it by")
    parts = {}
    for unit in plan.header.subjects:
        site, _, label = unit.rpartition("/")
        path = f"{site}/sub-{label}" if site else f"sub-{label}"
        parts[unit] = _Part(path, (unit,), site or None, f"subjects {unit}")
    sidecars = _sidecars_above(plan)
    entries = _of_units(plan, sidecars)
    return _written(plan, parts, entries, sidecars, Path(directory), Path(source))


def split_by_site(
    plan: Planned, directory: str | PathLike[str], *, source: str | PathLike[str]
) -> Iterator[PartFile]:
    """Write a plan for each site; otherwise like `split_by_subject`."""
    subjects: dict[str, list[str]] = defaultdict(list)
    for unit in plan.header.subjects:
        subjects[unit.rpartition("/")[0]].append(unit)
    if set(subjects) <= {""}:
        raise UsageError(f"{source}: the plan has no sites to split it by")
    parts = {
        site: _Part(site, tuple(units), site, f"site {site}") for site, units in subjects.items()
    }
    sidecars = _sidecars_above(plan)
    entries = _of_units(plan, sidecars, by_site=True)
    return _written(plan, parts, entries, sidecars, Path(directory), Path(source))


def split_evenly(
    plan: Planned, directory: str | PathLike[str], number: int, *, source: str | PathLike[str]
) -> Iterator[PartFile]:
    """Write `number` plans of about the same size; otherwise like `split_by_subject`."""
    width, units = len(str(number)), plan.header.subjects
    parts = {
        str(index): _Part(f"part-{index:0{width}}", units, None, f"share {index} of {number}")
        for index in range(1, number + 1)
    }
    entries = ((str(index), None, entry) for index, entry in shares(plan, number))
    return _written(plan, parts, entries, Sidecars(()), Path(directory), Path(source))


def _sidecars_above(plan: Planned) -> Sidecars:
    """Return the sidecars above the directories of subjects."""
    return Sidecars(entry for entry in plan.entries if "/sub-" not in f"/{entry.path}")


def _of_units(
    plan: Planned, sidecars: Sidecars, *, by_site: bool = False
) -> Iterator[tuple[str | None, str | None, Entry]]:
    """Yield each entry with its subject or site, if it has one.

    After the iteration, the parts that need each sidecar are known.
    """
    selected, sites = frozenset(plan.header.subjects), sites_of(plan.header.subjects)
    for entry, place in placed(plan):
        shared = is_shared(entry, place, selected)
        # The files of a site without a selected subject are in every part; otherwise they would be
        # in none.
        site = place.site if place.site in sites else None
        name = None if shared else site if by_site else place.unit
        sidecars.add(name, entry)
        yield name, site, entry


def _written(
    plan: Planned,
    parts: dict[str, _Part],
    entries: Iterable[tuple[str | None, str | None, Entry]],
    sidecars: Sidecars,
    directory: Path,
    source: Path,
) -> Iterator[PartFile]:
    targets, written = _targets(parts, directory, source), []
    try:
        header = moved(plan.header, source.parent, directory)
        by_part = _EntriesByPart(entries)
        for name, part in parts.items():
            found = by_part.of(name, part.site)
            needed = (entry for entry in found if sidecars.is_for(name, entry))
            head = _write_part(part, directory, directory / targets[name], header, needed)
            counts = head.files, head.bytes, head.entries_sha256
            written.append(PartFile(name, targets[name], *counts))
            yield written[-1]
        _write_index(directory, written)
    except OSError as error:
        where = printable(str(error.filename or directory))
        raise DestinationError(f"{where}: can't be written: {error.strerror or error}") from error


def _targets(parts: dict[str, _Part], directory: Path, source: Path) -> dict[str, str]:
    """Return the path of each part, none of which replaces the plan."""
    for part in parts.values():
        if reason := unsafe_key(part.path):
            raise PlanError(f"{source}: {printable(part.path)!r} can't be a file's name: {reason}")
    targets = {name: f"{part.path}.plan{plan_suffix(source)}" for name, part in parts.items()}
    if source.resolve() in {(directory / target).resolve() for target in targets.values()}:
        raise UsageError(f"{source}: a part would replace the plan; choose another directory")
    return targets


def _write_part(
    part: _Part, directory: Path, path: Path, header: Header, entries: Iterable[Entry]
) -> Header:
    """Write a part unless it is unchanged; return its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.structs.replace(header_of_part(header, part.description), subjects=part.subjects)
    if path.parent != directory:
        head = moved(head, directory, path.parent)
    made = Plan.rebuild(head, entries)
    write_plan(made, path, keep_equal=True)
    return made.header


class _EntriesByPart:
    """A plan's entries by part, in a temporary file.

    Entries without a part are in every part. Entries with a site only are in all parts of that
    site.
    """

    def __init__(self, entries: Iterable[tuple[str | None, str | None, Entry]]) -> None:
        self._shared: dict[str | None, list[Entry]] = defaultdict(list)
        self._spooled = SpooledEntries()
        self._blocks: dict[str, list[int]] = defaultdict(list)
        for name, run in groupby(entries, itemgetter(0)):
            if name is None:
                for _, site, entry in run:
                    self._shared[site].append(entry)
                continue
            some = [entry for _, _, entry in run]
            self._blocks[name].append(self._spooled.number_of_blocks)
            self._spooled.append(ENCODER.encode_lines(some), len(some))

    def of(self, name: str, site: str | None) -> Iterator[Entry]:
        """Yield the entries of a part."""
        for block in self._blocks[name]:
            for text in self._spooled.texts(block, block + 1):
                yield from parse_lines(text)
        yield from self._shared[None]
        if site is not None:
            yield from self._shared[site]


def moved(header: Header, before: Path, after: Path) -> Header:
    """Return the header of a plan that moves to another directory."""

    def move(root: Root) -> Root:
        location = parse_url(root.url)
        if location.protocol != "file" or Path(location.path).is_absolute():
            return root
        path = relative_path(before / location.path, after)
        return msgspec.structs.replace(root, url=canonical_url(path))

    return msgspec.structs.replace(header, roots=tuple(map(move, header.roots)))


def _write_index(directory: Path, parts: list[PartFile]) -> None:
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(PartFile._fields)
    table.writerows(parts)
    documents = {
        "index.tsv": text.getvalue(),
        "index.json": json.dumps([part._asdict() for part in parts], indent=1) + "\n",
    }
    for name, document in documents.items():
        with replacing(directory / name) as file:
            file.write(document.encode())
