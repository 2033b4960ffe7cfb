"""Threads that wait for answers: few for a storage that is near, many for one that is far."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


Given = TypeVar("Given")
Result = TypeVar("Result")

_FEW = 4
_MOMENT = 0.005
"""Seconds after which it is seen whether there is use for more threads."""

_IDLE = 0.7
"""Part of a moment in which less must have been computed, for more threads to be of use."""


class ThreadPool:
    """Does the same for many things, many at a time.

    Parameters
    ----------
    most : int
        How many at a time.

    Notes
    -----
    A thread and its connection cost about as much as an answer of a near server, which few threads
    keep busy. Where they mostly wait, there are soon twice as many, and twice as many again.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=most, thread_name_prefix="bidsplan-ask")
        self._most = most
        self._limit = min(most, _FEW)
        self._seen = (0.0, 0.0)

    def close(self) -> None:
        """Stop; what is under way is dropped."""
        # Not waited for: a server may keep it waiting for minutes.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def each(self, work: Callable[[Given], Result], items: Iterable[Given]) -> list[Result]:
        """Do the same for many things.

        Returns
        -------
        list
            The results, in the items' order.

        Raises
        ------
        Exception
            What it raised for the first of the items that it failed for.
        """
        ended: SimpleQueue[Future[Any]] = SimpleQueue()
        futures: list[Future[Result]] = []
        under_way = 0
        self._seen = time.monotonic(), time.process_time()
        for item in items:
            future = self._pool.submit(work, item)
            futures.append(future)
            future.add_done_callback(ended.put)
            under_way += 1
            while under_way >= self._limit:
                done = self._waited(ended)
                under_way -= done is not None
                if done is not None and done.exception() is not None:
                    return [future.result() for future in futures]
        return [future.result() for future in futures]

    def _waited(self, ended: SimpleQueue[Future[Any]]) -> Future[Any] | None:
        """Wait a moment for an end, and see how busy everybody was."""
        try:
            done = ended.get(timeout=_MOMENT)
        except Empty:
            done = None
        now, computed = time.monotonic(), time.process_time()
        if now - self._seen[0] >= _MOMENT:
            if computed - self._seen[1] < _IDLE * (now - self._seen[0]):
                self._limit = min(self._most, 2 * self._limit)
            self._seen = now, computed
        return done
