"""The YAML reader keeps text as text, knows every line, and builds nothing that could surprise."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.manifest import yaml_reader
from bidsplan.manifest.yaml_reader import read_yaml


@pytest.fixture(params=["C", "Python"])
def read(request, monkeypatch):
    """Read with either parser of PyYAML, since its C half is not built everywhere."""
    if request.param == "Python":
        monkeypatch.setattr(yaml_reader, "_LOADER", yaml.BaseLoader)
    elif not hasattr(yaml, "CBaseLoader"):
        pytest.skip("PyYAML was built without its C half")
    return lambda text: read_yaml(text if isinstance(text, bytes) else text.encode())


def problems(document):
    return [str(problem) for problem in document.problems]


def test_scalars_stay_text(read):
    text = "a: [01, 010, no, 1e3, 12:30, null, ~, 2001-01-01, .inf, 0x1F, '', 'null']\n"
    document = read(text)
    expected = ["01", "010", "no", "1e3", "12:30", "null", "~", "2001-01-01", ".inf", "0x1F"]
    assert document.data == {"a": [*expected, "", "null"]}
    assert problems(document) == []


def test_a_field_of_nothing_has_no_value(read):
    document = read("a:\nb: ~\nc: null\nd: 'null'\ne: {f: NULL}\n")
    assert document.data == {"a": "", "b": "", "c": "", "d": "null", "e": {"f": ""}}


def test_every_place_has_its_line(read):
    document = read("a: 1\nb:\n  - x\n  - c: 2\n    d: [y,\n      z]\n")
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "c"): 4,
        ("b", 1, "d"): 5,
        ("b", 1, "d", 0): 5,
        ("b", 1, "d", 1): 6,
    }


REFUSED = {
    "an anchor": ("a: &x 1\n", ["a: an anchor is not allowed here; write the value out"]),
    "an anchored key": ("&x a: 1\n", ["a: an anchor is not allowed here; write the value out"]),
    "an alias": (
        "a: &x 1\nb: {c: *x}\n",
        [
            "a: an anchor is not allowed here; write the value out",
            "b.c: an alias is not allowed here; write the value out; a glob that begins with * "
            "must be in quotes",
        ],
    ),
    "a tag": ("a: !!str 1\n", ["a: a tag is not allowed here; write the value out"]),
    "the bare tag": ("a: ! 1\n", ["a: a tag is not allowed here; write the value out"]),
    "a tagged list": ("- !x [1]\n", ["[0]: a tag is not allowed here; write the value out"]),
    "a merge key": (
        "a:\n  <<: {b: 1}\n",
        ["a.<<: a merge key is not allowed; write the values out"],
    ),
    "doubled keys": (
        "a: {b: 1, b: 2}\na: 3\n",
        [
            "a.b: the key is there twice, first on line 1",
            "a: the key is there twice, first on line 1",
        ],
    ),
    "a list as a key": ("? [a]\n: b\n", ["a key must be text"]),
    "a mapping as a key": ("{a: 1}: b\n", ["a key must be text"]),
    "two documents": ("a: 1\n---\nb: 2\n", ["there is a second document; expected one"]),
    "fifty-one levels": ("[" * 51 + "]" * 51, ["it is nested more than 50 levels deep"]),
    "too many values": ("[" + "1," * 100_000 + "]", ["there are more than 100,000 values"]),
    "a control character": ("a: 1\nb: \x07\n", ["the character U+0007 is not allowed"]),
    "UTF-16": ("a: é".encode("utf-16"), ["the file is not UTF-8 text"]),
    "too long": (b"#" * (2**20 + 1), ["the file has 1,048,577 bytes, more than 1,048,576"]),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_could_mean_more_than_it_shows_is_refused(read, text, expected):
    assert problems(read(text)) == expected


def test_fifty_levels_and_as_many_values_are_fine(read):
    assert problems(read("[" * 50 + "]" * 50)) == []
    assert problems(read("[" + "1," * 99_999 + "]")) == []


def test_all_that_is_wrong_with_the_form_is_told_at_once(read):
    document = read("a: &x 1\na: !!int 2\n<<: {}\nb: *x\n")
    assert [problem.line for problem in document.problems] == [1, 2, 2, 3, 4]
    assert document.whole


def test_a_character_that_is_not_allowed_is_told_with_its_line(read):
    (problem,) = read("a: é\n\nb: \x01\n").problems
    assert problem.line == 3


@pytest.mark.parametrize(
    "text", ["a: [", "a: 'b", "a: b: c", "\ta: 1", "a: @b", "{a: 1}}", "%YAML x\n"]
)
def test_what_is_not_yaml_is_told_with_its_line(read, text):
    document = read(text)
    (problem,) = document.problems
    assert problem.message.startswith("not valid YAML: ")
    assert problem.line in {1, 2}
    assert not document.whole


MISALIGNED = {
    "a field outdented": (
        "study:\n  id: x\n\n url: y\n",
        4,
        "not valid YAML: this line's indentation fits no line above; align the fields or items",
    ),
    "an item outdented": (
        "a:\n  - T1w\n # bold\n - bold\n",
        4,
        "not valid YAML: this line's indentation fits no line above; align the fields or items",
    ),
    "no space after a colon": (
        "a: 1\nstudy:\n  id:x\n\n  url: z\n",
        3,
        "not valid YAML: a space is missing after ':'; write 'id: …'",
    ),
    "two colons": (
        "a: b\nc: d: e\n",
        2,
        "not valid YAML: mapping values are not allowed",
    ),
    "a range": ("{a: >30}", 1, "begins with @, `, %, > or | in quotes"),
    "a range in a block": ("\na: >=30", 2, "begins with > or | in quotes"),
    "a deeper item": (
        "a:\n  - T1w\n   - bold\n   - dwi\n",
        3,
        "a[0]: this list item is indented deeper than the one above; align the items",
    ),
    "an item after a value": (
        "a: b\nc: T1w\n  - bold\n",
        3,
        "c: a list item follows a value; write each item on a line of its own, below the field",
    ),
}


@pytest.mark.parametrize(("text", "line", "expected"), MISALIGNED.values(), ids=MISALIGNED)
def test_wrong_indentation_and_spacing_are_told_as_such(read, text, line, expected):
    (problem,) = read(text).problems
    assert problem.line == line
    assert expected in str(problem)


@pytest.mark.parametrize(
    "text", ["a: |\n  x\n  - y\n", "a: 'x\n  - y'\n", "a: x\n  y - z\n", "- x\n# - y\n- z\n"]
)
def test_lines_of_text_are_no_list_items(read, text):
    assert problems(read(text)) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n"])
def test_an_empty_document_holds_nothing(read, text):
    document = read(text)
    assert document.problems == []
    assert not document.data


values = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), max_codepoint=0xFFFD)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_quoted_text_is_read_as_it_was_written(value):
    document = read_yaml(json.dumps(value).encode())
    assert problems(document) == []
    assert document.data == value


@given(st.text(alphabet=" \n:-{}[]?,&*!#'\"<a1|>~", max_size=80))
def test_both_parsers_read_alike_what_either_accepts(text):
    found = []
    for loader in (yaml.BaseLoader, getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml_reader, "_LOADER", loader)
            found.append(read_yaml(text.encode()))
    if not any(document.problems for document in found):
        assert found[0].data == found[1].data
