"""Plans that are too large: refused when they are made, and before they take memory when read."""

from __future__ import annotations

import tracemalloc

import pytest

from bidsplan.errors import PlanError
from bidsplan.plan import Entry, Plan
from plans import plan_of


def test_more_subjects_than_a_plan_may_name_are_refused_before_they_take_memory():
    line = next(plan_of([], "study").lines()).replace(b'"subjects":[]', b'"subjects":[%s"a"]')
    line %= b'"a",' * 4_000_000
    tracemalloc.start()
    try:
        with pytest.raises(PlanError, match="names more subjects or roots than a plan may have"):
            Plan.parse([line])
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("subjects", [["a"] * 1_000_001, ["x" * 16_000] * 1100])
def test_a_plan_that_could_not_be_read_is_not_made(subjects):
    with pytest.raises(PlanError, match=r"would name 1,.* subjects in .* bytes; the most are"):
        Plan.build([], manifest_sha256="0" * 64, study="x", roots=[], subjects=subjects)


@pytest.mark.parametrize("field", ["etag", "version"])
@pytest.mark.parametrize("text", ["a\r\nX: y", "a\n", "\x7f", "\0", ""])
def test_no_tag_or_version_can_write_into_a_request(field, text):
    entry = Entry(path="a", key="a", size=1, reason="selected", **{field: text})
    lines = list(plan_of([entry], "s3://bucket").lines())
    with pytest.raises(PlanError, match=field):
        Plan.parse(lines).entries  # noqa: B018 - entries are read when they are asked for


@pytest.mark.parametrize("text", ['a"b', '"', 'W/"x"', "\u00e9"])
def test_an_entity_tag_is_one_and_is_strong(text):
    lines = list(
        plan_of([Entry(path="a", key="a", size=1, reason="selected", etag=text)], "s3://b").lines()
    )
    with pytest.raises(PlanError, match="etag"):
        Plan.parse(lines).entries  # noqa: B018 - as above
