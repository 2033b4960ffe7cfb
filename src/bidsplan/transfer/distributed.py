"""A plan fetched by the workers of a dask cluster, a share at a time.

Each share is run as any part of a plan is, so that a share which two workers fetch, since one of
them was taken for lost, ends well. Workers open storage by their own configuration: what is sent to
them names profiles and endpoints, and holds no credentials.
"""

from __future__ import annotations

import os
import pickle
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.errors import BidsplanError, LibraryError, UnreachableError, UsageError
from bidsplan.events import (
    Decided,
    Failed,
    Finished,
    Opened,
    Progressed,
    Resumable,
    Resumed,
    Skipped,
    Waiting,
    Warned,
)
from bidsplan.help_codes import HelpCode
from bidsplan.messages import has_user_info
from bidsplan.paths import printable
from bidsplan.plan import Plan
from bidsplan.plan.parts import COST_OF_FILE, header_of_part, shares
from bidsplan.transfer.cluster_worker import (
    ACTIONS,
    CHECKS,
    INTERVAL,
    Report,
    Task,
    compressed,
    fetch_share,
    prepare,
)
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.storage.access import Access
    from bidsplan.transfer.options import Options


_EACH = 4
"""Shares for each thread of the workers, so that a fast one takes more of them."""

_LARGEST = 8 << 30
"""Bytes of a share at the most, a file's cost included: what a lost worker has to be made up for,
and what is sent to one."""

_FEWEST_JOBS = 8
"""Connections of a share at the least, where those of `Access` are divided among many."""

_LEAVING = 15.0
"""Seconds that shares have to end when the run is stopped."""

_QUIET = 5.0
"""Seconds without a report after which it is looked whether there are workers."""

_REPORTS = msgspec.msgpack.Decoder(Report)


def run_on_cluster(
    plan: Planned,
    destination: str,
    access: Access,
    base: str,
    options: Options,
    stopping: Callable[[], bool],
    client: Any,
) -> Generator[Event, None, None]:
    """Fetch what a plan lists by a cluster's workers; yields and raises as `materialise` does."""
    urls = access.endpoint_url, access.dest_endpoint_url
    if any(url is not None and has_user_info(url) for url in urls):
        raise UsageError(
            "an endpoint with a user name or password is not sent to other machines; configure "
            "credentials where the workers run",
            help_code=HelpCode.DASK,
        )
    if client.asynchronous:
        raise UsageError("an asynchronous client can't be waited for; give a synchronous one")
    if parse_url(destination).protocol == "file":
        destination = os.path.abspath(parse_url(destination).path)  # noqa: PTH100 - links are kept
    task = Task(
        share=0,
        lines=b"",
        destination=destination,
        base=os.path.abspath(base),  # noqa: PTH100 - as above
        options=options,
        access=access,
        topic=f"bidsplan-{secrets.token_hex(8)}",
    )
    run = _Run(plan, task, client, stopping)
    try:
        yield from run.events()
    finally:
        run.close()


