"""How many requests are in flight follows the storage, the distance, and this machine."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace

import pytest

from bidsplan.storage.pace import Pace
from bidsplan.transfer.concurrency import ConcurrencyLimit
from bidsplan.transfer.rate import RateLimit

MOST = 256


class Clock:
    """A loop's thread that computes some part of each second, and waits for the rest."""

    def __init__(self, busy):
        self.time = 0.0
        self.busy = busy

    def pace(self, most=MOST):
        return ConcurrencyLimit(most, now=lambda: self.time, computed=lambda: self.time * self.busy)

    def rounds(self, pace, number):
        """Let all that may be in flight come, time after time."""
        for _ in range(number):
            self.time += 0.03
            for _ in range(pace.limit):
                pace.succeeded()


def test_where_answers_are_waited_for_more_are_asked_for_up_to_the_most():
    clock = Clock(busy=0.2)
    pace = clock.pace()
    first = pace.limit
    clock.rounds(pace, 1)
    assert first < pace.limit < MOST
    clock.rounds(pace, 20)
    assert pace.limit == MOST


def test_where_this_machine_is_the_bottleneck_no_more_are_asked_for():
    clock = Clock(busy=0.9)
    pace = clock.pace()
    first = pace.limit
    clock.rounds(pace, 50)
    assert pace.limit == first


@pytest.mark.parametrize("most", [1, 5])
def test_there_are_never_more_than_was_allowed(most):
    clock = Clock(busy=0)
    pace = clock.pace(most)
    clock.rounds(pace, 20)
    assert pace.limit == most


def test_a_refusal_halves_and_what_follows_adds_one_by_one():
    clock = Clock(busy=0)
    pace = clock.pace()
    before = pace.limit
    pace.refused()
    # What was in flight together is refused together, and counts once.
    pace.refused()
    assert pace.limit == before // 2
    clock.rounds(pace, 3)
    assert pace.limit == before // 2 + 3
    clock.time += 1
    for _ in range(20):
        pace.refused()
        clock.time += 1
    assert pace.limit == 1


def test_no_request_starts_before_the_storage_wants_it():
    clock = Clock(busy=0)
    pace = clock.pace()
    assert pace.delay() == 0
    pace.refused(2.0)
    assert pace.delay() == pytest.approx(2)
    clock.time += 1.5
    assert pace.delay() == pytest.approx(0.5)
    clock.time += 1
    assert pace.delay() == 0


class Link:
    """A way that gives each connection so much, and all of them together no more than so much."""

    def __init__(self, each, whole, most=64):
        self.time = 0.0
        self.each, self.whole = each, whole
        self.limit = ConcurrencyLimit(most, now=lambda: self.time)
        self.open = 0

    def run(self, seconds):
        """Let all that may be open bring bytes, as one large object's ranges do."""
        streams = self.limit.streams
        for _ in range(int(seconds * 100)):
            while streams.take(extra=self.open > 0):
                self.open += 1
            while streams.excess():
                streams.release()
                self.open -= 1
            self.time += 0.01
            streams.moved(int(min(self.whole, self.open * self.each) * 0.01))
        return streams.allowed


def test_more_connections_are_kept_only_while_they_bring_more():
    assert Link(40e6, 125e6).run(60) == 8
    assert 14 <= Link(90e6, 1250e6).run(60) <= 20
    assert Link(1e6, 1250e6).run(60) == 32


def test_refusals_close_connections_of_large_objects_too():
    link = Link(40e6, 4000e6)
    assert link.run(60) > 8
    for _ in range(8):
        link.time += 1
        link.limit.refused()
    assert link.limit.streams.allowed == 1
    assert link.limit.streams.take(extra=False)


def test_a_rate_holds_over_all_connections():
    clock = Clock(busy=0)
    limit = ConcurrencyLimit(8, 50_000_000, now=lambda: clock.time)
    last = 0.0
    for _ in range(500):
        last = max(last, clock.time + limit.rate.delay(1_000_000))
    assert last == pytest.approx(10)
    # What nobody used for long is not made up for later.
    clock.time = 100.0
    assert limit.rate.delay(1_000_000) == pytest.approx(0.02)
    assert ConcurrencyLimit(8).rate.delay(10**12) == 0


