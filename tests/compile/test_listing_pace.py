"""Listing obeys what a storage allows: fewer requests where it refuses some, more where not."""

from __future__ import annotations

import time
from contextlib import closing
from threading import Lock

import pytest

from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister
from bidsplan.compile.survey.thread_pool import ThreadPool
from bidsplan.errors import ThrottledError
from bidsplan.storage import Access, open_store
from bidsplan.storage.retry import current_limit, retrying
from pages import PagedServer

SUBJECTS = 120
FILES = {
    f"sub-{number:03}/anat/sub-{number:03}_run-{run}_T1w.nii.gz": b"x"
    for number in range(SUBJECTS)
    for run in range(6)
}


class Throttled(PagedServer):
    """Answers so many requests a second, after a first few, and refuses all others.

    Attributes
    ----------
    refused : list of bool
        Whether each request was, in their order.
    """

    def __init__(self, files, allowed, **options):
        super().__init__(files, **options)
        self.allowed, self.refused = allowed, []
        self._spare, self._filled = allowed / 5, time.monotonic()
        self._turn = Lock()

    def _found(self, handler, key, query):
        with self._turn:
            now = time.monotonic()
            self._spare += (now - self._filled) * self.allowed
            self._spare, self._filled = min(self._spare, self.allowed / 5), now
            self.refused.append(self._spare < 1)
            self._spare -= not self.refused[-1]
            if self.refused[-1]:
                return 503, {}, b"<Error><Code>SlowDown</Code></Error>"
        return super()._found(handler, key, query)


def test_a_storage_that_refuses_is_asked_less_and_all_is_listed():
    with Throttled(FILES, allowed=150, page=20) as server:
        began = time.monotonic()
        with (
            open_store("s3://b", access=Access(endpoint_url=server.url)) as store,
            closing(Lister(256, None)) as lister,
        ):
            dataset = Dataset(store=store, root=0)
            [root] = lister.list_roots([dataset])
            wanted = [(dataset, name) for name in root.directories]
            listed = [path for files in lister.stream_directories(wanted) for path in files]
            limited = lister.limit.pace.limited
        seconds = time.monotonic() - began
    assert sorted(listed) == sorted(FILES)
    assert limited
    # Of requests that are each tried again by themselves, a fifth is refused to the end.
    later = server.refused[len(server.refused) // 2 :]
    assert later.count(True) < 0.15 * len(later)
    assert server.refused.count(False) / seconds > 0.4 * server.allowed


def request(error=None):
    if error is not None:
        raise error


@pytest.fixture
def pool():
    with closing(ThreadPool(64)) as made:
        yield made


def test_the_limit_falls_with_refusals_and_rises_with_answers(pool):
    pool.limit.limit = 64
    refusals = iter([ThrottledError("slow down")])
    pool.each(lambda _: retrying()(lambda: request(next(refusals, None))), range(1))
    lowered = pool.limit.limit
    assert lowered == 32
    pool.each(lambda _: retrying()(request), range(500))
    assert lowered < pool.limit.limit <= 64


def test_only_the_pools_own_threads_obey_its_limit(pool):
    assert current_limit() is None
    assert pool.each(lambda _: current_limit(), range(3)) == [pool.limit] * 3
    assert current_limit() is None


def test_few_items_are_begun_before_their_turn(pool):
    begun = []
    results = pool.stream(lambda item: begun.append(item) or item, range(1000), 8)
    for number in range(50):
        assert next(results) == number
        assert len(begun) <= number + 1 + 8
    results.close()
    assert len(begun) < 70


def test_nothing_is_begun_after_a_failure(pool):
    begun = []

    def work(item):
        begun.append(item)
        return 1 // (item - 20)

    with pytest.raises(ZeroDivisionError):
        list(pool.stream(work, range(10_000), 16))
    assert len(begun) < 60
