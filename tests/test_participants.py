from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.manifest import Predicate
from bidsplan.participants import parse_table
from bidsplan.selection.predicates import Condition, row_matches

QUIRKS = {
    "byte order mark": b"\xef\xbb\xbfparticipant_id\tsex\nsub-01\tF\n",
    "carriage returns": b"participant_id\tsex\r\nsub-01\tF\r\n",
    "old mac": b"participant_id\tsex\rsub-01\tF\r",
    "no final newline": b"participant_id\tsex\nsub-01\tF",
    "padded header and cells": b"participant_id \t sex\n sub-01 \tF \n",
    "bare labels": b"participant_id\tsex\n01\tF\n",
    "subject_id": b"subject_id\tsex\nsub-01\tF\n",
    "ragged, long": b"participant_id\tsex\nsub-01\tF\textra\n",
    "blank lines": b"participant_id\tsex\n\nsub-01\tF\n\t\n",
    "another column first": b"sex\tparticipant_id\nF\tsub-01\n",
}


@pytest.mark.parametrize("data", QUIRKS.values(), ids=QUIRKS)
def test_real_tables_are_read(data):
    table, problems = parse_table(data, "participants.tsv")
    assert not problems
    assert list(table.rows) == ["01"]
    assert table.rows["01"][0]["sex"] == "F"


def test_short_rows_are_missing_values():
    table, _ = parse_table(b"participant_id\tage\tsex\nsub-01\t3\n", "participants.tsv")
    assert table.rows["01"][0]["sex"] == ""
    assert table.stratum("01", ["age", "sex"]) == "3/n/a"


def test_several_rows_are_kept_and_the_first_is_the_stratum():
    data = b"participant_id\tsession\nsub-01\ta\nsub-01\tb\n"
    table, _ = parse_table(data, "participants.tsv")
    assert [row["session"] for row in table.rows["01"]] == ["a", "b"]
    assert table.stratum("01", ["session"]) == "a"


def test_csv_has_quotes_and_its_own_id_column():
    data = b'ID,site\n01,"A, B"\n'
    table, _ = parse_table(data, "cohort.csv", id_column="ID")
    assert table.rows["01"][0]["site"] == "A, B"


def test_a_table_without_ids_says_what_it_has():
    table, problems = parse_table(b"participants_id\tsex\n", "participants.tsv")
    assert table is None
    assert [str(problem) for problem in problems] == [
        "participants.tsv has no column 'participant_id'; did you mean 'participants_id'?"
    ]


@given(st.binary(max_size=200), st.sampled_from(["t.tsv", "t.csv"]))
def test_no_bytes_make_it_crash(data, name):
    table, problems = parse_table(data, name)
    assert (table is None) == bool(problems)


@pytest.mark.parametrize(
    ("asked", "value", "expected"),
    [
        ("F", "F", True),
        ("F", "f", False),
        ("8", "8.0", True),
        (["a", "b"], "b", True),
        ({"min": 8, "max": 12}, "12", True),
        ({"min": 8, "max": 12}, "12.01", False),
        ({"min": 8}, "old", False),
        ({"min": 8}, "n/a", False),
        ({"not": "n/a"}, "n/a", False),
        ({"not": "n/a"}, "", False),
        ({"not": "n/a"}, "x", True),
        ({"not": ["x", "y"]}, "z", True),
        ({"not": ["x", "y"]}, "n/a", False),
        ("n/a", "", True),
        ("n/a", "N/A", True),
        ("n/a", "x", False),
        ("1000", "1_000", False),
        ("1000", "1e3", True),
    ],
)
def test_predicates(asked, value, expected):
    assert Condition(Predicate.model_validate(asked)).holds(value) is expected


def test_ids_compare_as_text_with_or_without_their_prefix():
    one = {"participant_id": Condition(Predicate.model_validate("1"), ids=True)}
    assert not row_matches({"participant_id": "01"}, one)
    assert row_matches({"participant_id": "sub-1"}, one)
    assert row_matches({"age": "01"}, {"age": Condition(Predicate.model_validate("1"))})
