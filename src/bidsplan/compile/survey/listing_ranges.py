"""Lists neighbouring directories together, with fewer requests."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.storage import Object


DirectoryId = tuple[int, str]
"""A dataset's directory, as the number of its root and the path below the root."""


def directory_id(dataset: Dataset, directory: str) -> DirectoryId:
    """Return the identity of a dataset's directory."""
    return dataset.root, f"{dataset.prefix}{directory}"


class ListingRange(NamedTuple):
    """Neighbouring directories in a dataset's listing."""

    dataset: Dataset
    names: list[str]

    def list_together(
        self, counted: Callable[[Iterable[Object]], Iterator[Object]]
    ) -> dict[str, list[Object]]:
        """List neighbouring directories at once; none if keys are not in order.

        Parameters
        ----------
        counted : callable
            Passes on a listing's objects, and raises an error if there are too many.
        """
        prefix = self.dataset.prefix
        found: dict[str, list[Object]] = {}
        # In the order of keys, a dot is directly before a slash, and a zero directly after it.
        previous, end = f"{prefix}{self.names[0]}.", f"{prefix}{self.names[-1]}0"
        for item in counted(self.dataset.store.list_after(prefix, previous)):
            if item.key <= previous:
                return {}
            previous = item.key
            if previous >= end:
                break
            name, slash, _ = previous[len(prefix) :].partition("/")
            if slash:
                found.setdefault(name, []).append(item)
        return found


def listing_ranges(
    wanted: Iterable[tuple[Dataset, str]], siblings: Mapping[DirectoryId, list[str]], most: int
) -> list[ListingRange]:
    """Group directories that are neighbours in the order of a listing.

    Parameters
    ----------
    siblings : mapping of list of str
        All directories at datasets' roots, in a listing's order.
    most : int
        The most directories in one range.
    """
    following = {
        (*above, name): after
        for above, names in siblings.items()
        for name, after in pairwise(names)
    }
    ranges: list[ListingRange] = []
    for dataset, name in sorted(wanted, key=lambda pair: (pair[0].root, f"{pair[1]}/")):
        last = ranges[-1] if ranges else None
        if (
            last is not None
            and last.dataset == dataset
            and dataset.store.abilities.ordered_listings
            and len(last.names) < most
            and following.get((dataset.root, dataset.prefix, last.names[-1])) == name
        ):
            last.names.append(name)
        else:
            ranges.append(ListingRange(dataset, [name]))
    return ranges
