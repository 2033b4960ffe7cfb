"""When to stop a run whose other files would fail alike."""

from __future__ import annotations

from threading import Lock

from bidsplan.errors import (
    BidsplanError,
    CredentialsError,
    DestinationError,
    DiskFullError,
    Problem,
    ThrottledError,
    UnreachableError,
)

_IN_A_ROW = 20
"""Files that can't be reached, each tried several times, or can't be written, and none between."""


class CircuitBreaker:
    """Counts failures; `why` says why the run must stop, where it must."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._in_a_row = 0
        self._lock = Lock()

    def problem(self) -> Problem:
        """Describe that the run stopped, why, and what to do."""
        message = f"the run stopped, as others would fail alike: {self.why}"
        return Problem(message=message, hint="run it again: it goes on from here")

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
