"""Every error that bidsplan raises on purpose, in one tree.

::

    BidsplanError
    ├── FetchFailed                        some files were not fetched
    ├── UsageError (ValueError)            the request is not valid: exit code 2
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
    │   └── OutdatedError, UnprovedError
    └── DestinationError (OSError)         the destination could not be written
        ├── ExistingFileError (FileExistsError), MissingFileError (FileNotFoundError)
        └── UnsafePathError, LockedError (BlockingIOError), DiskFullError

Classes with a name in brackets also inherit from that builtin error.
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
    """One problem in a manifest, a plan or a study, with its place.

    Long texts are shortened, and secrets in them are hidden.

    Parameters
    ----------
    message : str
        What is wrong, and the value that was found.
    at : tuple of str or int
        The place in the document: mapping keys and list indices, outermost first.
    expected : str, optional
        What would be valid.
    hint : str, optional
        What to do about the problem.
    file : str, optional
        The document's name.
    line : int, optional
        The line in the document, counted from 1.
    help_code : HelpCode, optional
        The code of the troubleshooting entry about this problem; by default that of the error.
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
                # Redacted before it is cut, so that half of a secret can't remain.
                object.__setattr__(self, name, clipped(redacted(text), LONGEST_PART))
        if self.file is not None:
            object.__setattr__(self, "file", redacted(self.file))

    def __str__(self) -> str:
        """Return one line: ``file:line: dotted.place: message; expected …; hint``."""
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        parts = [part for part in (where, dotted(self.at)) if part]
        tail = [self.message]
        if self.expected:
            tail.append(f"expected {self.expected}")
        if self.hint:
            tail.append(self.hint)
        return clipped(": ".join([*parts, "; ".join(tail)]))


class BidsplanError(Exception):
    """Base class of all errors that bidsplan raises on purpose.

    Parameters
    ----------
    message : str, optional
        The error's text. A long text is shortened, and secrets are hidden. The default is made
        from `problems`.
    problems : iterable of Problem, optional
        All problems, each with its place.
    help_code : HelpCode, optional
        The code of the troubleshooting entry that says what to do. The default is the code that
        all problems have in common, or else that of the class.

    Attributes
    ----------
    exit_code : int
        The exit code of a command that ends with this error.
    code : str
        A stable name for this kind of failure, for ``--json`` and summaries.

    Notes
    -----
    A traceback ends with the command that prints the troubleshooting entry. The text of the error
    itself does not contain this command, because other messages quote that text.
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
        """Return the help codes of all problems or, without problems, the error's own."""
        return {problem.help_code for problem in self.problems if problem.help_code} or {
            self.help_code
        }

    def located(self, locate: Callable[[Problem], Problem]) -> Self:
        """Return this error with its problems sorted by line.

        `locate` adds the file and line to a problem.
        """
        if not self.problems:
            return self
        located = [locate(problem) for problem in self.problems]
        located.sort(key=lambda problem: problem.line or 0)
        return type(self)(problems=located, help_code=self.help_code)


def _joined(problems: tuple[Problem, ...]) -> str:
    """Write one problem on each line, as many as fit, and count the rest."""
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
        The path below the destination. The file at this path is unchanged.
    error : BidsplanError
        Why the file failed; its `code` is a stable name.
    """

    path: str
    error: BidsplanError


class FetchFailed(BidsplanError, code="fetch-failed", help_code=HelpCode.FETCH_FAILED):  # noqa: N818 - says what happened
    """Some files could not be fetched, and all others are complete.

    Fetch again to resume.

    Parameters
    ----------
    message : str
    failed : sequence of FailedFile
        The files that failed.
    skipped : sequence of str
        Paths of the files that were not finished because the run was stopped first.
    """

    def __init__(
        self, message: str, *, failed: Sequence[FailedFile] = (), skipped: Sequence[str] = ()
    ) -> None:
        self.failed = tuple(failed)
        self.skipped = tuple(skipped)
        super().__init__(message)

    def help_codes(self) -> set[HelpCode]:
        """Return the help codes of all files that failed."""
        return set().union(*(file.error.help_codes() for file in self.failed)) or {self.help_code}


class UsageError(BidsplanError, ValueError, code="usage", help_code=HelpCode.USAGE):
    """The request can't be carried out: an argument, manifest, plan or URL must be changed."""

    exit_code: ClassVar[int] = 2


