"""The executor: decide for each entry, then do it, many at a time."""

from __future__ import annotations

import functools
import queue
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from enum import StrEnum
from threading import Event as Flag
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.destination import Destination, FileState, destination_error
from bidsplan.digests import Stopped, Verdict, read_checked, strongest
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    DiskFullError,
    ExistingFileError,
    UnsupportedError,
)
from bidsplan.events import Action, Decided, Failed, Finished, Opened, Progressed, Proof
from bidsplan.keys import printable
from bidsplan.plan import clashes
from bidsplan.receipts import Receipt, Receipts, fingerprint
from bidsplan.storage.access import Access
from bidsplan.transfer import receive, write_content
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Plan
    from bidsplan.storage import Store

__all__ = ["Existing", "materialise"]

_PATIENCE = 5.0
"""Seconds that a stopped run waits for what is under way."""

_WAITING_PER_JOB = 4
"""Entries that wait for each worker, so that none ever waits for an entry."""


class Existing(StrEnum):
    """What to do with files that stand in the destination.

    Attributes
    ----------
    KEEP
        Keep those that are the planned ones, and refuse others.
    REPLACE
        Keep those that are the planned ones, and replace others.
    REFUSE
        Refuse all that were not brought by bidsplan.
    """

    KEEP = "keep"
    REPLACE = "replace"
    REFUSE = "refuse"


def materialise(
    plan: Plan,
    destination: str | PathLike[str],
    *,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
    existing: Existing = Existing.KEEP,
    dry_run: bool = False,
) -> Generator[Event, None, None]:
    """Bring what a plan lists to a destination.

    Parameters
    ----------
    plan : Plan
    destination : path
        A local directory, made where it is not there.
    access : Access, optional
        How storage may be reached.
    base : path
        The directory that the plan's relative URLs are relative to: its own.
    existing : Existing
    dry_run : bool
        Decide, and do nothing.

    Yields
    ------
    Decided, Progressed, Finished, Failed
        As they happen. Closing the generator stops the work.

    Raises
    ------
    UnsupportedError
        Where the destination is a URL.
    UrlError
        Where a root's URL is refused.
    DestinationError
        Where the destination can't be opened.
    """
    name = str(destination)
    if parse_url(name).protocol != "file":
        raise UnsupportedError("a destination that is a URL is not built yet; name a directory")
    if dry_run:
        yield from _dry_run(plan, name, existing)
        return
    folder = Destination(name, create=True)
    run = _Run(plan, folder, existing, access or Access(), str(base))
    try:
        yield from run.events()
    finally:
        run.close()


def _dry_run(plan: Plan, destination: str, existing: Existing) -> Generator[Event, None, None]:
    try:
        folder = Destination(destination, create=False)
    except DestinationError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        for entry in plan.entries:
            yield Decided(entry=entry, action=Action.FETCH)
        return
    try:
        decider = _Decider(plan, folder, Receipts(folder), existing)
        for entry in plan.entries:
            try:
                yield Decided(entry=entry, action=decider.decide(entry)[0])
            except BidsplanError as error:
                yield Failed(entry=entry, error=error)
    finally:
        folder.close()


