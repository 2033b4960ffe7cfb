"""Every error that bidsplan raises on purpose, in one tree.

::

    BidsplanError
    ├── FetchFailed                        some files were not fetched
    ├── UsageError (ValueError)            the request is wrong: exit code 2
    │   ├── ManifestError, UnsupportedError, UrlError
    │   ├── ArgumentTypeError (TypeError), LibraryError (ImportError)
    │   └── PlanError
    │       └── PlanVersionError, StalePlanError
    ├── SelectionError (LookupError)       the study lacks what the manifest selects
    ├── StorageError (OSError)             the source could not be listed or read
    │   ├── SourceMissingError (FileNotFoundError)
    │   │   └── RootMissingError
    │   ├── SourceChangedError, ArchivedError, ListingError, NoIndexError
    │   ├── DeniedError (PermissionError)
    │   │   └── CredentialsError
    │   ├── RefusedHostError (PermissionError)
    │   └── ThrottledError, UnreachableError (ConnectionError)
    ├── IntegrityError (ValueError)        the bytes are not the planned ones
    │   └── UnprovedError
    └── DestinationError (OSError)         the destination could not be written
        ├── ExistingFileError (FileExistsError), MissingFileError (FileNotFoundError)
        └── UnsafePathError, LockedError (BlockingIOError), DiskFullError

Leaves also inherit the builtin that callers would catch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from bidsplan.help_codes import HelpCode, help_line
from bidsplan.messages import LONGEST_MESSAGE, LONGEST_PART, clipped, printed_size, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


Place = tuple[str | int, ...]


def dotted(place: Iterable[str | int]) -> str:
    """Write a place in a document as text, such as ``files[0].suffixes``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong, and where; long texts are shortened and secrets hidden.

    Parameters
    ----------
    message : str
        What is wrong, and the value found.
    at : tuple of str or int
        Place in the document: mapping keys and list indices, outermost first.
    expected : str, optional
        What would be valid.
    hint : str, optional
        What to do about it.
    file : str, optional
        The document's name.
    line : int, optional
        Its line, counted from 1.
    help_code : HelpCode, optional
        The entry of troubleshooting about it; that of its error where none is given.
    """

    message: str
    at: Place = ()
    expected: str | None = None
    hint: str | None = None
    file: str | None = None
    line: int | None = None
    help_code: HelpCode | None = None

    def __post_init__(self) -> None:
        for name in ("message", "expected", "hint"):
            text = getattr(self, name)
            if text is not None:
                # Redacted before it is cut, lest half a secret remains.
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
        Shortened where it is long, its secrets hidden; by default made from `problems`.
    problems : iterable of Problem, optional
        Everything that is wrong, each with its place.
    help_code : HelpCode, optional
        The entry of troubleshooting that says what to do; by default that of the problems, if all
        have the same, or else of the class.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line.
    code : str
        A stable name of the kind of failure, for ``--json`` and summaries.

    Notes
    -----
    A traceback ends with the command that prints the entry. The text of the error lacks it, since
    other messages quote it.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    help_code: HelpCode = HelpCode.BUG

    def __init_subclass__(cls, code: str | None = None, help_code: HelpCode | None = None) -> None:
        cls.code = code or cls.code
        cls.help_code = help_code or cls.help_code

    def __init__(
        self,
        message: str | None = None,
        *,
        problems: Iterable[Problem] = (),
        help_code: HelpCode | None = None,
    ) -> None:
        own = help_code or self.help_code
        self.problems: tuple[Problem, ...] = tuple(
            problem if problem.help_code else replace(problem, help_code=own)
            for problem in problems
        )
        if message is None:
            message = _joined(self.problems)
        super().__init__(clipped(redacted(message)))
        self.help_code = own
        codes = self.help_codes()
        if help_code is None and len(codes) == 1:
            [self.help_code] = codes
        self.add_note(help_line(codes))

    def help_codes(self) -> set[HelpCode]:
        """Return the codes of all problems, or the error's own where it has none."""
        return {problem.help_code for problem in self.problems if problem.help_code} or {
            self.help_code
        }

    def located(self, locate: Callable[[Problem], Problem]) -> Self:
        """Return this error with its problems located, by a function, and sorted by line."""
        if not self.problems:
            return self
        located = [locate(problem) for problem in self.problems]
        located.sort(key=lambda problem: problem.line or 0)
        return type(self)(problems=located, help_code=self.help_code)


def _joined(problems: tuple[Problem, ...]) -> str:
    """Write as many problems as fit a message, one a line, and the number of the others."""
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


class FailedFile(NamedTuple):
    """A file that could not be fetched.

    Parameters
    ----------
    path : str
        Its path below the destination, which is unchanged.
    error : BidsplanError
        Why; its `code` is a stable name.
    """

    path: str
    error: BidsplanError


class FetchFailed(BidsplanError, code="fetch-failed", help_code=HelpCode.FETCH_FAILED):  # noqa: N818 - says what happened
    """Some files were not fetched; all others are complete, and fetching again resumes.

    Parameters
    ----------
    message : str
    failed : sequence of FailedFile
        The files that failed.
    skipped : sequence of str
        Paths of the files that were not finished, since the run had to stop before.
    """

    def __init__(
        self, message: str, *, failed: Sequence[FailedFile] = (), skipped: Sequence[str] = ()
    ) -> None:
        self.failed = tuple(failed)
        self.skipped = tuple(skipped)
        super().__init__(message)

    def help_codes(self) -> set[HelpCode]:
        """Return the codes of all files that failed."""
        return set().union(*(file.error.help_codes() for file in self.failed)) or {self.help_code}


