"""A strict YAML reader for untrusted files.

All scalars remain text. Anchors, aliases, tags, merge keys, duplicate keys and deep nesting are
refused, because they can hide what a document means, or make it slow to read. The reader uses the
parser's events, so that refused data is never built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from bidsplan.errors import Place, Problem
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


LARGEST = 1 << 20
"""The most bytes of a document."""

_DEEPEST = 50
_MOST_NODES = 100_000

_NULLS = frozenset({"~", "null", "Null", "NULL"})
"""YAML's words for a missing value."""

_HINTS = {
    "cannot start any token": "put text that begins with @, `, %, > or | in quotes",
    "line break": "put text that begins with > or | in quotes",
    "chomping": "put text that begins with > or | in quotes",
    "alphabetic or numeric": 'put a glob that begins with * in quotes: "*"',
    "mapping values are not": "put text that contains ': ' in quotes, and align the fields",
    "expected ',' or": "close each bracket and quote, and put text that contains {, }, [, ] or ',' "
    "in quotes",
    "unexpected end of stream": "close each quote",
}
"""Hints for errors of the parser, by words in the error."""

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(kw_only=True, slots=True)
class Document:
    """A YAML document: its data, its line numbers, and its problems."""

    data: Any = None
    """The data as dictionaries, lists and text; None if the document can't be read."""
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    whole: bool = False
    """Whether the document was read to its end."""

    def add_problem(
        self, message: str, line: int | None, at: Place = (), hint: str | None = None
    ) -> None:
        """Add a problem of the document's form."""
        problem = Problem(message=message, at=at, line=line, hint=hint, help_code=HelpCode.YAML)
        self.problems.append(problem)


class _Stop(Exception):  # noqa: N818 - not an error
    """Ends the reading after a problem was added."""


def read_yaml(data: bytes) -> Document:
    """Read a YAML document; problems are returned and never raised."""
    document = Document()
    if len(data) > LARGEST:
        document.add_problem(f"the file has {len(data):,} bytes, more than {LARGEST:,}", None)
        return document
    try:
        text = data.decode("utf-8-sig")
        _Builder(document, text).build()
        document.whole = True
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        document.add_problem("the file is not UTF-8 text", line)
    except yaml.YAMLError as error:
        document.add_problem(*_syntax(error, data))
    except _Stop:
        pass
    return document


def _syntax(error: yaml.YAMLError, data: bytes) -> tuple[str, int | None, Place, str | None]:
    if isinstance(error, yaml.reader.ReaderError):
        line = data[: error.position].count(b"\n") + 1
        return f"the character U+{error.character:04X} is not allowed", line, (), None
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "can't be parsed"
    if mark is None:
        return f"not valid YAML: {printable(str(reason))}", None, (), None
    text = data.splitlines()[mark.line : mark.line + 1]
    if text and re.match(rb"[ -]*\t", text[0]):
        return (
            "not valid YAML: a tab indents this line",
            mark.line + 1,
            (),
            "indent with spaces only",
        )
    lines = data.splitlines()[: mark.line + 1]
    if conflict := next((n for n, each in enumerate(lines, 1) if each.startswith(b"<<<<<<< ")), 0):
        message = "git could not merge two versions of the manifest"
        return message, conflict, (), "keep one version, and remove git's markers"
    if opened := _open_quote(lines):
        message = "not valid YAML: a quote is not closed"
        return message, opened, (), "close each quote that this line opens"
    if found := _misaligned(reason, mark.column, lines):
        message, lines_up, mended = found
        return f"not valid YAML: {message}", len(lines) - lines_up, (), mended
    hint = next((hint for words, hint in _HINTS.items() if words in reason), None)
    return f"not valid YAML: {printable(str(reason))}", mark.line + 1, (), hint


_QUOTED = re.compile(
    rb"""(?P<comment>(?:\A|(?<=\s))\#.*)|(?:\A|(?<=[\s\[{,:-]))(?P<quote>["'])""", re.VERBOSE
)
_QUOTE_END = {b'"': re.compile(rb'(?:[^"\\]|\\.)*+"'), b"'": re.compile(rb"(?:[^']|'')*+'(?!')")}


def _open_quote(lines: list[bytes]) -> int | None:
    """Return the line of a quote that ends only by the last line's first quote, or not at all."""
    opened = quote = None
    for number, line in enumerate(lines, 1):
        place = 0
        while True:
            if quote:
                if not (end := _QUOTE_END[quote].match(line, place)):
                    break
                if number == len(lines) != opened:
                    return opened
                place, quote = end.end(), None
            found = _QUOTED.search(line, place)
            if not found or found["comment"]:
                break
            opened, quote, place = number, found["quote"], found.end()
    return opened if quote else None


_UNSPACED = re.compile(rb" *(?:- +)?([A-Za-z_]{1,30}):[^\s/]")
"""A field without a space after its colon, which YAML reads as text."""

_UNSPACED_BRACKET = re.compile(rb"(?:^|[\s{\[,])([A-Za-z_]{1,30}):[{\[]")
_BROKEN_BY_BRACKETS = ("expected key", "expected ':'", "unexpected ':'")
"""The parser's errors about a field without a space between its colon and a bracket."""