class _Decider:
    """Decides what is to be done for entries."""

    def __init__(
        self, plan: Plan, folder: Destination, receipts: Receipts, existing: Existing
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._receipts = receipts
        self._existing = existing

    def decide(self, entry: Entry) -> tuple[Action, Proof | None]:
        """Decide, and say for what is kept what it was shown by."""
        state = self._folder.state(entry.path)
        if state is None:
            return Action.FETCH, None
        receipt = self._receipts.find(entry.path, state, fingerprint(self._plan, entry))
        if receipt is not None:
            return Action.KEEP, receipt.proof
        if not state.regular or self._existing is Existing.REFUSE:
            return Action.REFUSE, None
        return self._compare(entry, state)

    def _compare(self, entry: Entry, state: FileState) -> tuple[Action, Proof | None]:
        other = Action.REPLACE if self._existing is Existing.REPLACE else Action.REFUSE
        if state.size != entry.size:
            return other, None
        if strongest(entry) is Proof.SIZE:
            return Action.COMPARE, None
        verdict = read_checked(entry, self._folder)
        if verdict.proof is Proof.SIZE:
            return Action.COMPARE, None
        return (Action.KEEP, verdict.proof) if verdict.holds else (other, None)


class _Run:
    """One materialisation."""

    def __init__(
        self, plan: Plan, folder: Destination, existing: Existing, access: Access, base: str
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._existing = existing
        self._access = access
        self._base = base
        self._receipts = Receipts(folder)
        self._decider = _Decider(plan, folder, self._receipts, existing)
        self._stores: dict[int, Store] = {}
        self._lock = Lock()
        self._stop = Flag()
        self._told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._under_way: set[Future[None]] = set()
        self._pool = ThreadPoolExecutor(access.jobs, thread_name_prefix="bidsplan-fetch")

    def events(self) -> Iterator[Event]:
        """Decide in the plan's order, do as workers are free, and tell what happens."""
        most = self._access.jobs * _WAITING_PER_JOB
        for entry in self._plan.entries:
            yield from self._heard()
            if self._stop.is_set():
                break
            yield from self._schedule(entry)
            while len(self._under_way) >= most:
                yield from self._wait()
        while self._under_way:
            yield from self._wait()
        yield from self._heard()

    def _schedule(self, entry: Entry) -> Iterator[Event]:
        try:
            action, proof = self._decider.decide(entry)
        except BidsplanError as error:
            yield Failed(entry=entry, error=error)
            return
        yield Decided(entry=entry, action=action)
        if action is Action.KEEP and proof is not None:
            yield Finished(entry=entry, action=Action.KEEP, proof=proof)
        elif action is Action.REFUSE:
            yield Failed(entry=entry, error=_refused(entry, self._existing))
        else:
            try:
                if entry.path in self._clashing:
                    raise _clash(entry, self._clashing[entry.path])
                store = self._store(entry)
            except BidsplanError as error:
                yield Failed(entry=entry, error=error)
                return
            future = self._pool.submit(self._work, entry, action, store)
            self._under_way.add(future)
            # Nothing told means that a worker is free; this is called once it is.
            future.add_done_callback(lambda _: self._told.put(None))

    @functools.cached_property
    def _clashing(self) -> dict[str, str]:
        """Paths that are another's on this file system; looked at where there is work to do."""
        if not self._folder.folds_names():
            return {}
        return {other.path: first.path for first, other in clashes(self._plan.entries)}

    def _heard(self) -> Iterator[Event]:
        """Tell what has happened meanwhile."""
        with suppress(queue.Empty):
            while True:
                yield from self._tell(self._told.get_nowait())

    def _wait(self) -> Iterator[Event]:
        """Tell what happens next."""
        yield from self._tell(self._told.get())

    def _tell(self, event: Event | None) -> Iterator[Event]:
        if event is not None:
            yield event
            return
        done = {future for future in self._under_way if future.done()}
        self._under_way -= done
        for future in done:
            # Raises a defect of ours; what goes wrong otherwise is told as an event.
            future.result()

    def _store(self, entry: Entry) -> Store | None:
        if entry.content is not None:
            return None
        if entry.root not in self._stores:
            from bidsplan.storage import open_store  # noqa: PLC0415 - a no-op run does without

            root = self._plan.header.roots[entry.root]
            self._stores[entry.root] = open_store(
                root.url, access=self._access, anonymous=root.anonymous, base=self._base
            )
            self._told.put(Opened(url=root.url, endpoint=self._stores[entry.root].endpoint))
        return self._stores[entry.root]

    def _work(self, entry: Entry, action: Action, store: Store | None) -> None:
        try:
            if not self._stop.is_set():
                self._told.put(self._bring(entry, action, store))
        except Stopped:
            pass
        except BidsplanError as error:
            if isinstance(error, DiskFullError):
                self._stop.set()
            self._told.put(Failed(entry=entry, error=error))

    def _bring(self, entry: Entry, action: Action, store: Store | None) -> Event:
        with self._folder.partial() as (name, descriptor):
            try:
                verdict = self._receive(entry, store, descriptor)
            except BidsplanError:
                raise
            except OSError as error:
                raise destination_error(error, printable(entry.path)) from error
            if action is Action.COMPARE:
                found = read_checked(entry, self._folder, self._stop.is_set)
                if found.content == verdict.content:
                    state = self._folder.state(entry.path)
                    return self._note(entry, Action.KEEP, verdict, state)
                if self._existing is not Existing.REPLACE:
                    raise _refused(entry, self._existing)
                action = Action.REPLACE
            state = self._folder.land(name, descriptor, entry.path)
        return self._note(entry, action, verdict, state)

    def _receive(self, entry: Entry, store: Store | None, descriptor: int) -> Verdict:
        if store is None:
            return write_content(entry, descriptor)
        return receive(
            entry,
            store,
            descriptor,
            progress=lambda number: self._told.put(Progressed(entry=entry, bytes=number)),
            stopping=self._stop.is_set,
        )

    def _note(
        self, entry: Entry, action: Action, verdict: Verdict, state: FileState | None
    ) -> Event:
        if state is not None:
            receipt = Receipt(
                path=entry.path,
                size=state.size,
                mtime_ns=state.mtime_ns,
                source=fingerprint(self._plan, entry),
                content=verdict.content,
                proof=verdict.proof,
            )
            self._receipts.add(receipt)
        return Finished(entry=entry, action=action, proof=verdict.proof)

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(self._under_way, timeout=_PATIENCE)
        with suppress(OSError):
            self._receipts.flush()
        for store in self._stores.values():
            store.close()
        self._folder.close()


def _clash(entry: Entry, first: str) -> DestinationError:
    return DestinationError(
        f"{printable(entry.path)}: this file system takes it for {printable(first)!r}; fetch to "
        "one where case and Unicode form count"
    )


def _refused(entry: Entry, existing: Existing) -> ExistingFileError:
    if existing is Existing.REFUSE:
        why = "a file stands there that bidsplan did not bring, and '--existing refuse' is set"
    else:
        why = (
            "a file stands there that is not the planned one; it was left alone; "
            "'--existing replace' replaces it"
        )
    return ExistingFileError(f"{printable(entry.path)}: {why}")
