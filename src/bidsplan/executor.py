"""Doing what a plan needs, many entries at a time."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.clashing import Clashes
from bidsplan.decisions import Decider, Decision
from bidsplan.destination import destination_error
from bidsplan.digests import Checking, check_whole, read_checked, strongest
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    ExistingFileError,
    StorageError,
    ThrottledError,
    UnreachableError,
    UsageError,
)
from bidsplan.events import Action, Finished, Proof, Warned
from bidsplan.execution import Execution
from bidsplan.keys import printable
from bidsplan.landing import Landing
from bidsplan.receipts import Marks, ReceiptWriter, make_receipt, no_receipts
from bidsplan.storage.values import Wanted
from bidsplan.transfer.streams import asks_first, partial_name, write_content
from bidsplan.transfer.targets import PartialFile
from bidsplan.work import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from bidsplan.decisions import Existing
    from bidsplan.destination import Destination, FileState
    from bidsplan.digests import Verdict
    from bidsplan.events import Event
    from bidsplan.partials import Partial
    from bidsplan.plan import Entry, Planned
    from bidsplan.storage import Access, Store
    from bidsplan.storage.places import SourceState

__all__ = ["Executor"]

_SMALL = 4 << 20
"""Bytes up to which an object is read whole, with hundreds of others at a time.