class UsageError(BidsplanError, ValueError, code="usage", help_code=HelpCode.USAGE):
    """The request is wrong, whatever the storage holds."""

    exit_code: ClassVar[int] = 2


class Choice(StrEnum):
    """Base of options that have few values, each of which may be given as text."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        values = ", ".join(repr(member.value) for member in cls)
        raise UsageError(f"{value!r} is no value of {cls.__name__}; expected one of {values}")


class ManifestError(UsageError, code="manifest", help_code=HelpCode.MANIFEST):
    """The manifest is invalid; lists everything wrong with it."""


class UnsupportedError(UsageError, code="unsupported", help_code=HelpCode.UNSUPPORTED):
    """A valid request for something that is not implemented."""


class ArgumentTypeError(UsageError, TypeError, code="argument-type"):
    """An argument of the wrong type."""


class LibraryError(UsageError, ImportError, code="library", help_code=HelpCode.LIBRARY):
    """A library that only some functions need is not installed."""


class UrlError(UsageError, code="url", help_code=HelpCode.URL):
    """A URL that is refused: its protocol, its host or its form."""


class PlanError(UsageError, code="plan", help_code=HelpCode.PLAN):
    """The plan is invalid: truncated, edited, or not a plan."""


class PlanVersionError(PlanError, code="plan-version", help_code=HelpCode.PLAN_VERSION):
    """The plan was written by a newer bidsplan."""


class StalePlanError(PlanError, code="plan-stale", help_code=HelpCode.PLAN_STALE):
    """The plan is missing, or was compiled from another manifest."""


class SelectionError(BidsplanError, LookupError, code="selection", help_code=HelpCode.SELECTION):
    """The study lacks what the manifest selects."""


class StorageError(BidsplanError, OSError, code="storage", help_code=HelpCode.STORAGE):
    """The source could not be listed or read."""


class SourceMissingError(
    StorageError, FileNotFoundError, code="source-missing", help_code=HelpCode.SOURCE_MISSING
):
    """There is no such object, or nothing below the prefix."""


class RootMissingError(SourceMissingError, help_code=HelpCode.ROOT_MISSING):
    """The local directory that a plan's files come from does not exist."""


class SourceChangedError(StorageError, code="source-changed", help_code=HelpCode.SOURCE_CHANGED):
    """The object is no longer the one that was planned."""


class ArchivedError(StorageError, code="archived", help_code=HelpCode.ARCHIVED):
    """The object is in an archive, and must be restored before it can be read."""


class ListingError(StorageError, help_code=HelpCode.LISTING):
    """The pages of a listing do not add up to a whole one."""


class NoIndexError(StorageError, code="no-index", help_code=HelpCode.NO_INDEX):
    """A web server has no index of a directory, so its files can't be listed."""


class DeniedError(StorageError, PermissionError, code="denied", help_code=HelpCode.DENIED):
    """The storage denies access: no permission, or invalid credentials."""


class CredentialsError(DeniedError, code="credentials", help_code=HelpCode.CREDENTIALS):
    """The credentials have expired or are unknown; every further request would fail too."""


class RefusedHostError(
    StorageError, PermissionError, code="refused-host", help_code=HelpCode.REFUSED_HOST
):
    """A host that must not be contacted, or a redirect to one."""


class ThrottledError(StorageError, code="throttled", help_code=HelpCode.THROTTLED):
    """The storage asks to slow down, for `retry_after` seconds if it says so; retried."""

    retry_after: float | None = None


class UnreachableError(
    StorageError, ConnectionError, code="unreachable", help_code=HelpCode.UNREACHABLE
):
    """No response, or one that broke off; retried."""


class IntegrityError(BidsplanError, ValueError, code="corrupt", help_code=HelpCode.CORRUPT):
    """Bytes arrived, and they are not the planned ones."""


class UnprovedError(IntegrityError, code="unproved", help_code=HelpCode.UNPROVED):
    """Only its size shows that a file is the planned one, and that is not enough."""


class DestinationError(BidsplanError, OSError, code="destination", help_code=HelpCode.DESTINATION):
    """The destination could not be written."""


class ExistingFileError(
    DestinationError, FileExistsError, code="existing", help_code=HelpCode.EXISTING
):
    """A different file exists at a planned path."""


class MissingFileError(
    DestinationError, FileNotFoundError, code="missing", help_code=HelpCode.MISSING
):
    """A planned file is not in the destination."""


class UnsafePathError(DestinationError, code="unsafe-path", help_code=HelpCode.UNSAFE_PATH):
    """A symbolic link, or another non-directory, among a path's directories."""


class LockedError(DestinationError, BlockingIOError, code="locked", help_code=HelpCode.LOCKED):
    """Another run holds the destination's lock."""


class DiskFullError(DestinationError, code="disk-full", help_code=HelpCode.DISK_FULL):
    """No space, no quota, or a file too large for the file system."""
