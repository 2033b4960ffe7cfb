"""Reads the troubleshooting entries, and writes them as plain text."""

from __future__ import annotations

import re
import textwrap
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan import errors
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from collections.abc import Iterator


_INSTALLED = Path(__file__).parents[1] / "troubleshooting"
_IN_CHECKOUT = Path(__file__).parents[3] / "docs" / "troubleshooting" / "errors"
"""A wheel contains the pages; an editable installation reads them from the source tree."""

_COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
"""What a page says to its tests."""

_HEADING = re.compile(r"^## (BP\d{3}) ([a-z-]+)\n", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_ITEM = re.compile(r"(?:[-*]|\d+\.) ")


class HelpEntry(NamedTuple):
    """The troubleshooting entry about a kind of error.

    Parameters
    ----------
    code : HelpCode
    topic : str
        The entry's name, such as ``source-changed``.
    title : str
        The problem, in one sentence.
    text : str
        The whole entry as Markdown, without its heading.
    """

    code: HelpCode
    topic: str
    title: str
    text: str


@cache
def help_entries() -> dict[HelpCode, HelpEntry]:
    """Read all entries, by code."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _IN_CHECKOUT
    pages = [page.read_text(encoding="utf-8") for page in sorted(folder.glob("*.md"))]
    found = {entry.code: entry for page in pages for entry in _entries_of(page)}
    return dict(sorted(found.items()))


def _entries_of(page: str) -> Iterator[HelpEntry]:
    _, *parts = _HEADING.split(_COMMENT.sub("", page))
    for code, topic, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        title = " ".join(text.strip().partition("\n\n")[0].split())
        yield HelpEntry(HelpCode(code), topic, title, text.strip())


def find_entries(name: str) -> list[HelpEntry]:
    """Return the entries for a code, a topic or a failure's name."""
    word = name.casefold().replace("_", "-")
    number = re.fullmatch(r"\[?(?:bp)?-?(\d{1,3})\]?", word)
    codes = {f"BP{number[1]:>03}"} if number else _codes_of_kind(word)
    return [
        entry
        for entry in help_entries().values()
        if entry.code in codes or (not number and entry.topic == word)
    ]


def _codes_of_kind(kind: str) -> set[HelpCode]:
    """Return the help codes of errors with a name such as ``denied``."""
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return {
        each.help_code
        for each in classes
        if issubclass(each, errors.BidsplanError) and each.code == kind
    }


def known_names() -> list[str]:
    """List the codes and topics of all entries."""
    return [name for entry in help_entries().values() for name in (str(entry.code), entry.topic)]


def plain_text(markdown: str, width: int) -> str:
    """Write an entry as plain text with filled paragraphs, for a terminal."""
    blocks: list[str] = []
    for number, part in enumerate(re.split(r"^ *```\w*\n", markdown, flags=re.MULTILINE)):
        if number % 2:
            blocks.append(textwrap.indent(textwrap.dedent(part).rstrip("\n"), "    "))
        else:
            blocks += [_filled(each, width) for each in re.split(r"\n\s*\n", part) if each.strip()]
    return "\n\n".join(blocks)


def _filled(paragraph: str, width: int) -> str:
    """Fill a paragraph, or each item of a list."""
    text = _LINK.sub(_named, paragraph.strip("\n")).replace("`", "'")
    lines: list[str] = []
    for line in text.split("\n"):
        starts = not lines or _ITEM.match(line.lstrip())
        lines = [*lines, line.strip()] if starts else [*lines[:-1], f"{lines[-1]} {line.strip()}"]
    fill = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(fill(line, subsequent_indent=_indent(line)) for line in lines)


def _indent(line: str) -> str:
    """Indent the later lines of a list item like its first."""
    found = _ITEM.match(line)
    return " " * len(found[0]) if found else ""


def _named(link: re.Match[str]) -> str:
    """Replace a link by the name of its page."""
    text, target = link.groups()
    if "://" in target:
        return f"{text} ({target})"
    page = target.partition("#")[0]
    return f"{text} (docs/{page.replace('../', '')})" if page.startswith("../") else text
