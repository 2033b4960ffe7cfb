"""What is taken of each dataset, and the plan's entries that it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.errors import Problem
from bidsplan.paths import printable
from bidsplan.plan import Entry, clashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.errors import Place
    from bidsplan.plan import Reason
    from bidsplan.storage import Object


def description(name: str, *, derivative: bool) -> str:
    """Write a dataset_description.json for a dataset that has none.

    Parameters
    ----------
    name : str
        Of the study or pipeline.

    Returns
    -------
    str
        JSON that says by ``GeneratedBy`` that bidsplan wrote it.
    """
    text: dict[str, object] = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative" if derivative else "raw",
        "GeneratedBy": [
            {
                "Name": "bidsplan",
                "Description": "The source has no dataset_description.json; "
                "this one only makes the folder a BIDS dataset.",
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetEntries:
    """What is taken of one dataset.

    Parameters
    ----------
    files : mapping of str to Object
        All that was listed, by path below the dataset's root.
    reasons : mapping of str to str
        Why each path is taken.
    generated : str or None
        The text of a dataset_description.json, where the source has none and one is wanted.
    """

    dataset: Dataset
    files: Mapping[str, Object]
    reasons: Mapping[str, Reason]
    generated: str | None = None

    def objects(self) -> Iterator[Object]:
        """Give the objects that are taken."""
        return (self.files[path] for path in self.reasons)

    def same(self, path: str, other: DatasetEntries) -> bool:
        """Tell whether a path is the same object in another dataset, which lands at one place."""
        place = (self.dataset.destination + path).removeprefix(other.dataset.destination)
        mine, theirs = self.files[path], other.files[place]
        return (self.dataset.root, mine.key) == (other.dataset.root, theirs.key)

    def entries(self) -> Iterator[Entry]:
        """Make the plan's entries."""
        dataset = self.dataset
        for path, reason in self.reasons.items():
            item = self.files[path]
            yield Entry(
                path=dataset.landing(path),
                key=item.key,
                size=item.size,
                reason=reason,
                root=dataset.root,
                etag=item.etag,
                version=item.version,
            )
        if self.generated is not None:
            yield Entry(
                path=dataset.landing(DESCRIPTION),
                size=len(self.generated.encode()),
                reason="dataset",
                content=self.generated,
            )


def drop_repeats(
    groups: Iterable[tuple[Place, Iterable[DatasetEntries]]],
) -> tuple[list[DatasetEntries], list[Problem]]:
    """Keep what is taken twice only once, for its first reason.

    Whole directories and pipelines may hold what was selected in its own right.

    Parameters
    ----------
    groups : iterable of (Place, iterable of DatasetEntries)
        Each with its place in the manifest.

    Returns
    -------
    problems : list of Problem
        Where different objects are to land at one path.
    """
    kept: list[DatasetEntries] = []
    problems: list[Problem] = []
    for at, some in groups:
        for taken in some:
            doubled = _doubled(taken, kept)
            others = (pair for pair in doubled.items() if not taken.same(*pair))
            problems += [_two_sources(taken, path, other, at) for path, other in islice(others, 1)]
            reasons = {path: why for path, why in taken.reasons.items() if path not in doubled}
            kept.append(replace(taken, reasons=reasons) if doubled else taken)
    return kept, problems


def _two_sources(taken: DatasetEntries, path: str, other: DatasetEntries, at: Place) -> Problem:
    place = printable(taken.dataset.destination + path)
    first, second = other.dataset.where, taken.dataset.where
    return Problem(message=f"{place!r} would come both from {first} and from {second}", at=at)


def _doubled(taken: DatasetEntries, before: Iterable[DatasetEntries]) -> dict[str, DatasetEntries]:
    """Find the paths of a dataset that land where an earlier one's do."""
    here = taken.dataset.destination
    doubled: dict[str, DatasetEntries] = {}
    for other in before:
        there = other.dataset.destination
        if here.startswith(there):
            below = here[len(there) :]
            doubled.update({p: other for p in taken.reasons if below + p in other.reasons})
        elif there.startswith(here):
            below = there[len(here) :]
            doubled.update({below + p: other for p in other.reasons if below + p in taken.reasons})
    return doubled


def collisions(entries: Iterable[Entry]) -> list[Problem]:
    """Tell the paths that are one file where case or Unicode form is folded.

    Parameters
    ----------
    entries : iterable of Entry
        Sorted by path.
    """
    return [
        Problem(
            message=f"{printable(first.path)!r} and {printable(other.path)!r} are one file "
            "where case or Unicode form does not count"
        )
        for first, other in clashes(entries)
    ]
