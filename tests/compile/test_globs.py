from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.compile.select.globs import compile_glob

CASES = [
    ("**/*_profiles.csv", "a_profiles.csv", True),
    ("**/*_profiles.csv", "x/y/a_profiles.csv", True),
    ("**", "a/b", True),
    ("a/**", "a", False),
    ("a/**", "a/b/c", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "a/x/yb", False),
    ("**/a/**/b", "x/a/y/a/z/b", True),
    ("*", "a/b", False),
    ("*", ".a", False),
    ("**/*", "x/.a", False),
    ("**/x", ".hidden/x", False),
    ("**/.a*", "q/.abc", True),
    ("a[b]*", "a[b]c", True),
    ("a[b]", "ab", False),
    ("?b", "ab", True),
    ("?b", "/b", False),
    ("*a*a*b", "xaxaxab", True),
    ("sub-*/**/dwi/*", "sub-1/dwi/x", True),
    ("sub-1", "sub-10", False),
]


@pytest.mark.parametrize(("pattern", "path", "matches"), CASES)
def test_globs(pattern, path, matches):
    assert bool(compile_glob(pattern).fullmatch(path)) is matches


def test_excludes_match_dotfiles():
    assert compile_glob("**/*", dots=True).fullmatch("x/.a")


@given(st.text("ab*?", min_size=1, max_size=8), st.text("ab", max_size=8))
def test_within_a_segment_globs_are_what_fnmatch_says(pattern, name):
    if "**" in pattern and not pattern.strip("*"):
        pattern = "*"
    expected = fnmatch.fnmatchcase(name, pattern) and bool(name)
    found = compile_glob(pattern, dots=True).fullmatch(name)
    assert bool(found and name) == expected


def test_hostile_globs_end_soon():
    start = time.perf_counter()
    compile_glob("*a" * 60 + "b").fullmatch("a" * 255)
    compile_glob("**/a*/" * 30 + "b").fullmatch("ab/" * 300 + "c")
    assert time.perf_counter() - start < 2
