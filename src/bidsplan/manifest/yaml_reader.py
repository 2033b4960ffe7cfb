"""A strict YAML reader for files that strangers may have written.

All scalars stay text. Whatever could make a document mean more than it shows, or take longer to
read than its size, is refused: anchors, aliases, tags, merge keys, duplicate keys, deep nesting.
Reading works on the parser's events, so nothing is built that a later check would have to undo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from bidsplan.errors import Place, Problem
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


LARGEST = 1 << 20
"""Bytes that a document may have."""

DEEPEST = 50
"""Levels that a document may have."""

MOST_NODES = 100_000
"""Nodes that a document may have."""

_NULLS = frozenset({"~", "null", "Null", "NULL"})
"""What YAML reads as nothing."""

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(kw_only=True, slots=True)
class Document:
    """What a YAML document says, and where.

    Parameters
    ----------
    data : dict, list, str or None
        Mappings, lists and text; None where it can't be read at all.
    lines : dict of tuple to int
        The line, counted from 1, of each place.
    problems : list of Problem
        What is wrong with its form.
    whole : bool
        Whether it was read to its end.
    """

    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    whole: bool = False

    def blame(
        self, message: str, line: int | None, at: Place = (), hint: str | None = None
    ) -> None:
        """Note what is wrong at a line."""
        self.problems.append(Problem(message=message, at=at, line=line, hint=hint))


class _Stop(Exception):  # noqa: N818 - ends the reading, and says nothing itself
    """There is no sense in reading on."""


def read_yaml(data: bytes) -> Document:
    """Read a YAML document.

    Returns
    -------
    Document
        With all that is wrong with its form among its problems; never raises for bad input.
    """
    document = Document()
    if len(data) > LARGEST:
        document.blame(f"the file has {len(data):,} bytes, more than {LARGEST:,}", None)
        return document
    try:
        text = data.decode("utf-8-sig")
        _Builder(document, yaml.parse(text, Loader=_LOADER)).build()
        document.whole = True
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        document.blame("the file is not UTF-8 text", line)
    except yaml.YAMLError as error:
        document.blame(*_syntax(error, data))
    except _Stop:
        pass
    return document


def _syntax(error: yaml.YAMLError, data: bytes) -> tuple[str, int | None]:
    if isinstance(error, yaml.reader.ReaderError):
        line = data[: error.position].count(b"\n") + 1
        return f"the character U+{error.character:04X} is not allowed", line
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "can't be parsed"
    return f"not valid YAML: {printable(str(said))}", mark.line + 1 if mark else None


class _Builder:
    """Builds plain data of events, with a stack of its own instead of recursion."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self._document = document
        self._events = events
        self._nodes = 0
        # Each open collection, its place, and for a mapping the key that waits for its value.
        self._stack: list[tuple[dict[str, Any] | list[Any], Place, list[str]]] = []

    def build(self) -> None:
        documents = 0
        for event in self._events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._document.blame("there is a second document; expected one", line)
                    raise _Stop
            elif isinstance(event, yaml.CollectionEndEvent):
                self._stack.pop()
            elif isinstance(event, yaml.NodeEvent):
                self._node(event, line)

    def _node(self, event: Any, line: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            self._document.blame(f"there are more than {MOST_NODES:,} values", line)
            raise _Stop
        if isinstance(event, yaml.AliasEvent):
            self._refuse("an alias", line, key=f"*{event.anchor}")
            self._put(f"*{event.anchor}" if self._expects_key() else "", line)
            return
        key = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if event.anchor is not None:
            self._refuse("an anchor", line, key)
        if event.tag is not None:
            self._refuse("a tag", line, key)
        if isinstance(event, yaml.ScalarEvent):
            # In a list such a word may well be a label; after a field's name it stands for nothing.
            nothing = event.implicit[0] and event.value in _NULLS and self._expects_value()
            self._put("" if nothing else event.value, line)
        else:
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], line)

    def _refuse(self, what: str, line: int, key: str) -> None:
        place = (*self._place(), key) if self._expects_key() else self._place()
        self._document.blame(f"{what} is not allowed here", line, place, "write the value out")

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], dict) and not self._stack[-1][2]

    def _expects_value(self) -> bool:
        return bool(self._stack) and bool(self._stack[-1][2])

    def _place(self) -> Place:
        """Give the place of the value that comes next."""
        if not self._stack:
            return ()
        collection, place, key = self._stack[-1]
        if isinstance(collection, list):
            return (*place, len(collection))
        return (*place, *key)

    def _open(self, collection: dict[str, Any] | list[Any], line: int) -> None:
        if len(self._stack) >= DEEPEST:
            self._document.blame(f"it is nested more than {DEEPEST} levels deep", line)
            raise _Stop
        place = self._place()
        if self._expects_key():
            self._document.blame("a key must be text", line, place)
            raise _Stop
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
        elif not key:
            self._key(value, collection, place, line)
            key.append(value)
        else:
            collection[key.pop()] = value

    def _key(self, key: str, collection: dict[str, Any], place: Place, line: int) -> None:
        at = (*place, key)
        if key == "<<":
            self._document.blame("a merge key is not allowed", line, at, "write the values out")
        if key in collection:
            first = self._document.lines[at]
            self._document.blame(f"the key is there twice, first on line {first}", line, at)
        self._document.lines.setdefault(at, line)