class _Run:
    """One run on a cluster."""

    def __init__(
        self, plan: Planned, task: Task, client: Any, stopping: Callable[[], bool]
    ) -> None:
        self._plan = plan
        self._task = task
        self._client = client
        self._stopping = stopping
        self._heard: SimpleQueue[bytes] = SimpleQueue()
        self._shares: dict[int, tuple[Entry, ...]] = {}
        self._futures: dict[int, Any] = {}
        self._under_way: dict[int, str] = {}  # attempts, by share
        self._moved = _Moved()
        self._ended: set[str] = set()
        self._said: set[str] = set()
        self._resumable = 0
        self._last = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Run all shares, and yield what their workers report."""
        self._client.subscribe_topic(self._task.topic, lambda event: self._heard.put(event[1]))
        yield from self._prepared()
        if self._stopping():
            yield from (Skipped(entry=entry) for entry in self._plan.entries)
            return
        self._submit_all()
        while self._futures and not self._stopping():
            yield from self._next()
        if self._futures:
            yield from self._stopped()
        if self._resumable:
            yield Resumable(bytes=self._resumable)

    def _prepared(self) -> Iterator[Event]:
        """Have a worker make the destination, and see that there is room for all of the plan."""
        identity, free = yield from self._asked(self._task)
        if self._task.options.check_space and free is not None and free < self._plan.header.bytes:
            plan = Plan(header=self._plan.header, entries=tuple(self._plan.entries))
            lines = compressed(plan.lines())
            yield from self._asked(self._task._replace(lines=lines))
        self._task = self._task._replace(identity=identity)

    def _asked(self, task: Task) -> Generator[Event, None, tuple[str | None, int | None]]:
        """Wait for a worker to prepare the destination, or for the end of the run."""
        future = self._submit(prepare, task, f"{task.topic}-prepare-{secrets.token_hex(4)}")
        self._futures[0] = future
        while not future.done():
            if self._stopping():
                return None, None
            time.sleep(INTERVAL / 10)
            yield from self._missing_workers()
        del self._futures[0]
        if future.status != "finished":
            raise _error_of(future)
        found: tuple[str | None, int | None] = future.result()
        return found

    def _submit(self, function: Callable[[str, bytes], Any], task: Task, key: str) -> Any:
        call, own = _imported_there(function.__name__), version("bidsplan")
        return self._client.submit(call, own, task.dump(), key=key, pure=False)

    def _submit_all(self) -> None:
        plan, access = self._plan, self._task.access
        threads = max(1, sum(self._client.nthreads().values()))
        cost = plan.header.bytes + COST_OF_FILE * plan.header.files
        number = max(1, min(plan.header.files, max(_EACH * threads, -(-cost // _LARGEST))))
        jobs = max(_FEWEST_JOBS, access.jobs // threads)
        limit = access.limit_rate and max(1, access.limit_rate // min(threads, number))
        task = self._task._replace(
            access=replace(access, jobs=min(access.jobs, jobs), limit_rate=limit)
        )
        for share, found in groupby(shares(plan, number), itemgetter(0)):
            entries = tuple(entry for _, entry in found)
            head = header_of_part(plan.header, f"share {share} of {number}")
            lines = compressed(Plan.rebuild(head, entries).lines())
            key = f"{task.topic}-share-{share}-of-{number}"
            self._shares[share] = entries
            self._futures[share] = self._submit(
                fetch_share, task._replace(share=share, lines=lines), key
            )

    def _next(self) -> Iterator[Event]:
        """Yield what workers report next, and what ended shares say."""
        # Looked at first: what a share has reported comes before its end.
        done = [share for share, future in self._futures.items() if future.done()]
        yield from self._heard_of(0 if done else INTERVAL)
        yield from self._missing_workers()
        for share in done:
            future, entries = self._futures.pop(share), self._shares.pop(share)
            self._under_way.pop(share, None)
            yield from self._rest(entries, _why_lost(future))

    def _heard_of(self, seconds: float) -> Iterator[Event]:
        with suppress(Empty):
            data = self._heard.get(timeout=seconds)
            while True:
                self._last = time.monotonic()
                yield from self._reported(_REPORTS.decode(data))
                data = self._heard.get_nowait()

    def _reported(self, report: Report) -> Iterator[Event]:
        """Yield the events of a report that were not reported before."""
        entries = self._shares.get(report.share)
        if entries is None:
            # Another worker has finished the share meanwhile.
            return
        self._under_way[report.share] = report.attempt
        if report.over:
            del self._under_way[report.share]
        for number, action in report.decided:
            yield Decided(entry=entries[number], action=ACTIONS[action])
        for number, moved in report.moved.items():
            if entries[number].path not in self._ended:
                yield from self._moved.add(entries[number], report.attempt, moved)
        for number, action, check, size, cached in report.finished:
            entry = entries[number]
            if entry.path not in self._ended:
                yield from self._moved.settle(entry, report.attempt)
                self._ended.add(entry.path)
                done, proof = ACTIONS[action], CHECKS[check]
                yield Finished(entry=entry, action=done, proof=proof, bytes=size, cached=cached)
        if report.others:
            others = pickle.loads(report.others)  # noqa: S301 - of this cluster's own worker
            yield from (event for event in others if self._is_new(event))

    def _is_new(self, event: Event) -> bool:
        """Report whether an event is to be yielded, which several workers may report."""
        if isinstance(event, Failed | Skipped):
            key, known = event.entry.path, self._ended
        elif isinstance(event, Opened | Warned):
            key, known = repr(event), self._said
        elif isinstance(event, Resumable):
            self._resumable += event.bytes
            return False
        else:
            return True
        new = key not in known
        known.add(key)
        return new

    def _rest(self, entries: tuple[Entry, ...], why: str | None) -> Iterator[Event]:
        """Report what did not end of a share: as failed, or without a reason as skipped."""
        for entry in entries:
            if entry.path not in self._ended:
                self._ended.add(entry.path)
                error = UnreachableError(f"{printable(entry.path)}: {why}")
                yield Failed(entry=entry, error=error) if why else Skipped(entry=entry)

    def _missing_workers(self) -> Iterator[Waiting]:
        """Say so, once, where there are no workers."""
        if time.monotonic() - self._last < _QUIET:
            return
        self._last = time.monotonic()
        text = "the dask cluster has no workers"
        # The scheduler may be lost, which the futures will say.
        with suppress(OSError):
            if not self._client.nthreads() and text not in self._said:
                self._said.add(text)
                yield Waiting(holder=text)

    def _stopped(self) -> Iterator[Event]:
        """Have workers leave their shares, and report what is left."""
        self._client.cancel(list(self._futures.values()))
        self._futures.clear()
        end = time.monotonic() + _LEAVING
        yield from self._heard_of(INTERVAL)
        while self._under_way and time.monotonic() < end:
            yield from self._heard_of(INTERVAL)
        for entries in self._shares.values():
            yield from self._rest(entries, None)

    def close(self) -> None:
        """Stop what the workers are at, and forget the run."""
        if self._futures:
            self._client.cancel(list(self._futures.values()))
        with suppress(ValueError):
            # It was never subscribed to where the scheduler was lost before.
            self._client.unsubscribe_topic(self._task.topic)


def _imported_there(name: str) -> Callable[[str, bytes], Any]:
    """Return a function of `cluster_worker` that is imported only where it is called.

    A worker that can't unpickle a task ends without a word, and the scheduler unpickles it too.
    """

    def call(made_by: str, data: bytes) -> Any:
        import importlib

        import distributed

        try:
            module = importlib.import_module("bidsplan.transfer.cluster_worker")
        except ImportError as error:
            address = distributed.get_worker().address
            raise ImportError(f"{error}, on the worker {address}") from error
        return getattr(module, name)(made_by, data)

    return call


def _why_lost(future: Any) -> str:
    """Say why a share's end brought no report of some files; errors of the run are raised."""
    if future.status == "finished":
        return "its worker's report was lost; run it again"
    error = _error_of(future)
    if not isinstance(error, UnreachableError):
        raise error
    return str(error)


