"""What is taken of each dataset, and the plan's entries that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import Problem
from bidsplan.keys import printable
from bidsplan.plan import Entry, clashes
from bidsplan.selection.dataset_files import DESCRIPTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.listing import Dataset
    from bidsplan.plan import Reason
    from bidsplan.storage import Object

__all__ = ["Taken", "collisions", "description"]


def description(name: str, *, derivative: bool) -> str:
    """Write a dataset_description.json for a dataset that has none.

    Parameters
    ----------
    name : str
        Of the study or pipeline.
    derivative : bool

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
class Taken:
    """What is taken of one dataset.

    Parameters
    ----------
    dataset : Dataset
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
        """Give the objects that are taken.

        Yields
        ------
        Object
        """
        return (self.files[path] for path in self.reasons)

    def entries(self) -> Iterator[Entry]:
        """Make the plan's entries.

        Yields
        ------
        Entry
        """
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


def collisions(entries: Iterable[Entry]) -> list[Problem]:
    """Tell the paths that are one file where case or Unicode form is folded.

    Parameters
    ----------
    entries : iterable of Entry
        Sorted by path.

    Returns
    -------
    list of Problem
    """
    return [
        Problem(
            message=f"{printable(first.path)!r} and {printable(other.path)!r} are one file "
            "where case or Unicode form does not count"
        )
        for first, other in clashes(entries)
    ]
