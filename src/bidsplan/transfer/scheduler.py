"""Runs many jobs at a time, on an event loop and in threads."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from bidsplan.errors import ThrottledError
from bidsplan.transfer.concurrency import MOST_STREAMS
from bidsplan.transfer.jobs import Job, JobSource, Lane, Pulled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from bidsplan.transfer.concurrency import ConcurrencyLimit


T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_SLICE = 0.05
"""Seconds after which events are yielded, even if there are few."""

_HELD = 48 << 20
"""The most bytes of small objects in memory at a time."""

_LEAVING = 1.0
"""Seconds in which requests must end when the work is stopped."""

_WAITS = (0.1, 0.2, 0.4)
"""The most seconds that a small object waits after each refusal."""

_PARKED = 1000
"""The most large jobs that wait for a thread while small ones run."""

_THREADS = 32
_RANGES = 64
_PATIENCE = 5.0
"""Seconds that a stopped run waits for its running jobs."""


class Scheduler:
    """Runs as many jobs at a time as the limit allows.

    `ranges` are the threads in which jobs may fetch ranges of their objects. At most `jobs` jobs
    run in threads.
    """

    def __init__(self, work: JobSource, limit: ConcurrencyLimit, jobs: int) -> None:
        self._work = work
        self._limit = limit
        self._loop = _new_loop()
        threads = min(jobs, _THREADS + MOST_STREAMS)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="bidsplan")
        self.ranges = ThreadPoolExecutor(min(jobs, _RANGES), thread_name_prefix="bidsplan-ranges")
        self._slot = asyncio.Semaphore(min(jobs, _THREADS))
        self._streaming = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._other: ThreadPoolExecutor | None = None
        self._members: set[asyncio.Task[None]] = set()
        self._busy: set[Future[None]] = set()
        self._aside: set[Future[Any]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._parked: list[tuple[int, int, Job]] = []
        self._numbers = count()
        self._held = 0
        self._gate = asyncio.Lock()
        self._over: asyncio.Future[None] | None = None
        self._pulled_all = False
        self._trouble: BaseException | None = None

    def slices(self) -> Iterator[None]:
        """Run jobs, and yield whenever events may be waiting.

        If a job raises an error, that is a bug or wrong usage, and ends the work.
        """
        while True:
            self._run(self._slice())
            yield
            if self._trouble is not None:
                raise self._trouble
            if self._is_done() or self._work.stopped():
                return

    def _run(self, slice_: Coroutine[None, None, None]) -> None:
        if _loop_is_running():
            # In a notebook, this thread has a running loop already, which is not changed.
            if self._other is None:
                self._other = ThreadPoolExecutor(1, thread_name_prefix="bidsplan-loop")
            self._other.submit(self._loop.run_until_complete, slice_).result()
        else:
            self._loop.run_until_complete(slice_)

    async def _slice(self) -> None:
        self._over = self._loop.create_future()
        timer = self._loop.call_later(_SLICE, self._end_slice)
        self._fill()
        self._look()
        await self._over
        timer.cancel()

    def _end_slice(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _fill(self) -> None:
        """Adapt the number of tasks to the limit."""
        while not self._pulled_all and len(self._members) < self._limit.limit:
            member = self._loop.create_task(self._member())
            self._members.add(member)
            member.add_done_callback(self._left)
        self._fill_streams()

    def _fill_streams(self) -> None:
        """Start as many large jobs as are useful now."""
        while self._parked and self._may_stream() and not self._work.stopped():
            # The largest jobs come first, so that none of them runs alone at the end.
            self._submit(heappop(self._parked)[2], Lane.STREAM)
        if self._may_stream():
            _wake(self._turns)

    def _may_stream(self) -> bool:
        return self._streaming < self._limit.streams.allowed

    def _left(self, member: asyncio.Task[None]) -> None:
        self._members.discard(member)
        if not member.cancelled() and member.exception() is not None:
            self._fail(member.exception())
        self._look()

    def _look(self) -> None:
        if self._is_done() or self._trouble is not None or self._work.full():
            self._end_slice()

    def _is_done(self) -> bool:
        return self._pulled_all and not (self._members or self._busy or self._parked)

    def _fail(self, error: BaseException | None) -> None:
        self._trouble = self._trouble or error
        self._pulled_all = True

    async def _member(self) -> None:
        while not self._pulled_all and len(self._members) <= self._limit.limit:
            if delay := self._limit.delay():
                await asyncio.sleep(delay)
            job = self._work.pull()
            if isinstance(job, Pulled):
                self._pulled_all = job is Pulled.EXHAUSTED
                self._look()
                await asyncio.sleep(0)
            elif job.lane is Lane.STREAM and not self._may_stream():
                await self._park(job)
            elif job.lane is not Lane.ASYNC:
                await self._hand_over(job, job.lane)
            elif not await self._do(job):
                await self._hand_over(job, Lane.THREAD)
            else:
                self._fill()
                if self._work.full():
                    self._end_slice()

    async def _do(self, job: Job) -> bool:
        size = job.entry.size
        while self._held and self._held + size > _HELD:
            turn = self._loop.create_future()
            self._waiting.append(turn)
            await turn
        self._held += size
        try:
            if await self._work.run_cached(job):
                return True
            if delay := self._limit.rate.delay(size):
                await asyncio.sleep(delay)
            return await self._request(job)
        finally:
            self._release(size)

    async def _request(self, job: Job) -> bool:
        """Run a job in its turn, and again after a refusal."""
        for longest in _WAITS:
            if self._limit.pace.limited:
                # Jobs take turns one at a time, so that the rate can change for those that wait.
                async with self._gate:
                    await asyncio.sleep(self._limit.pace.delay())
            try:
                return await self._work.run_async(job)
            except ThrottledError as error:
                if error.retry_after:
                    # A thread waits for as long as the storage asks.
                    return False
                seconds = random.uniform(0, longest)  # noqa: S311 - jitter
                self._limit.slowdowns.waited(seconds)
                await asyncio.sleep(seconds)
        return False

    async def _park(self, job: Job) -> None:
        """Set a large job aside, so that small ones can run."""
        heappush(self._parked, (-job.entry.size, next(self._numbers), job))
        if len(self._parked) > _PARKED:
            await self._hand_over(heappop(self._parked)[2], Lane.STREAM)

    async def _hand_over(self, job: Job, lane: Lane) -> None:
        if lane is Lane.THREAD:
            await self._slot.acquire()
        while lane is Lane.STREAM and not self._may_stream():
            turn = self._loop.create_future()
            self._turns.append(turn)
            await turn
        self._submit(job, lane)

    def _submit(self, job: Job, lane: Lane) -> None:
        self._streaming += lane is Lane.STREAM
        future = self._threads.submit(self._work.run_in_thread, job)
        self._busy.add(future)
        future.add_done_callback(lambda done: self._later(done, lane))

    async def aside(self, call: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call a function in a thread, for a job on the loop."""
        return await asyncio.wrap_future(self._start(call, *arguments), loop=self._loop)

    def later(self, call: Callable[[], None]) -> None:
        """Call a function in a thread, and wait for it only at the end."""
        # A pool that is shutting down accepts no work, and the code that closes it does the rest.
        with suppress(RuntimeError):
            self._start(call)

    def _start(self, call: Callable[[*Arguments], T], *arguments: *Arguments) -> Future[T]:
        """Call a function in a thread that closing waits for."""
        future = self._threads.submit(call, *arguments)
        self._aside.add(future)
        future.add_done_callback(self._aside.discard)
        return future

    def _release(self, size: int) -> None:
        self._held -= size
        _wake(self._waiting)

    def _later(self, future: Future[None], lane: Lane) -> None:
        """Note from a thread that a job is done."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._returned, future, lane)

    def _returned(self, future: Future[None], lane: Lane) -> None:
        self._busy.discard(future)
        if lane is Lane.STREAM:
            self._streaming -= 1
            self._fill_streams()
        else:
            self._slot.release()
        if not future.cancelled() and future.exception() is not None:
            self._fail(future.exception())
        self._look()

    def close(self) -> bool:
        """Let running jobs end for a while; returns whether threads are busy."""
        self._pulled_all = True
        if not self._loop.is_closed():
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.ranges.shutdown(wait=False, cancel_futures=True)
            if self._members:
                # A copy, since some tasks may end before they are waited for.
                self._run(self._leave(frozenset(self._members)))
            wait([future for future in self._under_way() if not future.cancelled()], _PATIENCE)
            self._loop.close()
            if self._other is not None:
                self._other.shutdown()
        return not all(future.done() for future in self._under_way())

    def _under_way(self) -> set[Future[Any]]:
        return self._busy | self._aside

    async def _leave(self, members: frozenset[asyncio.Task[None]]) -> None:
        _, late = await asyncio.wait(members, timeout=_LEAVING)
        for member in late:
            member.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _wake(turns: deque[asyncio.Future[None]]) -> None:
    """Wake all jobs that wait for their turn."""
    while turns:
        turn = turns.popleft()
        if not turn.done():
            turn.set_result(None)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # not everywhere
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
