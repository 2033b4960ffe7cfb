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
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from bidsplan.errors import UnreachableError, UsageError
from bidsplan.events import Failed, Finished, Opened, Skipped, Warned
from bidsplan.help_codes import HelpCode
from bidsplan.messages import has_user_info
from bidsplan.paths import printable
from bidsplan.plan import Plan
from bidsplan.plan.parts import header_of_part, shares
from bidsplan.transfer.run import run_plan
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.storage.access import Access
    from bidsplan.transfer.run import Options


_EACH = 4
"""Shares for each thread of the workers, so that a fast one takes more of them."""

_FEWEST_JOBS = 8
"""Connections of a share at the least, where those of `Access` are divided among many."""

_INTERVAL = 0.25
"""Seconds between two reports of a share, and between two looks whether to stop."""

_LEAVING = 15.0
"""Seconds that shares have to end when the run is stopped."""

_PATIENCE = 1.0
"""Seconds between two questions of a worker whether to stop, each of which is a request."""


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
    if parse_url(destination).protocol == "file":
        destination = os.path.abspath(parse_url(destination).path)  # noqa: PTH100 - links are kept
    run = _Run(plan, destination, os.path.abspath(base), options, client)  # noqa: PTH100 - as above
    try:
        yield from run.events(access, stopping)
    finally:
        run.close()


class _Run:
    """One run on a cluster."""

    def __init__(
        self, plan: Planned, destination: str, base: str, options: Options, client: Any
    ) -> None:
        import distributed  # there, as the client is of it

        self._client = client
        self._topic = f"bidsplan-{secrets.token_hex(8)}"
        self._stop = distributed.Event(self._topic, client=client)
        self._heard: SimpleQueue[Any] = SimpleQueue()
        self._arguments = (destination, base, options)
        self._plan = plan
        self._shares: dict[str, Plan] = {}
        self._futures: dict[str, Any] = {}
        self._ended: set[str] = set()
        self._ends: float | None = None
        self._once: set[str] = set()

    def events(self, access: Access, stopping: Callable[[], bool]) -> Iterator[Event]:
        """Run all shares, and yield what their workers report."""
        threads = max(1, sum(self._client.nthreads().values()))
        number = max(1, min(self._plan.header.files, _EACH * threads))
        jobs = max(_FEWEST_JOBS, access.jobs // threads)
        limit = access.limit_rate and max(1, access.limit_rate // min(threads, number))
        access = replace(access, jobs=min(access.jobs, jobs), limit_rate=limit)
        self._client.subscribe_topic(self._topic, lambda event: self._heard.put(event[1]))
        for share in _split(self._plan, number):
            self._submit(share, access)
        while self._futures:
            if self._ends is None and stopping():
                # Workers end their shares as any run that is stopped does.
                self._stop.set()
                self._ends = time.monotonic() + _LEAVING
            elif self._ends is not None and time.monotonic() >= self._ends:
                # Some have not begun, or are of a worker that does not answer.
                self._client.cancel(list(self._futures.values()))
            yield from self._next()

    def _submit(self, share: Plan, access: Access) -> None:
        key = f"{self._topic}-{share.header.part}"
        lines = b"".join(share.lines())
        future = self._client.submit(
            fetch_share, lines, *self._arguments, access, self._topic, key=key, pure=False
        )
        self._shares[key], self._futures[key] = share, future

    def _next(self) -> Iterator[Event]:
        """Yield what workers report next, and what ended shares say."""
        # Looked at first: what a share has reported comes before its end.
        done = [key for key, future in self._futures.items() if future.done()]
        with suppress(Empty):
            heard = self._heard.get(timeout=0 if done else _INTERVAL)
            while True:
                yield from self._new(pickle.loads(heard))  # noqa: S301 - of this cluster's own worker
                heard = self._heard.get_nowait()
        for key in done:
            future, share = self._futures.pop(key), self._shares.pop(key)
            if future.status == "finished":
                yield from self._new(future.result())
            else:
                yield from self._lost(share, future)

    def _new(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events that were not reported before: those of a share may come twice."""
        for event in events:
            if isinstance(event, Finished | Failed | Skipped):
                if event.entry.path in self._ended:
                    continue
                self._ended.add(event.entry.path)
            elif isinstance(event, Opened | Warned):
                if repr(event) in self._once:
                    continue
                self._once.add(repr(event))
            yield event

    def _lost(self, share: Plan, future: Any) -> Iterator[Event]:
        """Report the rest of a share that did not end; errors of the run are raised."""
        if future.status == "cancelled" and self._ends is not None:
            yield from self._new(Skipped(entry=entry) for entry in share.entries)
            return
        if future.status == "cancelled":
            why = "the connection to the dask scheduler was lost; run it again"
        else:
            error = future.exception()
            if type(error).__name__ != "KilledWorker":
                raise error
            why = "the workers that fetched it died; look at their logs, and run it again"
        yield from self._new(
            Failed(entry=entry, error=UnreachableError(f"{printable(entry.path)}: {why}"))
            for entry in share.entries
        )

    def close(self) -> None:
        """Stop what the workers are at, and forget the run."""
        if self._futures:
            self._stop.set()
            self._client.cancel(list(self._futures.values()))
        with suppress(ValueError):
            # It was never subscribed to where the scheduler was lost before.
            self._client.unsubscribe_topic(self._topic)


def _split(plan: Planned, number: int) -> Iterator[Plan]:
    """Yield a plan's shares in one pass."""
    found: dict[int, list[Entry]] = {}
    for share, entry in shares(plan, number):
        found.setdefault(share, []).append(entry)
    for share, entries in found.items():
        yield Plan.rebuild(header_of_part(plan.header, f"share {share} of {number}"), entries)


def fetch_share(
    lines: bytes, destination: str, base: str, options: Options, access: Access, topic: str
) -> list[Event]:
    """Fetch a share on a worker; what happens is also reported while it does."""
    import distributed

    worker = distributed.get_worker()
    stopping = _Stopping(distributed.Event(topic))
    said: list[Event] = []
    all_ended: list[Event] = []
    since = time.monotonic()
    plan = Plan.parse(lines.partition(b"\n")[::2])
    for event in run_plan(plan, destination, access, base, options, stopping):
        said.append(event)
        if isinstance(event, Finished | Failed | Skipped | Opened | Warned):
            all_ended.append(event)
        if time.monotonic() - since >= _INTERVAL:
            worker.log_event(topic, pickle.dumps(said))
            said, since = [], time.monotonic()
    worker.log_event(topic, pickle.dumps(said))
    return all_ended


class _Stopping:
    """Asks the cluster now and then whether the run is to stop."""

    def __init__(self, event: Any) -> None:
        self._event = event
        self._asked = -_PATIENCE
        self._stop = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._stop and now - self._asked >= _PATIENCE:
            self._asked, self._stop = now, bool(self._event.is_set())
        return self._stop
