"""What the library tells while it works; only the command line draws it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.errors import BidsplanError, Problem
    from bidsplan.plan import Entry

__all__ = [
    "Action",
    "Decided",
    "Event",
    "Failed",
    "Finished",
    "Listed",
    "Opened",
    "Progressed",
    "Proof",
    "Pruned",
    "Spare",
    "Spared",
    "Tally",
    "Unpruned",
    "Warned",
]


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


class Proof(StrEnum):
    """How strongly a file was shown to be the planned one, strongest first.

    Attributes
    ----------
    CONTENT
        The plan holds its bytes.
    SHA256, MD5
        The plan holds its digest.
    ETAG_MD5
        Its digest is the object's entity tag.
    MULTIPART
        The digests of its parts make the object's entity tag.
    RECEIPT
        It is what was fetched, by the digest noted then.
    SIZE
        It has the planned size, and came from the object with the planned entity tag.
    """

    CONTENT = "content"
    SHA256 = "sha256"
    MD5 = "md5"
    ETAG_MD5 = "etag-md5"
    MULTIPART = "multipart"
    RECEIPT = "receipt"
    SIZE = "size"


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """Something is odd, and the work goes on.

    Parameters
    ----------
    problem : Problem
    """

    problem: Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A part of the storage has been listed.

    Parameters
    ----------
    prefix : str
        What was listed, below its root.
    objects : int
        How many objects it holds.
    """

    prefix: str
    objects: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A root was opened, to fetch from it.

    Parameters
    ----------
    url : str
    endpoint : str or None
        Where requests go, for object stores.
    """

    url: str
    endpoint: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """It is decided what happens to an entry.

    Parameters
    ----------
    entry : Entry
    action : Action
    """

    entry: Entry
    action: Action


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressed:
    """Bytes of an entry have arrived; negative where a failed try is taken back.

    Parameters
    ----------
    entry : Entry
    bytes : int
    """

    entry: Entry
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """An entry is at its path, and it is the planned one.

    Parameters
    ----------
    entry : Entry
    action : Action
    proof : Proof
        What was shown of it.
    """

    entry: Entry
    action: Action
    proof: Proof


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An entry could not be brought to its path, which holds what it held before.

    Parameters
    ----------
    entry : Entry
    error : BidsplanError
    """

    entry: Entry
    error: BidsplanError


class Spare(StrEnum):
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """A file that is not in the plan was removed, or would be.

    Parameters
    ----------
    path : str
        Below the destination, as the file system names it.
    bytes : int
    """

    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Spared:
    """A file that is not in the plan was left alone.

    Parameters
    ----------
    path : str
    why : Spare
    """

    path: str
    why: Spare


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpruned:
    """A file that is not in the plan could not be removed.

    Parameters
    ----------
    path : str
    error : BidsplanError
    """

    path: str
    error: BidsplanError


Event = Warned | Listed | Opened | Decided | Progressed | Finished | Failed


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts what events tell.

    Parameters
    ----------
    decided, done : Counter of Action
    proofs : Counter of Proof
    failures : Counter of str
        By the errors' codes.
    bytes : int
        That arrived.
    endpoints : set of str
        Where requests went.
    """

    decided: Counter[Action] = field(default_factory=Counter)
    done: Counter[Action] = field(default_factory=Counter)
    proofs: Counter[Proof] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    endpoints: set[str] = field(default_factory=set)

    def add(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Decided(action=action):
                self.decided[action] += 1
            case Progressed(bytes=number):
                self.bytes += number
            case Finished(action=action, proof=proof):
                self.done[action] += 1
                self.proofs[proof] += 1
            case Opened(endpoint=str(endpoint)):
                self.endpoints.add(endpoint)
            case Failed(error=error):
                self.failures[error.code] += 1
            case _:
                pass

    @property
    def failed(self) -> int:
        """How many entries failed."""
        return self.failures.total()
