"""Doing what a plan needs where files are written to storage."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.receipt_objects import ListingCursor, Note, NoteWriter, read_back
from bidsplan.errors import BidsplanError, DeniedError, DestinationError, ExistingFileError, Problem
from bidsplan.events import Action, Finished, Opened, Warned
from bidsplan.plan.integrity import check_whole
from bidsplan.storage import open_writable
from bidsplan.transfer.decide import Decision
from bidsplan.transfer.decide_remote import RemoteDecider
from bidsplan.transfer.engine import Execution
from bidsplan.transfer.jobs import Lane
from bidsplan.transfer.targets import Delivery, Nowhere, UndeliveredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict, VerifyMode
    from bidsplan.storage import Access, Object, Store
    from bidsplan.storage.file_state import SourceState
    from bidsplan.transfer.decide import Existing
    from bidsplan.transfer.targets import Target


_BRIEF = 1 << 20
"""Bytes up to which a file is one of dozens in memory; of larger ones, a part of each of a few."""


class _Job(NamedTuple):
    """What one entry needs."""

    entry: Entry
    found: Object | None
    decision: Decision

    @property
    def way(self) -> Lane:
        return Lane.THREAD if self.entry.size <= _BRIEF else Lane.STREAM

    @property
    def size(self) -> int:
        return self.entry.size


class RemoteExecutor(Execution[_Job]):
    """One materialisation to a URL.

    Parameters
    ----------
    checking, access, base, stopping
        As in `Execution`.

    Raises
    ------
    UsageError
        Where the URL is refused, or can't be written to.
    StorageError
        Where what stands there can't be listed.
    """

    def __init__(
        self,
        plan: Planned,
        url: str,
        existing: Existing,
        checking: VerifyMode,
        access: Access,
        base: str,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(plan, checking, access, base, stopping)
        self._sink = open_writable(url, access=access.at_destination(), stop=self._stop)
        self._standing = ListingCursor(self._sink)
        self._decider = RemoteDecider(self._sources, self._sink, existing)
        self._writer = NoteWriter(self._sink)
        self._ready = False
        self._getting_ready = Lock()

    def run(self) -> Iterator[Event]:
        """See `Execution.run`."""
        yield Opened(url=self._sink.url, endpoint=self._sink.endpoint, written=True)
        yield from super().run()
        left = self._sink.close()
        if left:
            yield _left_over(left)

    def _leave_receipts(self) -> Iterator[Event]:
        self._writer.flush()
        if self._writer.trouble:
            yield _no_receipts(self._writer.trouble)

    def _decided(self, entry: Entry) -> _Job | None:
        found = self._standing.at(entry.path)
        decision = self._decider.check_metadata(entry, found)
        try:
            if self._told(entry, decision):
                return None
        except ExistingFileError as error:
            self._failed(entry, error)
            return None
        return _Job(entry, found, decision)

    def _bring(self, job: _Job) -> None:
        entry = job.entry
        if entry.content is not None:
            # It has no source whose credentials could be renewed.
            self._settle(job, job.decision, None)
            return
        store = self._roots.store(entry.root)
        self._renewing(entry, lambda: self._settle(job, job.decision, store))

    def _settle(self, job: _Job, decision: Decision, store: Store | None) -> None:
        """Find out what is left to decide, and do it."""
        entry = job.entry
        before = self._sources.state(entry)
        if not decision.final:
            read = self._decider.check_content(entry, self._stop.is_set)
            decision = self._read(entry, store, read)
        if decision.action is Action.COMPARE and store is not None:
            decision = self._compared(entry, store)
        if decision.error is not None:
            raise decision.error
        if decision.verdict is not None:
            source_state = self._sources.unchanged(entry, before)
            self._done(entry, Action.KEEP, decision.verdict, job.found, source_state)
            return
        self._write(entry, store, decision.action)

    def _compared(self, entry: Entry, store: Store) -> Decision:
        """Decide by reading the source as well, which alone can tell."""
        verdict = self._receive(entry, store, Nowhere())
        found = read_back(entry, self._sink, self._stop.is_set)
        if found.content == verdict.content:
            return Decision(Action.KEEP, verdict.proof, verdict=verdict)
        means = f"expected content {verdict.content} (xxh3-128), got {found.content}"
        return self._decider.differing(entry, means)

    def _write(self, entry: Entry, store: Store | None, action: Action) -> None:
        self._get_ready()
        replace = action is Action.REPLACE
        before = self._sources.state(entry)
        with self._sink.upload(entry.path, entry.size, replace=replace) as upload:
            try:
                verdict = self._receive(entry, store, Delivery(upload))
            except UndeliveredError as error:
                raise error.why from error
            source_state = self._sources.unchanged(entry, before)
            try:
                landed = upload.commit(verdict.content)
            except ExistingFileError as error:
                # Others put something there in the meantime, or a listing left it out.
                found = self._same(entry, verdict, error)
                self._done(entry, Action.KEEP, verdict, found, source_state)
                return
        self._done(entry, action, verdict, landed, source_state)

    def _same(self, entry: Entry, verdict: Verdict, error: ExistingFileError) -> Object:
        """Give what stands there after all, if it is what was to be written."""
        found = self._sink.state(entry.path)
        if found is None or found.size != entry.size:
            raise error
        if read_back(entry, self._sink, self._stop.is_set).content != verdict.content:
            raise error
        return found

    def _get_ready(self) -> None:
        """Find out whether anything can be written, before much is read in vain."""
        with self._getting_ready:
            if self._ready or self._stop.is_set():
                return
            try:
                self._sink.prepare()
            except (DeniedError, DestinationError):
                self._breaker.why = self._breaker.why or "the destination can't be written"
                self._stop.set()
                raise
            self._ready = True

    def _receive(self, entry: Entry, store: Store | None, target: Target) -> Verdict:
        if store is not None:
            return self._received(entry, store, target)
        data = (entry.content or "").encode()
        target.write(data)
        self._moved(entry, len(data))
        return check_whole(entry, data)

    def _done(
        self,
        entry: Entry,
        action: Action,
        verdict: Verdict,
        found: Object | None,
        source_state: SourceState | None,
    ) -> None:
        self._breaker.succeeded()
        self._ended(Finished(entry=entry, action=action, proof=verdict.proof))
        if found is None or found.etag is None:
            return
        due = self._writer.add(
            Note(
                path=entry.path,
                size=found.size,
                tag=found.etag,
                source=self._sources.fingerprint(entry),
                content=verdict.content,
                proof=verdict.proof,
                etag_is_not_digest=verdict.etag_is_not_digest,
                source_state=source_state,
                kept=action is Action.KEEP,
            )
        )
        if due:
            self._writer.flush()

    def close(self) -> None:
        """Stop what is under way, write receipts, and leave nothing half done."""
        self._stop.set()
        self._sink.shorten_timeouts()
        if self._scheduler:
            self._scheduler.close()
        self._writer.flush()
        self._sink.close()
        self._roots.close()


def _no_receipts(error: BidsplanError) -> Warned:
    message = f"receipts could not be written ({error}); the files are there and were checked"
    return Warned(problem=Problem(message=message, hint="the next run may compare them all again"))


def _left_over(keys: list[str]) -> Warned:
    message = f"{len(keys)} uploads were given up and could not be removed, as that of {keys[0]}"
    hint = "the storage keeps what was sent of them until they are aborted, as a bucket's rules can"
    return Warned(problem=Problem(message=message, hint=hint))
