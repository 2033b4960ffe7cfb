"""Events that the library yields while it works."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bidsplan.errors import BidsplanError, Problem
from bidsplan.plan import Entry, Plan
from bidsplan.plan.integrity import CheckMethod


class Action(StrEnum):
    """What a run does for an entry, depending on the file at its path."""

    FETCH = "fetch"
    """Fetch the file, because the path does not exist yet."""
    KEEP = "keep"
    """Keep the file at the path, which is the planned one."""
    REPLACE = "replace"
    """Replace the file at the path, which is not the planned one."""
    REFUSE = "refuse"
    """Report an error, because the file at the path is not the planned one."""
    COMPARE = "compare"
    """Compare the file at the path, which has the planned size, with the source."""


class Event(msgspec.Struct, frozen=True):
    """Base class of the events of compiling, fetching, verifying and pinning."""


class Warned(Event, frozen=True, kw_only=True):
    """The run found a problem that does not stop it."""

    problem: Problem


class Waiting(Event, frozen=True, kw_only=True):
    """The run waits for another run that holds the destination's lock.

    Parameters
    ----------
    holder : str
        A text that says which run holds the lock.
    """

    holder: str


class Opened(Event, frozen=True, kw_only=True):
    """A source was opened or, if `written` is true, a destination in storage.

    Parameters
    ----------
    url : str
        The URL of the source or destination.
    endpoint : str or None
        The URL that requests are sent to, for object stores.
    written : bool
        Whether the URL is the destination's.
    """

    url: str
    endpoint: str | None
    written: bool = False


class Listed(Event, frozen=True, kw_only=True, gc=False):
    """More objects and directories of a dataset were listed.

    Parameters
    ----------
    url : str
        The dataset's URL.
    objects : int
        The number of objects and directories since the last event.
    """

    url: str
    objects: int


class Decided(Event, frozen=True, kw_only=True, gc=False):
    """The run has decided what to do for an entry.

    There is no such event for files that are kept because of their receipt.
    """

    entry: Entry
    action: Action


class Progressed(Event, frozen=True, kw_only=True, gc=False):
    """Bytes of an entry arrived from its source.

    If an attempt fails, an event with a negative number removes the attempt's bytes from the count.
    If the run is stopped, the bytes that it keeps for the next run stay in the count.
    """

    entry: Entry
    bytes: int


class Resumed(Event, frozen=True, kw_only=True, gc=False):
    """Bytes that an earlier run had fetched are reused.

    If these bytes turn out to be unusable, an event with a negative number corrects the count.
    """

    entry: Entry
    bytes: int


class Copied(Event, frozen=True, kw_only=True, gc=False):
    """Bytes of an entry were copied from the content cache.

    If these bytes turn out to be unusable, an event with a negative number corrects the count.
    """

    entry: Entry
    bytes: int


class Finished(Event, frozen=True, kw_only=True, gc=False):
    """The planned file of an entry is at its path.

    Parameters
    ----------
    entry : Entry
    action : Action
        What was done for the entry.
    proof : CheckMethod
        How the file was checked.
    bytes : int
        Bytes of the file that arrived without an event `Progressed`.
    cached : bool
        Whether the bytes came from the content cache.
    recalled : bool
        Whether the file was not read, because its receipt records how an earlier run checked it.
    """

    entry: Entry
    action: Action
    proof: CheckMethod
    bytes: int = 0
    cached: bool = False
    recalled: bool = False


class Failed(Event, frozen=True, kw_only=True):
    """An entry failed, and the file at its path is unchanged."""

    entry: Entry
    error: BidsplanError


class Skipped(Event, frozen=True, kw_only=True):
    """An entry was not finished because the run was stopped first."""

    entry: Entry


class Resumable(Event, frozen=True, kw_only=True):
    """Bytes of unfinished files are kept, so that the next run can resume them."""

    bytes: int


class Slowed(Event, frozen=True, kw_only=True):
    """The storage asked for slower requests during the run, or sent objects too slowly.

    Parameters
    ----------
    throttled : int
        How often the storage asked to slow down.
    retry_after : float or None
        The longest wait that the storage asked for, in seconds; None if it named no time.
    waited : float
        The longest wait before a retry, in seconds.
    late : int
        Number of entries that were not finished before their deadline.
    path : str or None
        The path of the entry that took longest; None if no entry arrived.
    seconds : float
        The time that this entry took, from its first request on.
    """

    throttled: int
    retry_after: float | None
    waited: float
    late: int
    path: str | None
    seconds: float


class Digesting(Event, frozen=True, kw_only=True):
    """Compiling is about to read source files to compute their digests.

    Parameters
    ----------
    files, bytes : int
        Number and total size of these files.
    """

    files: int
    bytes: int


class Digested(Event, frozen=True, kw_only=True, gc=False):
    """The SHA-256 of an entry's source file is known.

    Parameters
    ----------
    entry : Entry
    cached : bool
        Whether the digest came from the user's digest cache, so that the file was not read.
    """

    entry: Entry
    cached: bool = False


class Pinned(Event, frozen=True, kw_only=True):
    """Every file was verified, and its SHA-256 is in the new plan.

    Parameters
    ----------
    plan : Plan
        The new plan. Files that bidsplan generates have no SHA-256, since the plan contains their
        text.
    """

    plan: Plan


class KeptReason(StrEnum):
    """Why prune keeps a file that is not in the plan."""

    FOREIGN = "foreign"
    """bidsplan did not fetch the file."""
    CHANGED = "changed"
    """The file has changed since bidsplan fetched it."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan was removed; in a dry run, it would be removed."""

    path: str
    bytes: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan was kept."""

    path: str
    why: KeptReason


class PruneFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan could not be removed."""

    path: str
    error: BidsplanError