@pytest.mark.parametrize("connections", [1, 8])
def test_time_in_which_bytes_are_written_and_sent_is_made_up_for(connections):
    clock = Clock(busy=0)
    limit = RateLimit(5_000_000, now=lambda: clock.time)
    turns = [(0.0, number) for number in range(connections)]
    came = 0
    while turns[0][0] < 10:
        clock.time, number = turns[0]
        came += 1 << 18
        # Each thirty-second chunk completes a part, which is sent before more is read.
        sent = 0.4 if came % (8 << 20) == 0 else 0.01
        heapreplace(turns, (clock.time + limit.delay(1 << 18) + sent, number))
    assert came / 10 == pytest.approx(5_000_000, rel=0.05)


class Throttling:
    """A storage that refuses more requests than `allowed` a second; a client that asks for all."""

    def __init__(self, allowed, round_trip, *, burst=0.2, most=256):
        self.time = 0.0
        self.allowed, self.round_trip, self.burst, self.most = allowed, round_trip, burst, most
        self.pace = Pace(now=lambda: self.time)
        self.tokens, self.filled = allowed * burst, 0.0
        self.under_way = []
        self.turn = None
        self.known = None

    def _is_answered(self):
        spare = self.tokens + (self.time - self.filled) * self.allowed
        self.tokens, self.filled = min(self.allowed * self.burst, spare), self.time
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def _start(self):
        if self.turn is None:
            self.turn = self.time + self.pace.delay()
        if self.turn > self.time or len(self.under_way) >= self.most:
            return False
        heappush(self.under_way, (self.time + self.round_trip, self._is_answered()))
        self.turn = None
        return True

    def run(self, seconds):
        """Return how many requests were answered, and refused, in each second."""
        counts = []
        for _ in range(seconds):
            count = {True: 0, False: 0}
            for _ in range(1000):
                self.time += 0.001
                while self.under_way and self.under_way[0][0] <= self.time:
                    _, answered = heappop(self.under_way)
                    count[answered] += 1
                    if answered:
                        self.pace.answered()
                    else:
                        self.known = self.pace.refused()
                while self._start():
                    pass
            counts.append((count[True], count[False]))
        return counts


@pytest.mark.parametrize("round_trip", [0.001, 0.03, 0.1])
@pytest.mark.parametrize(("allowed", "burst"), [(50, 0.2), (500, 1.0), (2000, 0.02)])
def test_a_throttled_client_stays_just_below_what_is_allowed(allowed, burst, round_trip):
    steady = Throttling(allowed, round_trip, burst=burst).run(20)[5:]
    assert min(answered for answered, _ in steady) >= 0.85 * allowed
    assert sum(answered for answered, _ in steady) >= 0.95 * allowed * len(steady)
    assert sum(refused for _, refused in steady) <= 0.05 * allowed * len(steady)


def test_where_more_is_allowed_later_more_is_asked_for():
    storage = Throttling(500, 0.03)
    storage.run(10)
    storage.allowed = 1500
    assert storage.run(30)[-1][0] > 1350


def test_where_less_is_allowed_later_less_is_asked_for_within_two_seconds():
    storage = Throttling(1500, 0.03)
    storage.run(10)
    storage.allowed = 300
    storage.run(2)
    assert sum(refused for _, refused in storage.run(10)) < 0.1 * 300 * 10


def test_a_storage_that_refuses_everything_is_asked_less_and_less():
    storage = Throttling(1500, 0.03)
    storage.run(5)
    assert storage.known
    storage.allowed = storage.tokens = 0
    first = storage.run(10)[0]
    assert not storage.known
    assert storage.run(1)[0][1] < first[1] / 20


def test_before_the_first_refusal_nothing_waits_for_a_turn():
    pace = Pace(now=lambda: 0.0)
    assert not pace.limited
    assert [pace.delay() for _ in range(1000)] == [0.0] * 1000


def test_a_refusal_after_idle_time_stalls_nothing():
    clock = Clock(busy=0)
    pace = Pace(now=lambda: clock.time)
    for _ in range(13):
        pace.answered()
    clock.time += 3600
    assert not pace.refused()
    assert pace.delay() < 1
