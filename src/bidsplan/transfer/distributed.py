"""Fetches a plan with the workers of a dask cluster, share by share.

Each share is run like any other part of a plan. If a worker seems to be lost and two workers fetch
a share, the result is therefore right. Workers open storage with their own configuration: they get
names of profiles and endpoints, but no credentials.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from bidsplan.errors import BidsplanError, LibraryError, UnreachableError, UsageError
from bidsplan.events import Failed, Opened, Resumable, Skipped, Waiting, Warned
from bidsplan.help_codes import HelpCode
from bidsplan.messages import has_user_info
from bidsplan.paths import printable
from bidsplan.plan import Plan
from bidsplan.plan.parts import COST_OF_FILE, header_of_part, shares
from bidsplan.transfer.cluster_share import Share, read_report
from bidsplan.transfer.cluster_worker import (
    INTERVAL,
    Prepared,
    Task,
    compressed,
    fetch_share,
    find_unplanned,
    prepare,
)
from bidsplan.transfer.decide import same_name, same_names
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Planned
    from bidsplan.storage.access import Access
    from bidsplan.transfer.options import Options


T = TypeVar("T")

_EACH = 4
"""The number of shares for each thread of the workers, so that a fast one takes more."""

_LARGEST = 8 << 30
"""The most bytes of a share, with the cost of each file.

So much is repeated if a worker is lost, and so much is sent to one.
"""

_FEWEST_JOBS = 8
"""The least connections of a share, if those of `Access` are divided among many shares."""

_LEAVING = 15.0
"""Seconds in which shares must end when the run is stopped."""

_QUIET = 5.0
"""Seconds without a report, after which the run checks whether there are workers."""


def run_on_cluster(
    plan: Planned,
    destination: str,
    access: Access,
    base: str,
    options: Options,
    stopping: Callable[[], bool],
    client: Any,
) -> Generator[Event, None, None]:
    """Fetch a plan's files on a cluster; events and errors as in `materialise`."""
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
        options=options._replace(whole=None),
        access=access,
        topic=f"bidsplan-{secrets.token_hex(8)}",
    )
    run = _Run(plan, options.whole or plan, task, client, stopping)
    try:
        yield from run.events()
    finally:
        run.close()


