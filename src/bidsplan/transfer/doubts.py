"""Records that files were found wrong, so that their receipts no longer prove them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.destination.receipts import (
    FetchedStates,
    ReceiptIndex,
    ReceiptWriter,
    make_doubt,
)
from bidsplan.errors import BidsplanError, Problem
from bidsplan.events import Warned
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.destination.base import Destination
    from bidsplan.plan import Entry


class Doubts:
    """The files of a destination that were read and are wrong.

    A file whose content changes while its size and time stay the same still matches its receipt.
    """

    def __init__(self, place: Destination) -> None:
        self._place = place
        self._writer = ReceiptWriter(place.write_receipts)
        self._known: ReceiptIndex | None = None
        self._fetched: FetchedStates | None = None
        self._lock = Lock()

    def is_outdated(self, path: str, content: str) -> bool:
        """Report whether bidsplan fetched a file for another plan, and nobody changed it since.

        Parameters
        ----------
        content : str
            The file's xxh3-128.
        """
        with self._lock:
            if self._fetched is None:
                self._fetched = FetchedStates(self._place.read_receipts())
        state = self._place.state(path)
        return state is not None and self._fetched.has(path, state.size, state.identity, content)

    def add(self, entry: Entry, source: str) -> None:
        """Record that a file is wrong, if a fetch would keep it without reading it.

        Parameters
        ----------
        source : str
            A fingerprint of the entry's source.
        """
        path = entry.path
        try:
            state = self._place.state(path)
            if state is None or (identity := state.identity) is None:
                return
            size = state.size
            known = self._receipts()
            times = known.times_wrong(path, size, identity)
            proof = known.find(path, size, identity, source)
            if proof is None and not times:
                proof = self._place.proof(entry, state)
        except BidsplanError as error:
            self._writer.trouble = error
            return
        if proof is not None and self._writer.add(make_doubt(path, size, identity, times + 1)):
            self._writer.flush()

    def _receipts(self) -> ReceiptIndex:
        """Read the receipts, when the first file is found wrong."""
        with self._lock:
            if self._known is None:
                self._known = ReceiptIndex(self._place.read_receipts())
            return self._known

    def flush(self) -> None:
        """Write the records."""
        self._writer.flush()

    def problems(self) -> Iterator[Warned]:
        """Yield the problem that prevented the records from being written, if any."""
        if trouble := self._writer.trouble:
            reason = getattr(trouble, "strerror", None) or trouble
            message = (
                f"{printable(self._place.url)}: the receipts of the wrong files could not be "
                f"changed ({reason}), so a fetch still keeps these files"
            )
            hint = "verify again with permission to write there"
            yield Warned(problem=Problem(message=message, hint=hint))