Larger ones cost less processor time when they are streamed.
"""

_LONG = 1 << 19
"""Bytes whose digest takes so long that it is made in a thread."""

_COMMITS = 10
"""Tries to give a file its path while another one is there and then is not."""

_DIGESTS = frozenset({Proof.SHA256, Proof.MD5, Proof.ETAG_MD5})
"""What shows that bytes are the planned ones, whichever object they came from."""


class _Job(NamedTuple):
    """What one entry needs."""

    entry: Entry
    decision: Decision
    store: Store | None
    way: Way

    @property
    def size(self) -> int:
        return self.entry.size


class Executor(Execution[_Job]):
    """One materialisation into a directory.

    Parameters
    ----------
    plan : Plan
    folder : Destination
    existing : Existing
    checking, access, base, stopping
        As in `Execution`.
    """

    def __init__(
        self,
        plan: Planned,
        folder: Destination,
        existing: Existing,
        checking: Checking,
        access: Access,
        base: str,
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__(plan, checking, access, base, stopping)
        self._folder = folder
        self._writer = ReceiptWriter(folder)
        self._landing = Landing(folder)
        self._clashes = Clashes(plan, folder)
        self._decider = Decider(self._sources, folder, Marks(folder), existing)

    def _let_end(self) -> None:
        if self._crew:
            self._crew.close()

    def _leave_receipts(self) -> Iterator[Event]:
        self._writer.flush()
        if self._writer.trouble:
            yield Warned(problem=no_receipts(self._writer.trouble))

    def _decided(self, entry: Entry) -> _Job | None:
        try:
            decision = self._decider.glance(entry)
            if self._told(entry, decision):
                return None
            self._clashes.refuse(entry)
            return self._job(entry, decision)
        except BidsplanError as error:
            if isinstance(error, UsageError):
                raise
            self._failed(entry, error)
            return None

    def _job(self, entry: Entry, decision: Decision) -> _Job:
        if entry.content is not None:
            return _Job(entry, decision, None, Way.THREAD)
        store = self._roots.store(entry.root)
        if entry.size > _SMALL:
            return _Job(entry, decision, store, Way.STREAM)
        fresh = decision.final and decision.action in {Action.FETCH, Action.REPLACE}
        quick = fresh and store.asynchronous and not asks_first(entry, store, self._checking)
        return _Job(entry, decision, store, Way.QUICK if quick else Way.THREAD)

    async def quickly(self, job: _Job) -> bool:
        """See `Work.quickly`."""
        entry = job.entry
        assert job.store is not None  # noqa: S101 - for the type checker
        began = time.monotonic()
        try:
            whole = await job.store.whole(self._wanted(entry))
        except StorageError as error:
            if isinstance(error, ThrottledError | UnreachableError):
                self._pace.failed(error)
            # A second try in a thread has what is left of the entry's time.
            self._began[entry.path] = began
            return False
        if entry.version is None and entry.etag and whole.etag not in {None, entry.etag}:
            return False
        data = whole.data
        if entry.size > _LONG and self._crew:
            check = functools.partial(check_whole, entry, data, self._checking)
            verdict = await self._crew.aside(check)
        else:
            verdict = check_whole(entry, data, self._checking)
        if not verdict.holds or self._stop.is_set():
            return False
        self._pace.succeeded()
        self._pace.slowdowns.took(entry.path, time.monotonic() - began)
        return self._place(job, data, verdict)

    def _wanted(self, entry: Entry) -> Wanted:
        digested = self._checking is Checking.FULL and strongest(entry) in _DIGESTS
        return Wanted(entry.key, entry.size, entry.etag, entry.version, digested)

    def _place(self, job: _Job, data: Buffer, verdict: Verdict) -> bool:
        entry, action = job.entry, job.decision.action
        try:
            state = self._landing.place(entry.path, data, replace=action is Action.REPLACE)
        except DestinationError as error:
            self._failed(entry, error)
            return True
        if state is None:
            return False
        self._done(entry, action, verdict, state, arrived=entry.size)
        return True

    def _bring(self, job: _Job) -> None:
        entry, decision = job.entry, job.decision
        if not decision.final:
            read = self._decider.examine(entry, self._stop.is_set)
            decision = self._read(entry, job.store, read)
        if decision.error is not None:
            raise decision.error
        if decision.verdict is not None and decision.state is not None:
            source_state = self._sources.state(entry)
            self._done(entry, Action.KEEP, decision.verdict, decision.state, source_state)
            return
        action = decision.action
        self._renewing(entry, lambda: self._fetch(job, action))

    def _fetch(self, job: _Job, action: Action) -> None:
        entry = job.entry
        with self._partial(job) as partial:
            before = self._sources.state(entry)
            try:
                verdict = self._receive(job, partial)
            except BidsplanError:
                raise
            except OSError as error:
                raise destination_error(error, printable(entry.path)) from error
            source_state = self._sources.unchanged(entry, before)
            action, state = self._commit(entry, partial, verdict, action)
        self._done(entry, action, verdict, state, source_state)

    def _commit(
        self, entry: Entry, partial: Partial, verdict: Verdict, action: Action
    ) -> tuple[Action, FileState]:
        """Give a partial its path; a file that came to stand there is judged first."""
        for _ in range(_COMMITS):
            replace = action is Action.REPLACE
            landed = self._folder.land(partial, entry.path, replace=replace)
            if landed is not None:
                return action, landed
            state = self._folder.state(entry.path)
            if state is None:
                # It is gone again.
                continue
            if self._is_same(entry, state, verdict):
                return Action.KEEP, state
            action = Action.REPLACE
        why = "another file appears there and vanishes again; it was left alone; run it again"
        raise ExistingFileError(f"{printable(entry.path)}: {why}")

    def _partial(self, job: _Job) -> AbstractContextManager[Partial]:
        name = None
        if job.way is Way.STREAM:
            name = partial_name(job.entry, self._sources.place(job.entry))
        return self._folder.partial() if name is None else self._folder.lasting_partial(name)

    def _is_same(self, entry: Entry, state: FileState, verdict: Verdict) -> bool:
        """Compare what stands there with what came; raise where it must not be replaced."""
        if state.regular:
            found = read_checked(entry, self._folder, self._stop.is_set)
            if found.content == verdict.content:
                return True
            means = f"expected content {verdict.content} (xxh3-128), got {found.content}"
            error = self._decider.differing(entry, means).error
        else:
            error = self._decider.judge(entry, state).error
        if error is not None:
            raise error
        return False

    def _receive(self, job: _Job, partial: Partial) -> Verdict:
        entry = job.entry
        if job.store is not None:
            return self._received(entry, job.store, PartialFile(partial))
        return write_content(
            entry, partial.descriptor, progress=functools.partial(self._moved, entry)
        )

    def _done(
        self,
        entry: Entry,
        action: Action,
        verdict: Verdict,
        state: FileState,
        source_state: SourceState | None = None,
        *,
        arrived: int = 0,
    ) -> None:
        self._halt.succeeded()
        kept = action is Action.KEEP
        receipt = make_receipt(self._sources, entry, state, verdict, source_state, kept=kept)
        due = self._writer.add(receipt)
        self._ended(Finished(entry=entry, action=action, proof=verdict.proof, bytes=arrived))
        if due and self._crew:
            # Waiting for the disk must not hold up the loop.
            self._crew.later(self._writer.flush)

    @property
    def noted(self) -> bool:
        """Whether receipts were written."""
        return self._writer.written

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        busy = self._crew.close() if self._crew else False
        self._writer.flush()
        self._roots.close()
        self._landing.close()
        self._decider.close()
        self._folder.close(busy=busy)
