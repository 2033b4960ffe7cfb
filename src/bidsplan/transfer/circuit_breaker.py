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
"""How many files in a row may be unreachable after retries, or not writable."""


class CircuitBreaker:
    """Counts failures; `why` says why the run must stop, if it must."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._in_a_row = 0
        self._lock = Lock()
        # Preparing sends requests, and the event loop counts failures meanwhile.
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
            # The subclasses of DestinationError concern one file, and the class itself the file
            # system.
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
