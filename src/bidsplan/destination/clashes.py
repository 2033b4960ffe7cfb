"""Paths that a file system takes for one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bidsplan.errors import DestinationError
from bidsplan.paths import printable
from bidsplan.plan import clashes

if TYPE_CHECKING:
    from bidsplan.destination.directory import Destination
    from bidsplan.plan import Entry, Planned


class Clashes:
    """Refuses entries of a plan whose paths are another's in its destination."""

    def __init__(self, plan: Planned, folder: Destination) -> None:
        self._plan = plan
        self._folder = folder

    def refuse(self, entry: Entry) -> None:
        """Refuse an entry, if need be.

        Raises
        ------
        DestinationError
        """
        first = self._others.get(entry.path)
        if first is not None:
            raise DestinationError(
                f"{printable(entry.path)}: this file system takes it for {printable(first)!r}; "
                "fetch to one where case and Unicode form count"
            )

    @functools.cached_property
    def _others(self) -> dict[str, str]:
        """Paths that are another's, by path; looked for only where there is work to do."""
        if not self._folder.folds_names():
            return {}
        return {other.path: first.path for first, other in clashes(self._plan.entries)}
