from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.compile.select.sampling import allocate, rank_order, share, shuffle_order
from bidsplan.compile.select.subjects import draw
from bidsplan.manifest import Sample

labels = st.lists(st.text("0123456789ab", min_size=1, max_size=4), unique=True, min_size=1)
seeds = st.integers(0, 2**32 - 1)


@given(labels, seeds, st.data())
def test_a_subject_that_joins_changes_a_rank_sample_by_at_most_one(units, seed, data):
    count = data.draw(st.integers(1, len(units)))
    newcomer = data.draw(st.text("xyz", min_size=1))
    before = set(rank_order(units, seed)[:count])
    after = set(rank_order([*units, newcomer], seed)[:count])
    assert len(before - after) <= 1


@given(labels, seeds)
def test_rank_order_ignores_the_order_of_its_input(units, seed):
    assert rank_order(units, seed) == rank_order(sorted(units, reverse=True), seed)


@given(labels, seeds)
def test_shuffle_is_what_numpy_shuffles_of_the_sorted_prefixed_labels(units, seed):
    expected = sorted(f"sub-{unit}" for unit in units)
    np.random.RandomState(seed).shuffle(expected)
    assert [f"sub-{unit}" for unit in shuffle_order(units, seed)] == expected


@pytest.mark.parametrize(
    ("fraction", "of", "expected"), [("0.5", 5, 3), ("0.5", 4, 2), ("0.1", 4, 0), ("1", 7, 7)]
)
def test_fractions_round_half_up(fraction, of, expected):
    assert share(Decimal(fraction), of) == expected


@given(
    st.dictionaries(st.text("abc", min_size=1), st.lists(st.integers(), min_size=1), min_size=1),
    st.data(),
)
def test_allocation_is_whole_fair_and_possible(strata, data):
    total = sum(len(units) for units in strata.values())
    count = data.draw(st.integers(0, total))
    shares = allocate(count, strata)
    assert sum(shares.values()) == count
    for name, units in strata.items():
        assert shares[name] <= len(units)
        assert abs(shares[name] - count * len(units) / total) < 1


def test_largest_remainders_go_first_and_ties_by_name():
    assert allocate(3, {"b": "xx", "a": "xx", "c": "x"}) == {"a": 1, "b": 1, "c": 1}
    assert allocate(1, {"b": "x", "a": "x"}) == {"a": 1, "b": 0}


def test_a_stratified_draw_takes_from_each_stratum():
    sample = Sample.model_validate({"count": 4, "stratify_by": ["sex"]})
    sex = {"1": "F", "2": "F", "3": "M", "4": "M", "5": "M", "6": "M"}
    drawn, groups = draw(list(sex), sample, 7, lambda unit, _: sex[unit])
    assert groups == [(("F",), 1, 2), (("M",), 3, 4)]
    assert sorted(sex[unit] for unit in drawn) == ["F", "M", "M", "M"]


@given(
    st.dictionaries(st.text("0123456789", min_size=1), st.tuples(*[st.sampled_from("ab")] * 3)),
    st.integers(1, 3),
    seeds,
    st.sampled_from([{}, {"stratify_by": ["2"]}]),
    st.sampled_from(["rank", "shuffle"]),
)
def test_each_group_has_exactly_count_and_does_not_depend_on_others(
    rows, count, seed, strata, method
):
    sample = Sample.model_validate({"count": count, "per": ["0", "1"], "method": method, **strata})

    def value_of(unit, column):
        return rows[unit][int(column)]

    drawn, groups = draw(list(rows), sample, seed, value_of)
    for values in {row[:2] for row in rows.values()}:
        members = [unit for unit in rows if rows[unit][:2] == values]
        mine = [unit for unit in drawn if unit in members]
        counted = [group for group in groups if group.values[:2] == values]
        assert sum(group.of for group in counted) == len(members)
        if len(members) < count:
            assert counted == [(values, count, len(members))]
            assert not mine
        else:
            assert len(mine) == count == sum(group.drawn for group in counted)
            assert draw(members, sample, seed, value_of) == (mine, counted)


def test_a_draw_of_no_units_has_too_few():
    assert draw([], Sample(count=2), 1, dict.__getitem__) == ([], [((), 2, 0)])
