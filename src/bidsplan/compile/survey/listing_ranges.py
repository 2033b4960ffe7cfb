"""Directories that follow one another, listed together at a fraction of the requests."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.storage import Object


DirectoryId = tuple[int, str]
"""A directory of any dataset: the root's number, and the path below it."""


def in_listings(name: str) -> str:
    """Give what a directory is sorted by in a listing of what it holds."""
    return f"{name}/"


def directory_id(dataset: Dataset, directory: str) -> DirectoryId:
    """Tell a dataset's directory from all others."""
    return dataset.root, f"{dataset.prefix}{directory}"


class ListingRange(NamedTuple):
    """Directories of a dataset that follow one another.

    Parameters
    ----------
    names : list of str
        In the order of a listing.
    """

    dataset: Dataset
    names: list[str]

    def listed(
        self, counted: Callable[[Iterable[Object]], Iterator[Object]]
    ) -> dict[str, list[Object]] | None:
        """List them all at once.

        Parameters
        ----------
        counted : callable
            Passes a listing's objects on, and raises where they are too many.

        Returns
        -------
        dict of list, or None
            By name; None where the storage does not keep to the order of keys.

        Raises
        ------
        StorageError
            Where they can't be listed.
        """
        above = self.dataset.prefix
        first, last = (f"{above}{name}" for name in (self.names[0], self.names[-1]))
        found: dict[str, list[Object]] = {}
        # A dot comes right before a slash, and a zero right behind it.
        previous, end = f"{first}.", f"{last}0"
        listing = counted(self.dataset.store.list_after(above, previous))
        for item in listing:
            if item.key <= previous:
                return None
            previous = item.key
            if previous >= end:
                break
            name, slash, _ = previous[len(above) :].partition("/")
            if slash:
                found.setdefault(name, []).append(item)
        return found


def listing_ranges(
    wanted: Iterable[tuple[Dataset, str]], names: Mapping[DirectoryId, list[str]], most: int
) -> list[ListingRange]:
    """Put directories together between whose listings there is no other directory.

    Parameters
    ----------
    names : mapping of list of str
        The directories that stand at datasets' roots, in the order of listings.
    most : int
        How many directories a stretch may have.

    Returns
    -------
    list of ListingRange
        In the order of listings.
    """
    found: list[ListingRange] = []
    following: dict[tuple[int, str, str], str] = {
        (*above, name): after for above, below in names.items() for name, after in pairwise(below)
    }
    for dataset, name in sorted(
        wanted, key=lambda pair: (directory_id(*pair)[0], in_listings(pair[1]))
    ):
        last = found[-1] if found else None
        if (
            last is not None
            and last.dataset == dataset
            and dataset.store.abilities.ordered_listings
            and len(last.names) < most
            and following.get((dataset.root, dataset.prefix, last.names[-1])) == name
        ):
            last.names.append(name)
        else:
            found.append(ListingRange(dataset, [name]))
    return found
