"""Checks that a listing is complete, and raises an error otherwise."""

from __future__ import annotations

from collections import Counter
from heapq import merge
from itertools import pairwise
from operator import lt
from typing import TYPE_CHECKING

from bidsplan.errors import ListingError, StorageError
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


_MOST_ITEMS = 10_000_000
"""The most objects and directories of one listing."""

_MOST_EMPTY = 250
"""The most empty pages in a row; servers that hide many objects send some."""

_LONGEST_SHOWN = 200


class Pager:
    """Checks the pages of one listing against each other.

    Names must be in ascending order over all pages, and below the listed prefix. No page may lead
    back to an earlier one. Storage orders keys by their bytes. Some gateways order them directory
    by directory instead, so that a slash comes before all other characters; then all pages must
    have this order.

    Parameters
    ----------
    what : str
        The listing's name, for messages.
    prefix : str
        The prefix that each name must begin with.
    server : str
        The server's name, for messages.
    delimited : bool
        Whether only names directly below the prefix are listed. Names of directories end in ``/``.
    """

    def __init__(self, what: str, prefix: str, server: str, *, delimited: bool) -> None:
        self._what, self._prefix, self._server = what, prefix, server
        self._delimited = delimited
        self._key: Callable[[str], str] = str
        self._last = ""
        self._places: set[tuple[str, ...]] = set()
        self._items = self._empty = 0

    def check(
        self, names: Sequence[list[str]], number: int, following: Mapping[str, str] | None
    ) -> None:
        """Check the next page.

        Raises ListingError if the page does not fit into a complete listing, and StorageError if
        there are too many names.

        Parameters
        ----------
        names : sequence of list of str
            The names of each kind, in the order of the page.
        number : int
            How many items the page lists, including those that are not in `names`.
        following : mapping of str to str, or None
            The beginning of the next page, from the server; None after the last page.
        """
        self._check_place(following)
        self._items += number
        self._empty = 0 if number else self._empty + 1
        if self._items > _MOST_ITEMS:
            most = f"{_MOST_ITEMS:,} objects and directories"
            raise StorageError(f"{self._what}: it has more than {most}; check the URL")
        if self._empty > _MOST_EMPTY:
            raise self._error("the server sends empty pages without end")
        names = [some for some in names if some]
        if names:
            self._check_order(names)
            self._check_place_of(names)

    def _check_place(self, following: Mapping[str, str] | None) -> None:
        if following is None:
            return
        place = tuple(following.values())
        if not any(place):
            raise self._error("the server says that more follows, but not how to request it")
        if place in self._places:
            raise self._error("the server sends the same page again and again")
        self._places.add(place)

    def _check_order(self, names: Sequence[list[str]]) -> None:
        rows, wrong = self._misplaced(names)
        if wrong and self._key is str:
            self._key = _by_directory
            rows, still = self._misplaced(names)
            wrong = wrong if still else None
        if wrong:
            before, name = (_shown(each.replace("\0", "/")) for each in wrong)
            raise self._error(
                f"the server lists {name} after {before}: names are repeated or out of order"
            )
        self._last = rows[-1]

    def _misplaced(self, names: Sequence[list[str]]) -> tuple[list[str], tuple[str, str] | None]:
        """Return a page's names, and the first two in wrong order."""
        key = self._key
        merged: Iterable[str] = names[0] if len(names) == 1 else merge(*names, key=key)
        rows = [key(self._last), *(merged if key is str else map(key, merged))]
        if all(map(lt, rows, rows[1:])):
            return rows, None
        return rows, next(pair for pair in pairwise(rows) if pair[0] >= pair[1])

    def _check_place_of(self, names: Sequence[list[str]]) -> None:
        skip = len(self._prefix)
        # A name between two names with the same start has that start too, in either order.
        ends = [each for some in names for each in (some[0], some[-1])]
        stray = [name for name in ends if not name.startswith(self._prefix)]
        if self._delimited:
            stray += [name for some in names for name in some if "/" in name[skip:-1]]
        if stray:
            raise self._error(f"the server lists {_shown(stray[0])}, which was not asked for")

    def _error(self, problem: str) -> ListingError:
        return ListingError(
            f"{self._what}: {problem}; what {self._server} lists is not whole: use another "
            "endpoint, or report this to its operator"
        )


def _by_directory(name: str) -> str:
    return name.replace("/", "\0")


def _shown(name: str) -> str:
    return repr(printable(name)[:_LONGEST_SHOWN])


def check_names(names: Iterable[str], prefix: str, what: str) -> None:
    """Check a whole listing, whose names may be in any order.

    Raises ListingError if a name occurs twice, or does not begin with the prefix.
    """
    for name, times in Counter(names).items():
        if times > 1 or not name.startswith(prefix):
            why = f"is listed {times} times" if times > 1 else "was not asked for"
            raise ListingError(f"{what}: {_shown(name)} {why}; this storage's listing is not whole")
