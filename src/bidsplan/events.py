"""Events that the library yields while it works; only the command line prints them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bidsplan.errors import BidsplanError, Problem
from bidsplan.plan import Entry, Plan
from bidsplan.plan.integrity import CheckMethod


class Action(StrEnum):
    """What to do for an entry, given what is at its path."""

    FETCH = "fetch"
    """There is no file yet."""
    KEEP = "keep"
    """The planned file is there."""
    REPLACE = "replace"
    """Another file is there, and may be replaced."""
    REFUSE = "refuse"
    """Another file is there, and must not be replaced."""
    COMPARE = "compare"
    """A file of the planned size is there, and only the source can prove whether it is the one."""


class Event(msgspec.Struct, frozen=True):
    """Base of all events of a compilation, a fetch or a verification."""


class Warned(Event, frozen=True, kw_only=True):
    """Something is odd, and the run continues."""

    problem: Problem


class Waiting(Event, frozen=True, kw_only=True):
    """The run waits for another one, which holds the destination's lock."""

    holder: str


class Opened(Event, frozen=True, kw_only=True):
    """A source was opened, or a destination in storage where `written` is true.

    Parameters
    ----------
    endpoint : str or None
        Where requests go, for object stores.
    """

    url: str
    endpoint: str | None
    written: bool = False


class Listed(Event, frozen=True, kw_only=True, gc=False):
    """More objects and directories of a dataset were listed."""

    url: str
    objects: int


class Decided(Event, frozen=True, kw_only=True, gc=False):
    """What will be done for an entry; not emitted for one kept because of its receipt."""

    entry: Entry
    action: Action


class Progressed(Event, frozen=True, kw_only=True, gc=False):
    """Bytes of an entry arrived; negative where a failed attempt is undone.

    What a run that is stopped keeps for the next one is not undone.
    """

    entry: Entry
    bytes: int


class Resumed(Event, frozen=True, kw_only=True, gc=False):
    """Bytes of an earlier run are reused; negative where they turn out to be useless."""

    entry: Entry
    bytes: int


class Copied(Event, frozen=True, kw_only=True, gc=False):
    """Bytes of an entry came from the content cache; negative where they are of no use."""

    entry: Entry
    bytes: int


class Finished(Event, frozen=True, kw_only=True, gc=False):
    """The planned file of an entry is at its path.

    Parameters
    ----------
    proof : CheckMethod
        How it was checked.
    bytes : int
        Bytes that arrived for it and were not reported by `Progressed`.
    cached : bool
        Whether its bytes came from the content cache.
    """

    entry: Entry
    action: Action
    proof: CheckMethod
    bytes: int = 0
    cached: bool = False


class Failed(Event, frozen=True, kw_only=True):
    """An entry failed; its path is unchanged."""

    entry: Entry
    error: BidsplanError


class Skipped(Event, frozen=True, kw_only=True):
    """An entry was not finished, since the run had to stop before."""

    entry: Entry


class Resumable(Event, frozen=True, kw_only=True):
    """Bytes of files that did not finish are kept, for the next run to resume from."""

    bytes: int


class Slowed(Event, frozen=True, kw_only=True):
    """The storage asked to slow down during the run, or objects arrived too slowly.

    Parameters
    ----------
    throttled : int
        How often it asked to slow down.
    retry_after : float or None
        The longest wait that it asked for, in seconds; None where it named none.
    waited : float
        The longest wait before a retry, in seconds.
    late : int
        Entries that were given up at their deadline.
    path : str or None
        The entry that took longest; None where none arrived.
    seconds : float
        Time that it took, from its first request on.
    """

    throttled: int
    retry_after: float | None
    waited: float
    late: int
    path: str | None
    seconds: float


class Digesting(Event, frozen=True, kw_only=True):
    """Files of sources are about to be read for their digests."""

    files: int
    bytes: int


class Digested(Event, frozen=True, kw_only=True, gc=False):
    """The SHA-256 of an entry's source is known, where `cached` is true without reading it."""

    entry: Entry
    cached: bool = False


class Pinned(Event, frozen=True, kw_only=True):
    """Every file was verified; the plan has the SHA-256 of each file that has a source."""

    plan: Plan


class KeptReason(StrEnum):
    """Why prune keeps a file that is not in the plan."""

    FOREIGN = "foreign"
    """bidsplan did not fetch it."""
    CHANGED = "changed"
    """It has changed since bidsplan fetched it."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not in the plan was removed, or would be in a dry run."""

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
