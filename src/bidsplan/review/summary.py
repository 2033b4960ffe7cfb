"""Counts a plan's files and bytes, by subject, datatype, pipeline and more."""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from bidsplan.paths import natural_key
from bidsplan.plan.integrity import best_check
from bidsplan.plan.places import placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.places import Place


_LARGEST = 10
"""How many of the largest files a summary names."""

OTHER = ""
"""The name under which files without a subject, session, datatype or so on are counted."""


class Amount(msgspec.Struct, frozen=True):
    """A number of files, and their bytes."""

    files: int
    bytes: int


class LargeFile(msgspec.Struct, frozen=True, kw_only=True):
    """One of a plan's largest files."""

    path: str
    size: int


class PlanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The number and size of a plan's files, counted in several ways.

    The amounts of each dictionary add up to all files of the plan. The key ``""`` counts the other
    files. In `subjects` these are files of no subject, in `pipelines` raw files, and in `suffixes`
    files that describe a dataset.

    Parameters
    ----------
    study : str
        The study's id.
    entries_sha256 : str
        SHA-256 of the plan's entries, which changes if any entry changes.
    roots : tuple of str
        URLs of the datasets that files come from.
    random_seed, sampling : int, str or None
        The seed and the method of the sample, if subjects were sampled.
    files, bytes : int
        Number and total size of all files.
    selected : tuple of str
        The subjects in the plan's header, in natural order. Some may have no files.
    subjects : dict of str to Amount
        Amounts by subject, in natural order. With sites, a subject is ``site/label``.
    sessions, datatypes, suffixes, pipelines : dict of str to Amount
        Amounts by the session, datatype, suffix or pipeline in the file's path, in natural order.
    reasons : dict of str to Amount
        Amounts by the reason why a file is in the plan, the most bytes first.
    proofs : dict of str to Amount
        Amounts by the strongest `CheckMethod` that the plan allows, the most bytes first.
    largest : tuple of LargeFile
        The ten largest files, the largest first.
    """

    study: str
    entries_sha256: str
    roots: tuple[str, ...]
    random_seed: int | None
    sampling: str | None
    files: int
    bytes: int
    selected: tuple[str, ...]
    subjects: dict[str, Amount]
    sessions: dict[str, Amount]
    datatypes: dict[str, Amount]
    suffixes: dict[str, Amount]
    pipelines: dict[str, Amount]
    reasons: dict[str, Amount]
    proofs: dict[str, Amount]
    largest: tuple[LargeFile, ...]


def summarise_plan(plan: Planned) -> PlanSummary:
    """Count the files and bytes of a plan.

    Parameters
    ----------
    plan : Plan or StoredPlan
        The plan. Only its entries are read, and not the files themselves.

    Returns
    -------
    PlanSummary

    Examples
    --------
    >>> from bidsplan.plan import Entry, Plan, Root
    >>> entry = Entry(path="sub-01/anat/sub-01_T1w.nii.gz", key="a", size=9, reason="selected")
    >>> roots = [Root(url="s3://bucket/study")]
    >>> fields = {"manifest_sha256": "0" * 64, "study": "x", "roots": roots, "subjects": ["01"]}
    >>> summarise_plan(Plan.build([entry], **fields)).suffixes
    {'T1w': Amount(files=1, bytes=9)}
    """
    counted = _Counted()
    largest = heapq.nlargest(_LARGEST, counted.follow(placed(plan)), key=_by_size)
    header = plan.header
    return PlanSummary(
        study=header.study,
        entries_sha256=header.entries_sha256,
        roots=tuple(root.url for root in header.roots),
        random_seed=header.random_seed,
        sampling=header.sampling,
        files=header.files,
        bytes=header.bytes,
        selected=tuple(sorted(header.subjects, key=natural_key)),
        subjects=_named(counted.units.items()),
        sessions=_named(counted.by(_SESSION)),
        datatypes=_named(counted.by(_DATATYPE)),
        suffixes=_named(counted.by(_SUFFIX)),
        pipelines=_named(counted.by(_PIPELINE)),
        reasons=_ranked(counted.by(_REASON)),
        proofs=_ranked(counted.by(_PROOF)),
        largest=tuple(LargeFile(path=entry.path, size=entry.size) for entry in largest),
    )


def _by_size(entry: Entry) -> int:
    return entry.size


_Group = tuple[str | None, ...]
_SESSION, _DATATYPE, _SUFFIX, _PIPELINE, _REASON, _PROOF = range(6)


class _Counted:
    """Counts by subject, and by the combination of all other properties."""

    def __init__(self) -> None:
        self.units: dict[str | None, list[int]] = defaultdict(lambda: [0, 0])
        self._groups: dict[_Group, list[int]] = defaultdict(lambda: [0, 0])

    def follow(self, files: Iterable[tuple[Entry, Place]]) -> Iterator[Entry]:
        """Count files, and yield their entries."""
        units, groups = self.units, self._groups
        for entry, place in files:
            _, pipeline, _, session, datatype, suffix, _ = place
            reason = entry.reason
            # The last word of a name such as dataset_description.json says nothing about data.
            named = None if reason == "dataset" else suffix
            group = (session, datatype, named, pipeline, reason, best_check(entry).value)
            of_unit, of_group = units[place.unit], groups[group]
            of_unit[0] += 1
            of_unit[1] += entry.size
            of_group[0] += 1
            of_group[1] += entry.size
            yield entry

    def by(self, field: int) -> Iterator[tuple[str | None, list[int]]]:
        """Yield the amount of each group under one of its fields."""
        for group, amounts in self._groups.items():
            yield group[field], amounts


def _named(rows: Iterable[tuple[str | None, list[int]]]) -> dict[str, Amount]:
    """Add up rows by name, in natural order; rows without a name come last."""
    return _added(rows, lambda row: (row[0] == OTHER, natural_key(row[0]), row[0]))


def _ranked(rows: Iterable[tuple[str | None, list[int]]]) -> dict[str, Amount]:
    """Add up rows by name, the most bytes first."""
    return _added(rows, lambda row: (-row[1][1], -row[1][0], row[0]))


def _added(
    rows: Iterable[tuple[str | None, list[int]]], key: Callable[[tuple[str, list[int]]], object]
) -> dict[str, Amount]:
    sums: dict[str, list[int]] = {}
    for name, (files, size) in rows:
        amounts = sums.setdefault(name or OTHER, [0, 0])
        amounts[0] += files
        amounts[1] += size
    return {name: Amount(*amounts) for name, amounts in sorted(sums.items(), key=key)}  # type: ignore[arg-type] # sort keys are comparable
