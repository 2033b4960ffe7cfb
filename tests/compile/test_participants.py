from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.compile.select.predicates import Condition, Values, row_matches
from bidsplan.compile.survey.participants import parse_table
from bidsplan.manifest import Predicate

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
    assert [table.cell("01", name) for name in ("age", "sex")] == ["3", "n/a"]


def test_several_rows_are_kept_and_the_first_is_the_stratum():
    data = b"participant_id\tsession\nsub-01\ta\nsub-01\tb\n"
    table, _ = parse_table(data, "participants.tsv")
    assert [row["session"] for row in table.rows["01"]] == ["a", "b"]
    assert table.cell("01", "session") == "a"


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
        ({"min": 8}, "old", None),
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


def measured(tmp_path, data, name="participants.tsv"):
    """Parse a table in a process of its own; return its result, seconds, and its peak in MB."""
    (tmp_path / name).write_bytes(data)
    script = (
        "import json, sys, time, pathlib\n"
        "from bidsplan.compile.survey.participants import parse_table\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "start = time.process_time()\n"
        "table, problems = parse_table(data, sys.argv[1].rpartition('/')[2], columns=['age'])\n"
        # getrusage includes the process that this one was forked from.
        "status = pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1]\n"
        "peak = int(status.split()[0]) // 1024\n"
        "said = [str(problem) for problem in problems] or len(table.rows)\n"
        "print(json.dumps([said, time.process_time() - start, peak]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_half_a_million_participants_take_little_memory(tmp_path):
    rows = "\n".join([f"{number}\t9.{number}\tcontrol" for number in range(500_000)])
    data = f"participant_id\tage\tgroup\n{rows}".encode()
    said, seconds, peak = measured(tmp_path, data)
    assert said == 500_000
    assert seconds < 20
    assert peak < 200


HOSTILE = {
    "rows": (
        "participants.tsv",
        b"participant_id\n" + b"1234567\n" * 5_000_000,
        "participants.tsv has more than 600,000 rows; keep only the rows",
    ),
    "one line": (
        "participants.tsv",
        b"participant_id" + b"\tx" * 10_000_000,
        "participants.tsv has a row of more than 1,048,576 characters",
    ),
    "a row without end": (
        "participants.csv",
        b"participant_id,x\n1" + b',"\n"' * 5_000_000,
        "participants.csv has a row of more than 1,048,576 characters",
    ),
    "a quote without end": (
        "participants.csv",
        b'participant_id\n"' + b"x\n" * 5_000_000,
        "participants.csv is not valid CSV: field larger than field limit (131072)",
    ),
    "NUL": (
        "participants.tsv",
        b"\0" * 30_000_000,
        "participants.tsv is not text: it has NUL bytes; save it as UTF-8",
    ),
    "columns": (
        "participants.tsv",
        b"\n".join([b"participant_ids" + b"\tx" * 500_000] * 15),
        "participants.tsv has no column 'participant_id'; did you mean 'participant_ids'?",
    ),
}


@pytest.mark.parametrize(("name", "data", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_tables_made_to_fill_memory_are_refused(tmp_path, name, data, expected):
    [said], seconds, peak = measured(tmp_path, data, name)
    assert said.startswith(expected)
    assert len(said) < 200
    assert seconds < 20
    assert peak < 200


@pytest.mark.parametrize(
    ("encoding", "name", "legacy"),
    [
        ("utf-16", "participants.tsv", False),
        ("utf-16-le", "participants.tsv", False),
        ("utf-16-be", "participants.csv", False),
        ("utf-32", "participants.tsv", False),
        ("utf-8-sig", "participants.csv", False),
        ("latin-1", "participants.tsv", True),
    ],
)
def test_tables_are_read_in_the_encodings_of_spreadsheets(encoding, name, legacy):
    text = "participant_id\tgroup\r\nsub-01\tcontrôle\r\nsub-02\tpatient\r\n"
    data = (text.replace("\t", ",") if name.endswith(".csv") else text).encode(encoding)
    table, problems = parse_table(data, name)
    assert not problems
    assert list(table.rows) == ["01", "02"]
    assert table.rows["01"][0]["group"] == "contrôle"
    assert table.legacy is legacy


def test_only_the_columns_that_are_asked_for_are_kept():
    data = b"participant_id\tsex\tage\tsex\nsub-01\tF\t3\tM\nsub-01\tF\n"
    table, _ = parse_table(data, "participants.tsv", columns=["sex", "weight"])
    # Of two columns of one name the last one counts.
    assert table.rows["01"] == ({"sex": "M"}, {"sex": ""})
    assert list(table.values("sex")) == ["M", ""]
    assert table.columns == ("participant_id", "sex", "age", "sex")


def test_values_are_reduced_to_those_in_a_column():
    asked = Values(["8", "x", "n/a", "9.0"])
    found = asked.of(["8.0", "", "y"])
    assert [value in found for value in ("8", "x", "n/a", "9.0")] == [True, False, True, False]
    assert "01" in Values(["sub-01", "1"], ids=True).of(["01"])


def test_a_column_of_ids_in_another_case_is_suggested():
    _, [problem] = parse_table(b"id,arm\n01,A\n", "cohort.csv", id_column="ID")
    assert str(problem) == "cohort.csv has no column 'ID'; did you mean 'id'?"
    _, [problem] = parse_table(b"token,arm\n01,A\n", "cohort.csv", id_column="ID")
    assert problem.hint == "check that it is a table of participants"
