"""Fetches a share of a plan on a worker of a dask cluster.

Reports are small, since thousands of files may be finished in a second. They refer to entries by
number, and leave out everything that the client knows.
"""

from __future__ import annotations

import copy
import pickle
import secrets
import time
import zlib
from contextlib import closing, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from bidsplan.destination import open_destination
from bidsplan.destination.free_space import check_free_space, free_bytes
from bidsplan.destination.identity import make_identity, read_identity
from bidsplan.destination.local import LocalDestination
from bidsplan.errors import BidsplanError, DestinationError, UsageError
from bidsplan.events import Action, Copied, Decided, Failed, Finished, Progressed, Resumed, Skipped
from bidsplan.paths import printable
from bidsplan.plan import Plan
from bidsplan.plan.integrity import CheckMethod
from bidsplan.transfer.removal import warn_of_unplanned
from bidsplan.transfer.run import run_plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.errors import Problem
    from bidsplan.events import Event
    from bidsplan.storage.access import Access
    from bidsplan.transfer.options import Options


INTERVAL = 0.25
"""Seconds between two reports of a share."""

ACTIONS = tuple(Action)
CHECKS = tuple(CheckMethod)
"""The values that reports give by their index."""

_LOOKS = (0.25, 0.5, 1.0, 2.0)
"""Seconds between two checks for a directory that another machine has made.

Some file systems remember for a while that it did not exist.
"""

_ENDING = frozenset({"closing", "closed", "failed"})

E = TypeVar("E", bound=BidsplanError)


class Report(msgspec.Struct, array_like=True, frozen=True):
    """A worker's progress with a share since its last report.

    Parameters
    ----------
    share : int
    attempt : str
        A random name, because several workers may fetch one share.
    decided : list of (int, int)
        Entries by number, with indices of `ACTIONS`.
    moved : dict of int to (int, int)
        For each entry, the bytes that arrived, and the bytes of earlier runs.
    finished : list of (int, int, int, int, bool, bool)
        Entries, with indices of `ACTIONS` and `CHECKS`, and the other fields of `Finished`.
    others : bytes
        Events of other kinds, pickled.
    over : bool
        Whether this is the last report.
    """

    share: int
    attempt: str
    decided: list[tuple[int, int]]
    moved: dict[int, tuple[int, int]]
    finished: list[tuple[int, int, int, int, bool, bool]]
    others: bytes
    over: bool


class Task(NamedTuple):
    """The work that is sent to a worker.

    Parameters
    ----------
    share : int
    lines : bytes
        The compressed lines of the share's plan.
    topic : str
        The topic that the client listens to.
    identity : str or None
        The identity of the destination's directory.
    """

    share: int
    lines: bytes
    destination: str
    base: str
    options: Options
    access: Access
    topic: str
    identity: str | None = None

    @classmethod
    def load(cls, made_by: str, data: bytes) -> Task:
        """Unpickle a task of the same version of bidsplan."""
        if made_by != (own := version("bidsplan")):
            raise UsageError(
                f"bidsplan {made_by} started the run, and a worker has bidsplan {own}; install the "
                "same version for the client and all workers"
            )
        task: Task = pickle.loads(data)  # noqa: S301 - from the cluster's own client
        return task

    def dump(self) -> bytes:
        """Pickle the task."""
        return pickle.dumps(self)

    def plan(self) -> Plan:
        """Parse the share's plan."""
        return Plan.parse(zlib.decompress(self.lines).partition(b"\n")[::2])


def compressed(lines: Iterable[bytes]) -> bytes:
    """Compress a plan's lines, one at a time."""
    packer = zlib.compressobj(1)
    return b"".join([*map(packer.compress, lines), packer.flush()])


class Prepared(NamedTuple):
    """What a worker says of a destination; of a directory alone, all of it."""

    identity: str | None = None
    free: int | None = None
    folds_names: bool = False


def prepare(made_by: str, data: bytes) -> Prepared:
    """Make the destination, and look at it.

    If the task has a plan, there must be enough space for its missing files.
    """
    try:
        task = Task.load(made_by, data)
        with closing(open_destination(task.destination, task.access, create=True)) as place:
            if not isinstance(place, LocalDestination):
                return Prepared()
            if task.lines:
                check_free_space(place.root, task.plan())
            return Prepared(make_identity(place), free_bytes(place.root), place.folds_names())
    except BidsplanError as error:
        raise _of_worker(error) from error


