"""The executor: decide for each entry, then do it, many at a time."""

from __future__ import annotations

import functools
import queue
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Event as Flag
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan.decisions import Decider, Decision, Existing
from bidsplan.destination import Destination, FileState, destination_error
from bidsplan.digests import Stopped, Verdict, read_checked
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    DiskFullError,
    Problem,
    StorageError,
    UnsupportedError,
    UsageError,
)
from bidsplan.events import (
    Action,
    Decided,
    Failed,
    Finished,
    Opened,
    Progressed,
    Proof,
    Warned,
)
from bidsplan.keys import printable
from bidsplan.plan import clashes
from bidsplan.receipts import Receipt, Receipts, fingerprint
from bidsplan.storage.access import Access
from bidsplan.transfer import receive, tag_is_digest, write_content
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
    Opened, Decided, Progressed, Finished, Failed, Warned
        As they happen. Closing the generator stops the work.

    Raises
    ------
    UnsupportedError
        Where the destination is a URL.
    UsageError
        Where a root's URL is refused, or its transport can't reach it.
    DestinationError
        Where the destination can't be opened.
    """
    place = parse_url(str(destination))
    if place.protocol != "file":
        raise UnsupportedError(
            f"the destination is a {place.protocol!r} URL, which is not built yet; name a directory"
        )
    if dry_run:
        yield from _dry_run(plan, place.path, existing)
        return
    folder = Destination(place.path, create=True)
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
        decider = Decider(plan, folder, Receipts(folder), existing)
        for entry in plan.entries:
            try:
                decision = decider.glance(entry)
                if not decision.final:
                    decision = decider.examine(entry)
                yield Decided(entry=entry, action=decision.action)
            except BidsplanError as error:
                yield Failed(entry=entry, error=error)
    finally:
        folder.close()


class _Run:
    """One materialisation."""

    def __init__(
        self, plan: Plan, folder: Destination, existing: Existing, access: Access, base: str
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._access = access
        self._base = base
        self._receipts = Receipts(folder)
        self._decider = Decider(plan, folder, self._receipts, existing)
        self._stores: dict[int, Store | StorageError] = {}
        self._opening = Lock()
        self._stop = Flag()
        self._told: queue.SimpleQueue[Event | Future[None]] = queue.SimpleQueue()
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
                yield from self._hear(self._told.get())
        while self._under_way:
            yield from self._hear(self._told.get())
        self._receipts.flush()
        if self._receipts.trouble:
            yield _no_receipts(self._receipts.trouble)

    def _schedule(self, entry: Entry) -> Iterator[Event]:
        try:
            decision = self._decider.glance(entry)
            if decision.action not in {Action.KEEP, Action.REFUSE}:
                self._refuse_clash(entry)
        except BidsplanError as error:
            yield Failed(entry=entry, error=error)
            return
        if decision.final:
            yield Decided(entry=entry, action=decision.action)
        if decision.action is Action.KEEP and decision.proof is not None:
            yield Finished(entry=entry, action=Action.KEEP, proof=decision.proof)
        elif decision.error is not None:
            yield Failed(entry=entry, error=decision.error)
        else:
            future = self._pool.submit(self._work, entry, decision)
            self._under_way.add(future)
            # Called once it is done, so that who hears of it finds it done.
            future.add_done_callback(self._told.put)

    def _refuse_clash(self, entry: Entry) -> None:
        first = self._clashing.get(entry.path)
        if first is not None:
            raise DestinationError(
                f"{printable(entry.path)}: this file system takes it for {printable(first)!r}; "
                "fetch to one where case and Unicode form count"
            )

    @functools.cached_property
    def _clashing(self) -> dict[str, str]:
        """Paths that are another's on this file system; looked at where there is work to do."""
        if not self._folder.folds_names():
            return {}
        return {other.path: first.path for first, other in clashes(self._plan.entries)}

    def _heard(self) -> Iterator[Event]:
        with suppress(queue.Empty):
            while True:
                yield from self._hear(self._told.get_nowait())

    def _hear(self, told: Event | Future[None]) -> Iterator[Event]:
        if isinstance(told, Future):
            self._under_way.discard(told)
            # Raises what is no error of one entry: wrong usage, or a defect.
            told.result()
        else:
            yield told

    def _work(self, entry: Entry, decision: Decision) -> None:
        """Do what one entry needs, in a worker."""
        try:
            if not self._stop.is_set():
                self._told.put(self._bring(entry, decision))
        except Stopped:
            pass
        except UsageError:
            self._stop.set()
            raise
        except BidsplanError as error:
            if isinstance(error, DiskFullError):
                self._stop.set()
            self._told.put(Failed(entry=entry, error=error))

    def _bring(self, entry: Entry, decision: Decision) -> Event:
        if not decision.final:
            decision = self._examined(entry)
            self._told.put(Decided(entry=entry, action=decision.action))
        if decision.error is not None:
            raise decision.error
        if decision.action is Action.KEEP and decision.proof and decision.state:
            return self._note(entry, Action.KEEP, decision.proof, decision.content, decision.state)
        return self._fetch(entry, decision.action)

    def _examined(self, entry: Entry) -> Decision:
        decision = self._decider.examine(entry, self._stop.is_set)
        if decision.proof is Proof.ETAG_MD5 and decision.action is not Action.KEEP:
            store = self._store(entry)
            if store is not None and not tag_is_digest(entry, store):
                return Decision(Action.COMPARE)
        return decision

    def _fetch(self, entry: Entry, action: Action) -> Event:
        store = self._store(entry)
        with self._folder.partial() as partial:
            try:
                verdict = self._receive(entry, store, partial.descriptor)
            except BidsplanError:
                raise
            except OSError as error:
                raise destination_error(error, printable(entry.path)) from error
            # Looked at again, since others may have put something there in the meantime.
            state = self._folder.state(entry.path)
            if state is not None and action is not Action.REPLACE:
                if self._is_same(entry, state, verdict):
                    return self._note(entry, Action.KEEP, verdict.proof, verdict.content, state)
                action = Action.REPLACE
            landed = self._folder.land(partial, entry.path)
        return self._note(entry, action, verdict.proof, verdict.content, landed)

    def _is_same(self, entry: Entry, state: FileState, verdict: Verdict) -> bool:
        """Compare what stands there with what came; raise where it must not be replaced."""
        if state.regular:
            found = read_checked(entry, self._folder, self._stop.is_set)
            if found.content == verdict.content:
                return True
            means = f"expected content {verdict.content} (xxh3-128), got {found.content}"
            error = self._decider.differing(entry, means).error
        else:
            error = self._decider.glance(entry).error
        if error is not None:
            raise error
        return False

    def _receive(self, entry: Entry, store: Store | None, descriptor: int) -> Verdict:
        def progress(number: int) -> None:
            if number:
                self._told.put(Progressed(entry=entry, bytes=number))

        if store is None:
            return write_content(entry, descriptor, progress=progress)
        return receive(entry, store, descriptor, progress=progress, stop=self._stop)

    def _store(self, entry: Entry) -> Store | None:
        if entry.content is not None:
            return None
        with self._opening:
            if entry.root not in self._stores:
                self._stores[entry.root] = self._open(entry.root)
            store = self._stores[entry.root]
        if isinstance(store, StorageError):
            raise store
        return store

    def _open(self, number: int) -> Store | StorageError:
        """Open a root, once: one that can't be opened is not asked for again by each entry."""
        from bidsplan.storage import open_store  # noqa: PLC0415 - a no-op run does without

        root = self._plan.header.roots[number]
        try:
            store = open_store(
                root.url, access=self._access, anonymous=root.anonymous, base=self._base
            )
        except StorageError as error:
            return error
        self._told.put(Opened(url=root.url, endpoint=store.endpoint))
        return store

    def _note(
        self, entry: Entry, action: Action, proof: Proof, content: str, state: FileState
    ) -> Event:
        self._receipts.add(
            Receipt(
                path=entry.path,
                size=state.size,
                mtime_ns=state.mtime_ns,
                source=fingerprint(self._plan, entry),
                content=content,
                proof=proof,
            )
        )
        return Finished(entry=entry, action=action, proof=proof)

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        # One that was cancelled in time is never told to be done.
        _, busy = wait([each for each in self._under_way if not each.cancelled()], _PATIENCE)
        self._receipts.flush()
        for store in self._stores.values():
            if not isinstance(store, StorageError):
                store.close()
        self._folder.close(busy=bool(busy))


def _no_receipts(error: OSError) -> Warned:
    said = error.strerror or str(error)
    message = f"receipts could not be written ({said}); the files are there and were checked"
    return Warned(problem=Problem(message=message, hint="the next run will read them all again"))
