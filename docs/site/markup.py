"""Small pieces of Markdown that the generated pages are made of."""

from __future__ import annotations

import html
import inspect
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def code(text: object) -> str:
    """Return text as code, whatever it holds."""
    shown = str(text)
    marks = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{marks}{shown}{marks}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; line feeds in cells are removed, and bars escaped but for those in code."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    parts = re.split("(`.*?`)", " ".join(text.split()))
    return "".join(part if part[:1] == "`" else part.replace("|", "\\|") for part in parts)


def with_bars(line: str) -> str:
    """Return a row of a table whose code has bars without the backslash that GitHub needs."""
    return re.sub("`.*?`", lambda found: found[0].replace("\\|", "|"), line)


def plain(text: str) -> str:
    """Return text in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]])", r"\\\1", html.escape(text, quote=False))


def fence(text: str, language: str = "text") -> str:
    """Return a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def summary(thing: object) -> str:
    """Return the first paragraph of a docstring, as Markdown."""
    text = (inspect.getdoc(thing) or "").partition("\n\n")[0]
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))