def find_unplanned(made_by: str, data: bytes) -> list[Problem]:
    """Return what to warn of: files of an earlier plan. The task's lines are the plan's paths."""
    try:
        task = Task.load(made_by, data)
        paths = zlib.decompress(task.lines).decode().split("\n")
        with closing(open_destination(task.destination, task.access, create=False)) as place:
            return [warned.problem for warned in warn_of_unplanned(paths, place)]
    except BidsplanError as error:
        raise _of_worker(error) from error


def fetch_share(made_by: str, data: bytes) -> None:
    """Fetch a share, and report progress to the client."""
    import distributed

    worker = distributed.get_worker()
    stopping = _Stopping(worker)
    try:
        _fetch(Task.load(made_by, data), worker, stopping)
    except BidsplanError as error:
        raise _of_worker(error) from error
    if stopping.stopped:
        # If the run continues, another worker takes over.
        raise distributed.Reschedule


def _fetch(task: Task, worker: Any, stopping: _Stopping) -> None:
    _check_identity(task.destination, task.identity)
    reporter = _Reporter(task, worker)
    for event in run_plan(
        reporter.plan, task.destination, task.access, task.base, task.options, stopping
    ):
        # Another worker may fetch the rest of a stopped share. A file of it may have failed only
        # because the share was stopped.
        if not (isinstance(event, Failed | Skipped) and stopping.stopped):
            reporter.add(event)
    reporter.send(over=True)


class _Stopping:
    """Reports whether the share is cancelled or the worker is closing.

    The object reads the worker's own state, so that shares send no requests to the scheduler.
    """

    def __init__(self, worker: Any) -> None:
        self.stopped = False
        self._worker = worker
        self._key = worker.get_current_task()

    def __call__(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state != "executing" or self._worker.status.name in _ENDING:
            self.stopped = True
        return self.stopped


def _of_worker(error: E) -> E:
    """Name the worker in an error's message."""
    import distributed

    copied = copy.copy(error)
    copied.args = (f"{error} (worker {printable(distributed.get_worker().address)})",)
    return copied


def _check_identity(destination: str, identity: str | None) -> None:
    """Refuse a directory that is not shared with other machines."""
    if identity is None:
        return
    for pause in (*_LOOKS, 0.0):
        # The directory may not exist.
        with (
            suppress(DestinationError),
            closing(LocalDestination(destination, create=False)) as place,
        ):
            if read_identity(place) == identity:
                return
        time.sleep(pause)
    raise DestinationError(
        f"{printable(destination)}: this is not the directory that other workers have at this "
        "path; mount one file system there on all of them, or fetch to an object store"
    )


class _Reporter:
    """Collects events, and sends them to the client in batches."""

    def __init__(self, task: Task, worker: Any) -> None:
        self.plan = task.plan()
        self._numbers = {entry.path: number for number, entry in enumerate(self.plan.entries)}
        self._names = task.share, secrets.token_hex(8)
        self._worker, self._topic = worker, task.topic
        self._clear()
        self.send()

    def _clear(self) -> None:
        self._decided: list[tuple[int, int]] = []
        self._moved: dict[int, tuple[int, int]] = {}
        self._finished: list[tuple[int, int, int, int, bool, bool]] = []
        self._others: list[Event] = []
        self._since = time.monotonic()

    def add(self, event: Event) -> None:
        """Collect an event, and send all events from time to time."""
        if isinstance(event, Finished):
            action, check = ACTIONS.index(event.action), CHECKS.index(event.proof)
            number = self._numbers[event.entry.path]
            flags = event.cached, event.recalled
            self._finished.append((number, action, check, event.bytes, *flags))
        elif isinstance(event, Decided):
            number = self._numbers[event.entry.path]
            self._decided.append((number, ACTIONS.index(event.action)))
        elif isinstance(event, Progressed | Resumed):
            number = self._numbers[event.entry.path]
            came, resumed = self._moved.get(number, (0, 0))
            if isinstance(event, Resumed):
                self._moved[number] = came, resumed + event.bytes
            else:
                self._moved[number] = came + event.bytes, resumed
        elif isinstance(event, Failed):
            self._others.append(Failed(entry=event.entry, error=_of_worker(event.error)))
        elif not isinstance(event, Copied):
            # Bytes from a content cache are counted when the file is complete.
            self._others.append(event)
        if time.monotonic() - self._since >= INTERVAL:
            self.send()

    def send(self, *, over: bool = False) -> None:
        """Send the collected events."""
        others = pickle.dumps(self._others) if self._others else b""
        report = Report(*self._names, self._decided, self._moved, self._finished, others, over)
        self._worker.log_event(self._topic, msgspec.msgpack.encode(report))
        self._clear()