class Choice(StrEnum):
    """Base class of options with few values, which may be given as text."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        values = ", ".join(repr(member.value) for member in cls)
        raise UsageError(f"{value!r} is no value of {cls.__name__}; expected one of {values}")


class ManifestError(UsageError, code="manifest", help_code=HelpCode.MANIFEST):
    """The manifest is not valid; the error lists all its problems."""


class UnsupportedError(UsageError, code="unsupported", help_code=HelpCode.UNSUPPORTED):
    """The request is valid, but bidsplan does not support it."""


class ArgumentTypeError(UsageError, TypeError, code="argument-type"):
    """An argument has the wrong type."""


class LibraryError(UsageError, ImportError, code="library", help_code=HelpCode.LIBRARY):
    """An optional library that this function needs is not installed."""


class UrlError(UsageError, code="url", help_code=HelpCode.URL):
    """A URL is refused because of its protocol, its host or its form."""


class PlanError(UsageError, code="plan", help_code=HelpCode.PLAN):
    """The plan is not valid: it is truncated, was edited, or is not a plan."""


class PlanVersionError(PlanError, code="plan-version", help_code=HelpCode.PLAN_VERSION):
    """The plan was written by a newer version of bidsplan."""


class StalePlanError(PlanError, code="plan-stale", help_code=HelpCode.PLAN_STALE):
    """The plan is missing, or was compiled from another version of the manifest."""


class SelectionError(BidsplanError, LookupError, code="selection", help_code=HelpCode.SELECTION):
    """The study does not have what the manifest selects."""


class StorageError(BidsplanError, OSError, code="storage", help_code=HelpCode.STORAGE):
    """The source could not be listed or read."""


class SourceMissingError(
    StorageError, FileNotFoundError, code="source-missing", help_code=HelpCode.SOURCE_MISSING
):
    """An object does not exist, or a directory in storage is empty."""


class RootMissingError(SourceMissingError, help_code=HelpCode.ROOT_MISSING):
    """The local directory that a plan's files come from does not exist."""


class SourceChangedError(StorageError, code="source-changed", help_code=HelpCode.SOURCE_CHANGED):
    """An object has changed since the plan was compiled."""


class ArchivedError(StorageError, code="archived", help_code=HelpCode.ARCHIVED):
    """An object is in an archive, and must be restored before it can be read."""


class ListingError(StorageError, help_code=HelpCode.LISTING):
    """The pages of a listing are incomplete or contradict each other."""


class NoIndexError(StorageError, code="no-index", help_code=HelpCode.NO_INDEX):
    """A web server has no index page for a directory, so its files can't be listed."""


class DeniedError(StorageError, PermissionError, code="denied", help_code=HelpCode.DENIED):
    """The storage denies access: permission is missing, or credentials are not valid."""


class CredentialsError(DeniedError, code="credentials", help_code=HelpCode.CREDENTIALS):
    """The credentials have expired or are unknown, so no request can succeed."""


class RefusedHostError(
    StorageError, PermissionError, code="refused-host", help_code=HelpCode.REFUSED_HOST
):
    """A URL or a redirect leads to a host that must not be contacted."""


class ThrottledError(StorageError, code="throttled", help_code=HelpCode.THROTTLED):
    """The storage asked to slow down, and retries did not help.

    `retry_after` is the wait that the storage asked for, in seconds, or None.
    """

    retry_after: float | None = None


class UnreachableError(
    StorageError, ConnectionError, code="unreachable", help_code=HelpCode.UNREACHABLE
):
    """The storage did not respond, or the response broke off, and retries did not help."""


class IntegrityError(BidsplanError, ValueError, code="corrupt", help_code=HelpCode.CORRUPT):
    """The bytes of a file are not the planned ones."""


class OutdatedError(IntegrityError, code="outdated", help_code=HelpCode.OUTDATED):
    """A file belongs to an earlier plan, and has not changed since bidsplan fetched it."""


class UnprovedError(IntegrityError, code="unproved", help_code=HelpCode.UNPROVED):
    """A file could not be proved to be the planned one, since only its size matches."""


class DestinationError(BidsplanError, OSError, code="destination", help_code=HelpCode.DESTINATION):
    """The destination could not be written."""


class ExistingFileError(
    DestinationError, FileExistsError, code="existing", help_code=HelpCode.EXISTING
):
    """A different file exists at a planned path."""


class MissingFileError(
    DestinationError, FileNotFoundError, code="missing", help_code=HelpCode.MISSING
):
    """A planned file is not in the destination, or the destination does not exist."""


class UnsafePathError(DestinationError, code="unsafe-path", help_code=HelpCode.UNSAFE_PATH):
    """One of a path's directories is a symbolic link or a file."""


class LockedError(DestinationError, BlockingIOError, code="locked", help_code=HelpCode.LOCKED):
    """Another run holds the destination's lock."""


class DiskFullError(DestinationError, code="disk-full", help_code=HelpCode.DISK_FULL):
    """The disk or the quota is full, or a file is too large for the file system."""
