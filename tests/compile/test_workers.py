"""Many things at a time: each once, in order, few threads where there is nothing to wait for."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from bidsplan.compile.survey.thread_pool import ThreadPool


@pytest.fixture
def workers():
    with closing(ThreadPool(64)) as made:
        yield made


def test_each_is_done_once_and_results_keep_the_order(workers):
    done = []

    def work(number):
        done.append(number)
        return number * number

    assert workers.each(work, range(500)) == [number * number for number in range(500)]
    assert sorted(done) == list(range(500))


def test_where_answers_are_waited_for_there_are_soon_many_threads(workers):
    # Sixteen must wait at a time, or none goes on.
    together = threading.Barrier(16, timeout=30)
    assert workers.each(lambda _: together.wait() >= 0, range(64)) == [True] * 64


def test_the_first_failure_is_raised_and_nothing_more_is_begun(workers):
    begun = []

    def work(number):
        begun.append(number)
        if number >= 100:
            raise ValueError(number)

    with pytest.raises(ValueError, match=r"^100$"):
        workers.each(work, range(100_000))
    assert len(begun) < 1000


def test_closing_does_not_wait_for_what_hangs():
    release, begun = threading.Event(), threading.Semaphore(0)
    workers = ThreadPool(2)

    def hang(_):
        begun.release()
        return release.wait(30)

    thread = threading.Thread(target=workers.each, args=(hang, range(2)))
    thread.start()
    assert all(begun.acquire(timeout=30) for _ in range(2))
    start = time.monotonic()
    workers.close()
    assert time.monotonic() - start < 5
    release.set()
    thread.join(30)
    assert not thread.is_alive()
