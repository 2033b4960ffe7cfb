"""A thread pool that grows while its threads mostly wait."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from bidsplan.storage.concurrency import RequestLimit
from bidsplan.storage.retry import limited_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


Given = TypeVar("Given")
Result = TypeVar("Result")

_FIRST = 4  # threads to begin with
_INTERVAL = 0.005  # seconds after which the number of threads is checked again
_BUSY = 0.7  # if this part of an interval is spent computing, more threads do not help


class ThreadPool:
    """Runs a function for many items, up to `most` at a time.

    A few threads are enough for a near server, and each thread and its connection cost about as
    much as one answer. If the threads mostly wait, their number is doubled repeatedly, until the
    storage refuses a request. Then fewer threads work at a time, and requests take turns, until
    requests succeed again.

    Attributes
    ----------
    limit : RequestLimit
        The limit for the requests of all threads.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=most, thread_name_prefix="bidsplan-ask")
        self.limit = RequestLimit(most, _FIRST, computed=time.process_time)
        self._start = (0.0, 0.0)

    def close(self) -> None:
        """Stop, and drop unfinished items."""
        # The pool does not wait for this thread, since a server may block it for minutes.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[Given], Result], item: Given) -> Result:
        with limited_by(self.limit):
            return work(item)

    def each(self, work: Callable[[Given], Result], items: Iterable[Given]) -> list[Result]:
        """Run `work` for many items and return the results in the items' order.

        After a failure nothing more is started, and the first failed item's error is raised.
        """
        done: SimpleQueue[Future[Any]] = SimpleQueue()
        futures: list[Future[Result]] = []
        under_way = 0
        self._start = time.monotonic(), time.process_time()
        for item in items:
            future = self._pool.submit(self._run, work, item)
            futures.append(future)
            future.add_done_callback(done.put)
            under_way += 1
            while under_way >= self.limit.limit:
                ended = self._wait(done)
                under_way -= ended is not None
                if ended is not None and ended.exception() is not None:
                    return [future.result() for future in futures]
        return [future.result() for future in futures]

    def stream(
        self, work: Callable[[Given], Result], items: Iterable[Given], ahead: int
    ) -> Iterator[Result]:
        """Run `work` for many items, and yield the results in the items' order.

        At most `ahead` items are begun before their turn, so that few results have to wait. After a
        failure, no more items are begun, and the first failed item's error is raised in its turn.
        """
        waiting: deque[Future[Result]] = deque()
        further = iter(items)
        failed = Event()

        def begin(item: Given) -> Future[Result]:
            future = self._pool.submit(self._run, work, item)
            future.add_done_callback(lambda ended: _note_failure(ended, failed))
            return future

        self._start = time.monotonic(), time.process_time()
        try:
            while True:
                room = min(self.limit.limit, ahead) - len(waiting)
                if not failed.is_set():
                    waiting.extend(map(begin, islice(further, max(room, 0))))
                if not waiting:
                    return
                if waiting[0].done() or wait([waiting[0]], _INTERVAL).done:
                    yield waiting.popleft().result()
                else:
                    self._consider()
        finally:
            for future in waiting:
                future.cancel()

    def _wait(self, done: SimpleQueue[Future[Any]]) -> Future[Any] | None:
        """Wait briefly for a future, and add threads if they were idle."""
        try:
            ended = done.get(timeout=_INTERVAL)
        except Empty:
            ended = None
        self._consider()
        return ended

    def _consider(self) -> None:
        """Double the threads if they were mostly idle since the last check."""
        now, computed = time.monotonic(), time.process_time()
        elapsed = now - self._start[0]
        if elapsed >= _INTERVAL:
            if computed - self._start[1] < _BUSY * elapsed:
                self.limit.widen()
            self._start = now, computed


def _note_failure(future: Future[Any], failed: Event) -> None:
    if not future.cancelled() and future.exception() is not None:
        failed.set()
