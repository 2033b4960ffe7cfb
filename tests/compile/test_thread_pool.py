"""The thread pool runs each item once, keeps the order, and grows only while threads wait."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from bidsplan.compile.survey.thread_pool import ThreadPool


@pytest.fixture
def pool():
    with closing(ThreadPool(64)) as made:
        yield made


def test_each_item_is_processed_once_and_results_keep_the_order(pool):
    done = []

    def work(number):
        done.append(number)
        return number * number

    assert pool.each(work, range(500)) == [number * number for number in range(500)]
    assert sorted(done) == list(range(500))


def test_the_pool_grows_while_its_threads_wait(pool):
    # Sixteen must wait at a time, or none goes on.
    together = threading.Barrier(16, timeout=30)
    assert pool.each(lambda _: together.wait() >= 0, range(64)) == [True] * 64


def test_the_first_failure_is_raised_and_nothing_more_is_started(pool):
    begun = []

    def work(number):
        begun.append(number)
        if number >= 100:
            raise ValueError(number)

    with pytest.raises(ValueError, match=r"^100$"):
        pool.each(work, range(100_000))
    assert len(begun) < 1000


def test_a_stream_starts_nothing_after_a_failure_behind_the_head(pool):
    begun, failed = [], threading.Event()

    def work(number):
        begun.append(number)
        if number == 1:
            failed.set()
            raise ValueError(number)
        if number == 0:
            assert failed.wait(30)
            # Long enough for many more to be begun.
            time.sleep(0.3)
        return number

    found = pool.stream(work, range(1000), 64)
    assert next(found) == 0
    with pytest.raises(ValueError, match=r"^1$"):
        next(found)
    assert len(begun) < 16


def test_a_stream_keeps_the_order_and_the_results_before_a_failure(pool):
    def work(number):
        if number == 90:
            raise ValueError(number)
        return number

    found, results = [], pool.stream(work, range(100_000), 64)
    found.extend(next(results) for _ in range(90))
    assert found == list(range(90))
    with pytest.raises(ValueError, match=r"^90$"):
        next(results)


def test_closing_does_not_wait_for_a_call_that_hangs():
    release, begun = threading.Event(), threading.Semaphore(0)
    pool = ThreadPool(2)

    def hang(_):
        begun.release()
        return release.wait(30)

    thread = threading.Thread(target=pool.each, args=(hang, range(2)))
    thread.start()
    assert all(begun.acquire(timeout=30) for _ in range(2))
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 5
    release.set()
    thread.join(30)
    assert not thread.is_alive()
