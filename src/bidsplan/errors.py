"""Every error that bidsplan raises on purpose, in one tree.

::

    BidsplanError
    ├── UsageError (ValueError)                  exit code 2: what was asked for is wrong
    │   ├── ManifestError                        the manifest is not a valid one
    │   ├── UnsupportedError                     valid, and not built yet
    │   ├── ArgumentTypeError (TypeError)        an argument of another type than it may have
    │   ├── LibraryError (ImportError)           an optional library is not installed
    │   ├── UrlError                             a URL that is refused
    │   └── PlanError                            the plan is not a valid one
    │       ├── PlanVersionError                 written by a newer bidsplan
    │       └── StalePlanError                   the plan is missing, or of another manifest
    ├── SelectionError (LookupError)             the study does not hold what was asked for
    ├── StorageError (OSError)                   the source could not be listed or read
    │   ├── SourceMissingError (FileNotFoundError)
    │   │   └── RootMissingError                 the local folder of a whole dataset
    │   ├── SourceChangedError                   not the object that was planned
    │   ├── DeniedError (PermissionError)
    │   │   └── CredentialsError                 expired or unknown: no request will do better
    │   ├── RefusedHostError (PermissionError)   a host that may not be asked, or a redirect to one
    │   ├── ThrottledError                       asked to slow down; worth another try
    │   └── UnreachableError (ConnectionError)   no answer, or a broken one; worth another try
    ├── IntegrityError (ValueError)              bytes arrived, and not those that were planned
    │   └── UnprovedError                        nothing shows that they are those
    └── DestinationError (OSError)               the destination could not be written
        ├── ExistingFileError (FileExistsError)
        ├── MissingFileError (FileNotFoundError)
        ├── UnsafePathError                      a symbolic link where a directory should be
        ├── LockedError (BlockingIOError)        another run is at work there
        └── DiskFullError

Leaves also inherit the builtin that callers would catch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from bidsplan.messages import LONGEST_MESSAGE, LONGEST_PART, clipped, printed_size, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


Place = tuple[str | int, ...]


def dotted(place: Iterable[str | int]) -> str:
    """Write a place in a document as people do.

    Parameters
    ----------
    place : iterable of str or int
        Mapping keys and list indices, outermost first.

    Examples
    --------
    >>> dotted(("files", 0, "suffixes"))
    'files[0].suffixes'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: what, where, what was expected, what to do.

    Parameters
    ----------
    message : str
        What is wrong, with what was met instead.
    at : tuple of str or int
        Where in the document: mapping keys and list indices, outermost first.
    expected : str, optional
        What would have been right.
    hint : str, optional
        What to do about it.
    file : str, optional
        The document's name.
    line : int, optional
        Its line, counted from 1.

    Notes
    -----
    The message, what was expected and the hint are shortened where they are long.
    """

    message: str
    at: Place = ()
    expected: str | None = None
    hint: str | None = None
    file: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        # Whatever text it quotes, and whoever shows it: secrets go first, lest half of one stays.
        for name in ("message", "expected", "hint"):
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, clipped(redacted(text), LONGEST_PART))
        if self.file is not None:
            object.__setattr__(self, "file", redacted(self.file))

    def __str__(self) -> str:
        """One line: ``file:line: dotted.place: message; expected …; hint``."""
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        parts = [part for part in (where, dotted(self.at)) if part]
        tail = [self.message]
        if self.expected:
            tail.append(f"expected {self.expected}")
        if self.hint:
            tail.append(self.hint)
        return clipped(": ".join([*parts, "; ".join(tail)]))


class BidsplanError(Exception):
    """Base of all errors that bidsplan raises on purpose.

    Parameters
    ----------
    message : str, optional
        The message, which is shortened where it is long, and in which what looks like a secret is
        hidden; made from the first of `problems` where it is not given.
    problems : iterable of Problem, optional
        Everything that is wrong, each with its place.

    Attributes
    ----------
    exit_code : int
        What the command line exits with.
    code : str
        A stable name of the kind of failure, for machines and for summaries.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, *, problems: Iterable[Problem] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        if message is None:
            message = _joined(self.problems)
        super().__init__(clipped(redacted(message)))

    def located(self, locate: Callable[[Problem], Problem]) -> Self:
        """Give every problem the file and line that only its reader knows.

        Parameters
        ----------
        locate : callable
            Takes a problem, gives it back with its ``file`` and ``line``.

        Returns
        -------
        BidsplanError
            A new error of the same class, its problems by line, or this one when it has none.
        """
        if not self.problems:
            return self
        located = [locate(problem) for problem in self.problems]
        return type(self)(problems=sorted(located, key=lambda problem: problem.line or 0))