_OUT_OF_BLOCK = ("expected key", "expected '-'", "expected <block end>")
"""The parsers' errors about a line whose indentation fits no line above."""


def _misaligned(reason: str, column: int, lines: list[bytes]) -> tuple[str, int, str] | None:
    """Explain a parser error about an earlier line, with a hint."""
    line = lines[-1] if lines else b""
    above = [
        (number, each)
        for number, each in enumerate(reversed(lines[:-1]), 1)
        if each.strip() and not each.lstrip().startswith(b"#")
    ]
    if any(words in reason for words in _BROKEN_BY_BRACKETS):
        for number, each in [(0, line), *above[:1]]:
            if found := _UNSPACED_BRACKET.search(each):
                return "a space is missing after ':'", number, f"write '{found[1].decode()}: …'"
    if "mapping values are not" in reason:
        number, before = above[0] if above else (0, line)
        if found := _UNSPACED.match(before):
            return "a space is missing after ':'", number, f"write '{found[1].decode()}: …'"
    elif column == _indent(line) and any(words in reason for words in _OUT_OF_BLOCK):
        outer = (indent for _, each in above if (indent := _indent(each)) <= column)
        if next(outer, None) != column:
            return "this line's indentation fits no line above", 0, "align the fields or items"
    return None


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" "))


class _Builder:
    """Builds data from parser events, without recursion."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text_lines = text.splitlines()
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._nodes = 0
        # Open collections, their places and, for a mapping, the key that waits for its value.
        self._stack: list[tuple[dict[str, Any] | list[Any], Place, list[str]]] = []

    def build(self) -> None:
        documents = 0
        for event in self._events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop("there is a second document; expected one", line)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._stack.pop()
            elif isinstance(event, yaml.NodeEvent):
                self._node(event, line)

    def _stop(self, message: str, line: int, at: Place = (), hint: str | None = None) -> NoReturn:
        self._document.add_problem(message, line, at, hint)
        raise _Stop

    def _check_items(self, event: Any) -> None:
        """Refuse list items that YAML reads as part of the text above."""
        first, last = event.start_mark.line + 1, event.end_mark.line + 1
        for number, line in enumerate(self._text_lines[first:last], first + 1):
            if line.lstrip(" ").startswith("- "):
                if self._stack and isinstance(self._stack[-1][0], list):
                    message = "this list item is indented deeper than the one above"
                    self._stop(message, number, self._place(), "align the items")
                hint = "write each item on a line of its own, below the field"
                self._stop("a list item follows a value", number, self._place(), hint)

    def _node(self, event: Any, line: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            self._stop(f"there are more than {_MOST_NODES:,} values", line)
        if isinstance(event, yaml.AliasEvent):
            hint = "write the value out; a glob that begins with * must be in quotes"
            self._refuse("an alias", line, f"*{event.anchor}", hint)
            self._put(f"*{event.anchor}" if self._expects_key() else "", line)
            return
        key = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if event.anchor is not None:
            self._refuse("an anchor", line, key)
        if event.tag is not None:
            self._refuse("a tag", line, key)
        if isinstance(event, yaml.ScalarEvent):
            if not event.style:
                self._check_items(event)
            # In a list, such a word may be a label. As a field's value, it means that there is no
            # value.
            expects_value = bool(self._stack) and bool(self._stack[-1][2])
            null = event.implicit[0] and event.value in _NULLS and expects_value
            self._put("" if null else event.value, line)
        else:
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], line)

    def _refuse(self, what: str, line: int, key: str, hint: str = "write the value out") -> None:
        place = (*self._place(), key) if self._expects_key() else self._place()
        self._document.add_problem(f"{what} is not allowed here", line, place, hint)

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], dict) and not self._stack[-1][2]

    def _place(self) -> Place:
        """Return the place of the next value."""
        if not self._stack:
            return ()
        collection, place, key = self._stack[-1]
        return (*place, len(collection)) if isinstance(collection, list) else (*place, *key)

    def _open(self, collection: dict[str, Any] | list[Any], line: int) -> None:
        place = self._place()
        if len(self._stack) >= _DEEPEST:
            self._stop(f"it is nested more than {_DEEPEST} levels deep", line)
        if self._expects_key():
            self._stop("a key must be text", line, place)
        self._put(collection, line)
        self._stack.append((collection, place, []))

    def _put(self, value: Any, line: int) -> None:
        if not self._stack:
            self._document.data = value
            self._document.lines[()] = line
            return
        collection, place, key = self._stack[-1]
        if isinstance(collection, list):
            self._document.lines[(*place, len(collection))] = line
            collection.append(value)
        elif key:
            collection[key.pop()] = value
        else:
            self._check_key(value, collection, (*place, value), line)
            key.append(value)

    def _check_key(self, key: str, collection: dict[str, Any], at: Place, line: int) -> None:
        if key == "<<":
            hint = "write the values out"
            self._document.add_problem("a merge key is not allowed", line, at, hint)
        if key in collection:
            first = self._document.lines[at]
            self._document.add_problem(f"the key is there twice, first on line {first}", line, at)
        self._document.lines.setdefault(at, line)
