"""Decides when to stop a run, because other files would fail too."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.errors import (
    BidsplanError,
    CredentialsError,
    DeniedError,
    DestinationError,
    DiskFullError,
    Problem,
    ThrottledError,
    UnreachableError,
)

if TYPE_CHECKING:
    from bidsplan.destination.base import Destination

_IN_A_ROW = 20
"""Files that can't be reached, each tried several times, or can't be written, and none between."""


class CircuitBreaker:
    """Counts failures; `why` says why the run must stop, if it must."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._in_a_row = 0
        self._lock = Lock()
        # Preparing takes requests, and failures are counted on the event loop meanwhile.
        self._preparing = Lock()
        self._prepared = False

    def prepare(self, destination: Destination) -> None:
        """Check once whether files can be written, before many are read."""
        with self._preparing:
            if self._prepared or destination.stop.is_set():
                return
            try:
                destination.prepare()
            except (DeniedError, DestinationError):
                self.why = self.why or "the destination can't be written"
                destination.stop.set()
                raise
            self._prepared = True

    def problem(self) -> Problem:
        """Describe why the run stopped, and what to do."""
        message = f"the run stopped, since other files would fail in the same way: {self.why}"
        return Problem(message=message, hint="run it again to resume")

    def succeeded(self) -> None:
        """Note that a file was fetched."""
        self._in_a_row = 0

    def failed(self, error: BidsplanError) -> bool:
        """Note that a file failed; returns whether the run must stop."""
        with self._lock:
            # The classes below DestinationError are of one file; it itself is the file system's.
            general = (
                isinstance(error, UnreachableError | ThrottledError)
                or type(error) is DestinationError
            )
            self._in_a_row += general
            if isinstance(error, DiskFullError):
                self.why = self.why or "the disk is full"
            elif isinstance(error, CredentialsError):
                self.why = self.why or "the credentials are refused"
            elif general and self._in_a_row >= _IN_A_ROW:
                self.why = self.why or f"{_IN_A_ROW} files in a row failed ({error.code})"
            return self.why is not None
