"""Things wait to be written together, and are asked for once."""

from __future__ import annotations

from bidsplan.destination import batch
from bidsplan.destination.batch import Batch


def test_many_are_due_once_until_they_are_taken(monkeypatch):
    monkeypatch.setattr(batch, "_MANY", 3)
    waiting = Batch()
    assert [waiting.add(number) for number in range(5)] == [False, False, True, False, False]
    assert waiting.take() == [0, 1, 2, 3, 4]
    assert [waiting.add(number) for number in range(3)] == [False, False, True]


def test_few_are_due_after_a_while(monkeypatch):
    waiting = Batch()
    assert not waiting.add(1)
    monkeypatch.setattr(batch, "_LONGEST_WAIT", 0.0)
    assert waiting.add(2)
    assert not waiting.add(3)
    assert waiting.take() == [1, 2, 3]
    assert waiting.take() == []
