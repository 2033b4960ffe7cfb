"""What the library tells while it works; only the command line draws it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bidsplan.errors import BidsplanError, Problem
from bidsplan.plan import Entry, Plan
from bidsplan.plan.integrity import CheckMethod


class Action(StrEnum):
    """What is to be done for an entry.

    Attributes
    ----------
    FETCH
        Nothing is there yet.
    KEEP
        What is there is what was planned.
    REPLACE
        Something else is there, and it may be replaced.
    REFUSE
        Something else is there, and it may not.
    COMPARE
        A file of the planned size is there, and only the source can tell whether it is the one.
    """

    FETCH = "fetch"
    KEEP = "keep"
    REPLACE = "replace"
    REFUSE = "refuse"
    COMPARE = "compare"


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """Something is odd, and the work goes on."""

    problem: Problem


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Another run is at work in the destination, and it is waited for.

    Parameters
    ----------
    holder : str
        Which one, and where.
    """

    holder: str


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A root was opened, to fetch from it, or a destination in storage.

    Parameters
    ----------
    endpoint : str or None
        Where requests go, for object stores.
    written : bool
        Whether it is the destination.
    """

    url: str
    endpoint: str | None
    written: bool = False


class Decided(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What will happen to an entry; not emitted for one that its receipt keeps."""

    entry: Entry
    action: Action


class Progressed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bytes of an entry have arrived; negative where a failed try is taken back."""

    entry: Entry
    bytes: int


class Resumed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A file resumes from bytes of an earlier run; negative where they were of no use."""

    entry: Entry
    bytes: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry is at its path, and it is the planned one.

    Parameters
    ----------
    proof : CheckMethod
        What was shown of it.
    bytes : int
        That arrived for it and were not told by `Progressed`.
    """

    entry: Entry
    action: Action
    proof: CheckMethod
    bytes: int = 0


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An entry could not be brought to its path, which holds what it held before."""

    entry: Entry
    error: BidsplanError


class KeptReason(StrEnum):
    """Why a file that is not in the plan is left alone.

    Attributes
    ----------
    FOREIGN
        bidsplan did not bring it.
    CHANGED
        It is no longer what bidsplan brought.
    """

    FOREIGN = "foreign"
    CHANGED = "changed"


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan was removed, or would be.

    Parameters
    ----------
    path : str
        Below the destination, as the file system names it.
    """

    path: str
    bytes: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan was left alone."""

    path: str
    why: KeptReason


class PruneFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan could not be removed."""

    path: str
    error: BidsplanError


class Digesting(msgspec.Struct, frozen=True, kw_only=True):
    """Sources are about to be read for their digests; `Progressed` and `Digested` follow.

    Parameters
    ----------
    files, bytes : int
        How many there are in all.
    """

    files: int
    bytes: int


class Digested(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The SHA-256 of an entry's source is known.

    Parameters
    ----------
    entry : Entry
        With its digest.
    cached : bool
        Whether it was known from an earlier run, so that nothing was read.
    """

    entry: Entry
    cached: bool = False


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """An entry was not tried, since the run had to stop before."""

    entry: Entry


class Slowed(msgspec.Struct, frozen=True, kw_only=True):
    """The storage asked to slow down during the run, or objects came too slowly.

    Parameters
    ----------
    throttled : int
        How often it asked to slow down.
    asked : float or None
        The most seconds that it asked to wait; None where it named no time.
    waited : float
        The longest wait before another try, in seconds.
    late : int
        Entries that were given up at their deadline.
    path : str or None
        The entry that took longest; None where none came.
    seconds : float
        That it took, from its first request on.
    """

    throttled: int
    asked: float | None
    waited: float
    late: int
    path: str | None
    seconds: float


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """Every file of a plan was verified, and digested.

    Parameters
    ----------
    plan : Plan
        With the SHA-256 of each file that has a source.
    """

    plan: Plan


Event = (
    Warned
    | Waiting
    | Opened
    | Decided
    | Digesting
    | Digested
    | Progressed
    | Resumed
    | Finished
    | Failed
    | Skipped
    | Slowed
    | Pinned
)