class _Run:
    """One run on a cluster."""

    def __init__(
        self,
        plan: Planned,
        whole: Planned,
        task: Task,
        client: Any,
        stopping: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._whole = whole
        self._same_names: dict[str, str] = {}
        self._task = task
        self._client = client
        self._stopping = stopping
        self._reports: SimpleQueue[bytes] = SimpleQueue()
        self._shares: dict[int, Share] = {}
        self._futures: dict[int, Any] = {}
        self._yielded: set[str] = set()
        self._resumable = 0
        self._last = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Run all shares, and yield the events of the workers."""
        with _reaching_the_scheduler():
            self._client.subscribe_topic(
                self._task.topic, lambda event: self._reports.put(event[1])
            )
        yield from self._prepared()
        if self._stopping():
            others = (e for e in self._plan.entries if e.path not in self._same_names)
            yield from (Skipped(entry=entry) for entry in others)
            return
        self._submit_all()
        while self._futures and not self._stopping():
            yield from self._next()
        if self._futures:
            yield from self._stopped()
        if self._resumable:
            yield Resumable(bytes=self._resumable)
        whole = self._plan.header.part is None
        if self._task.options.find_unplanned and whole and not self._stopping():
            yield from self._unplanned()

    def _prepared(self) -> Iterator[Event]:
        """Let a worker create the destination, and check the free space."""
        found = yield from self._await_worker(prepare, self._task)
        identity, free, folds_names = found or Prepared()
        if folds_names:
            self._same_names = same_names(self._whole)
            yield from self._refused()
        if self._task.options.check_space and free is not None and free < self._plan.header.bytes:
            plan = Plan(header=self._plan.header, entries=tuple(self._plan.entries))
            lines = compressed(plan.lines())
            yield from self._await_worker(prepare, self._task._replace(lines=lines))
        self._task = self._task._replace(identity=identity)

    def _refused(self) -> Iterator[Failed]:
        """Report the files whose paths the destination takes for others', which have no share."""
        for entry in self._plan.entries if self._same_names else ():
            if (first := self._same_names.get(entry.path)) is not None:
                yield Failed(entry=entry, error=same_name(entry.path, first))

    def _unplanned(self) -> Iterator[Event]:
        """Have a worker look for files of an earlier plan, once for the whole plan."""
        paths = compressed(f"{entry.path}\n".encode() for entry in self._plan.entries)
        found = yield from self._await_worker(find_unplanned, self._task._replace(lines=paths))
        yield from (Warned(problem=problem) for problem in found or ())

    def _await_worker(
        self, function: Callable[[str, bytes], T], task: Task
    ) -> Generator[Event, None, T | None]:
        """Wait for what a worker returns; None where the run ends before."""
        key = f"{task.topic}-{function.__name__}-{secrets.token_hex(4)}"
        future = self._submit(function, task, key)
        self._futures[0] = future
        while not future.done():
            if self._stopping():
                return None
            time.sleep(INTERVAL / 10)
            yield from self._missing_workers()
        del self._futures[0]
        if error := _error_of(future):
            raise error
        found: T = future.result()
        return found

    def _submit(self, function: Callable[[str, bytes], Any], task: Task, key: str) -> Any:
        call, own = _imported_there(function.__name__), version("bidsplan")
        with _reaching_the_scheduler():
            return self._client.submit(call, own, task.dump(), key=key, pure=False)

    def _submit_all(self) -> None:
        plan, access = self._plan, self._task.access
        with _reaching_the_scheduler():
            threads = max(1, sum(self._client.nthreads().values()))
        cost = plan.header.bytes + COST_OF_FILE * plan.header.files
        number = max(1, min(plan.header.files, max(_EACH * threads, -(-cost // _LARGEST))))
        jobs = max(_FEWEST_JOBS, access.jobs // threads)
        limit = access.limit_rate and max(1, access.limit_rate // min(threads, number))
        task = self._task._replace(
            access=replace(access, jobs=min(access.jobs, jobs), limit_rate=limit)
        )
        for share, found in groupby(shares(plan, number), itemgetter(0)):
            entries = tuple(entry for _, entry in found if entry.path not in self._same_names)
            if not entries:
                continue
            head = header_of_part(plan.header, f"share {share} of {number}")
            lines = compressed(Plan.rebuild(head, entries).lines())
            key = f"{task.topic}-share-{share}-of-{number}"
            self._shares[share] = Share(entries)
            self._futures[share] = self._submit(
                fetch_share, task._replace(share=share, lines=lines), key
            )

    def _next(self) -> Iterator[Event]:
        """Yield the next events of workers and of shares that ended."""
        # Futures are checked first, so that a share's reports are read before its end.
        done = [number for number, future in self._futures.items() if future.done()]
        yield from self._reported(0 if done else INTERVAL)
        yield from self._missing_workers()
        for number in done:
            error = _error_of(self._futures.pop(number))
            if error is not None and not isinstance(error, UnreachableError):
                for share in self._shares.values():
                    yield from share.unfinished()
                raise error
            share = self._shares.pop(number)
            self._resumable += share.resumable
            why = "its worker's report was lost; run it again" if error is None else str(error)
            yield from share.rest(why)

    def _reported(self, seconds: float) -> Iterator[Event]:
        """Yield the events of reports, after waiting for the first one."""
        with suppress(Empty):
            data = self._reports.get(timeout=seconds)
            while True:
                self._last = time.monotonic()
                report = read_report(data)
                # A worker of a share that has ended may not know that yet.
                if share := self._shares.get(report.share):
                    yield from filter(self._is_new, share.events(report))
                data = self._reports.get_nowait()

    def _is_new(self, event: Event) -> bool:
        """Report whether an event is new, since workers report the same ones."""
        if not isinstance(event, Opened | Warned):
            return True
        text = repr(event)
        new = text not in self._yielded
        self._yielded.add(text)
        return new

    def _missing_workers(self) -> Iterator[Waiting]:
        """Warn once if the cluster has no workers."""
        if time.monotonic() - self._last < _QUIET:
            return
        self._last = time.monotonic()
        text = "the dask cluster has no workers"
        # The scheduler may be lost, which the futures report.
        with suppress(OSError):
            if not self._client.nthreads() and text not in self._yielded:
                self._yielded.add(text)
                yield Waiting(holder=text)

    def _stopped(self) -> Iterator[Event]:
        """Stop the workers, and report the unfinished files."""
        with _reaching_the_scheduler():
            self._client.cancel(list(self._futures.values()))
        self._futures.clear()
        end = time.monotonic() + _LEAVING
        yield from self._reported(INTERVAL)
        while any(share.under_way for share in self._shares.values()) and time.monotonic() < end:
            yield from self._reported(INTERVAL)
        for share in self._shares.values():
            self._resumable += share.resumable
            yield from share.rest(None)

    def close(self) -> None:
        """Stop the workers, and forget the run."""
        from distributed.client import ClosedClientError

        # If the scheduler is lost, the run is lost too, and the reason was already reported.
        with suppress(OSError, ClosedClientError):
            if self._futures:
                self._client.cancel(list(self._futures.values()))
            with suppress(ValueError):
                # If the scheduler was lost before, there was no subscription.
                self._client.unsubscribe_topic(self._task.topic)


@contextmanager
def _reaching_the_scheduler() -> Iterator[None]:
    """Explain the error if the scheduler or the client is lost."""
    from distributed.client import ClosedClientError

    try:
        yield
    except (OSError, ClosedClientError) as error:
        raise UnreachableError(
            f"the dask scheduler was lost: {printable(str(error))}; look at its log, start it "
            "again, and run it again: what has come is kept"
        ) from error


def _imported_there(name: str) -> Callable[[str, bytes], Any]:
    """Return a function of `cluster_worker` that only workers import.

    A worker that can't unpickle a task ends without a message, and the scheduler unpickles tasks
    too.
    """

    def call(made_by: str, data: bytes) -> Any:
        import importlib

        import distributed

        worker = distributed.get_worker()
        try:
            importlib.import_module("bidsplan.transfer.cluster_sampling").stop_sampling(worker)
            module = importlib.import_module("bidsplan.transfer.cluster_worker")
        except ImportError as error:
            raise ImportError(f"{error}, on the worker {worker.address}") from error
        return getattr(module, name)(made_by, data)

    return call


def _error_of(future: Any) -> BaseException | None:
    """Return why a worker failed, or None."""
    from distributed import KilledWorker

    if future.status == "finished":
        return None
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