def _joined(problems: tuple[Problem, ...]) -> str:
    """Write as many problems as a message may hold, a line each, and how many more there are."""
    lines: list[str] = []
    left = LONGEST_MESSAGE - len(f"… and {len(problems):,} more problems")
    for problem in problems:
        line = str(problem)
        left -= printed_size(line) + 1
        if lines and left < 0:
            more = len(problems) - len(lines)
            return "\n".join([*lines, f"and {more:,} more problem{'s' * (more != 1)}"])
        lines.append(line)
    return "\n".join(lines)


class UsageError(BidsplanError, ValueError):
    """What was asked for is wrong, whatever the storage holds."""

    exit_code: ClassVar[int] = 2
    code: ClassVar[str] = "usage"


class ManifestError(UsageError):
    """The manifest is not a valid one; lists all that is wrong with it."""

    code: ClassVar[str] = "manifest"


class UnsupportedError(UsageError):
    """A valid request for something that is not built yet."""

    code: ClassVar[str] = "unsupported"


class ArgumentTypeError(UsageError, TypeError):
    """An argument of another type than it may have."""

    code: ClassVar[str] = "argument-type"


class LibraryError(UsageError, ImportError):
    """A library that only some functions need is not installed."""

    code: ClassVar[str] = "library"


class UrlError(UsageError):
    """A URL that is refused: its protocol, its host or its form."""

    code: ClassVar[str] = "url"


class PlanError(UsageError):
    """The plan is not a valid one: truncated, edited or never one."""

    code: ClassVar[str] = "plan"


class PlanVersionError(PlanError):
    """The plan was written by a newer bidsplan."""

    code: ClassVar[str] = "plan-version"


class StalePlanError(PlanError):
    """The plan is missing, or it was compiled from another manifest."""

    code: ClassVar[str] = "plan-stale"


class SelectionError(BidsplanError, LookupError):
    """The study does not hold what the manifest asks for."""

    code: ClassVar[str] = "selection"


class StorageError(BidsplanError, OSError):
    """The source could not be listed or read."""

    code: ClassVar[str] = "storage"


class SourceMissingError(StorageError, FileNotFoundError):
    """There is no such object, or nothing below the prefix."""

    code: ClassVar[str] = "source-missing"


class RootMissingError(SourceMissingError):
    """The local folder that a plan's files come from is not there."""


class SourceChangedError(StorageError):
    """The object is no longer the one that was planned."""

    code: ClassVar[str] = "source-changed"


class DeniedError(StorageError, PermissionError):
    """The storage refuses: no permission, or credentials that do not hold."""

    code: ClassVar[str] = "denied"


class CredentialsError(DeniedError):
    """The credentials have expired, or are not known; every further request would fail alike."""

    code: ClassVar[str] = "credentials"


class RefusedHostError(StorageError, PermissionError):
    """A host that may not be asked, or a redirect to one."""

    code: ClassVar[str] = "refused-host"


class ThrottledError(StorageError):
    """The storage asks to slow down.

    Attributes
    ----------
    retry_after : float or None
        Seconds that the server asked to wait for.
    """

    code: ClassVar[str] = "throttled"
    retry_after: float | None = None


class UnreachableError(StorageError, ConnectionError):
    """No answer, or one that broke off."""

    code: ClassVar[str] = "unreachable"


class IntegrityError(BidsplanError, ValueError):
    """Bytes arrived, and they are not those that were planned."""

    code: ClassVar[str] = "corrupt"


class UnprovedError(IntegrityError):
    """Nothing but its size shows that a file is the planned one, and that is not enough."""

    code: ClassVar[str] = "unproved"


class DestinationError(BidsplanError, OSError):
    """The destination could not be written."""

    code: ClassVar[str] = "destination"


class ExistingFileError(DestinationError, FileExistsError):
    """A file that differs stands where a planned one should go."""

    code: ClassVar[str] = "existing"


class MissingFileError(DestinationError, FileNotFoundError):
    """A planned file is not in the destination."""

    code: ClassVar[str] = "missing"


class UnsafePathError(DestinationError):
    """A symbolic link, or something else that is no directory, on the way to a file."""

    code: ClassVar[str] = "unsafe-path"


class LockedError(DestinationError, BlockingIOError):
    """Another run is at work in the destination."""

    code: ClassVar[str] = "locked"


class DiskFullError(DestinationError):
    """No space, no quota, or a file that is too large for the file system."""

    code: ClassVar[str] = "disk-full"


def at_line(problem: Problem, file: str, line: int | None) -> Problem:
    """Give a problem its file and line, where it has none yet."""
    return problem if problem.file else replace(problem, file=file, line=line)