def _error_of(future: Any) -> BaseException:
    """Return why a worker did not do its work."""
    from distributed import KilledWorker

    if future.status == "cancelled":
        return UnreachableError(
            "the dask scheduler was lost, or the work was cancelled there; run it again"
        )
    error: BaseException = future.exception()
    if isinstance(error, KilledWorker):
        return UnreachableError(
            "the workers that fetched it died; look at their logs, and run it again"
        )
    if isinstance(error, BidsplanError):
        return error
    if isinstance(error, ImportError):
        return LibraryError(
            f"a worker has no bidsplan, or another one: {printable(str(error))}; install bidsplan "
            f"{version('bidsplan')} for all workers"
        )
    return error


class _Moved:
    """Bytes of unfinished files, each by the worker that reported it last.

    A file may be fetched by two workers, and what one brought before it died is not counted twice.
    """

    def __init__(self) -> None:
        self._by_attempt: dict[str, dict[str, tuple[int, int]]] = {}
        self._shown: dict[str, tuple[int, int]] = {}

    def add(self, entry: Entry, attempt: str, moved: tuple[int, int]) -> Iterator[Event]:
        """Count bytes that came, and bytes of earlier runs."""
        found = self._by_attempt.setdefault(entry.path, {})
        before = found.get(attempt, (0, 0))
        found[attempt] = before[0] + moved[0], before[1] + moved[1]
        yield from self._show(entry, found[attempt])

    def settle(self, entry: Entry, attempt: str) -> Iterator[Event]:
        """Count what came of a file by the worker that finished it."""
        found = self._by_attempt.pop(entry.path, None)
        if found is not None:
            yield from self._show(entry, found.get(attempt, (0, 0)))
            del self._shown[entry.path]

    def _show(self, entry: Entry, moved: tuple[int, int]) -> Iterator[Event]:
        before = self._shown.get(entry.path, (0, 0))
        self._shown[entry.path] = moved
        if moved[0] != before[0]:
            yield Progressed(entry=entry, bytes=moved[0] - before[0])
        if moved[1] != before[1]:
            yield Resumed(entry=entry, bytes=moved[1] - before[1])
