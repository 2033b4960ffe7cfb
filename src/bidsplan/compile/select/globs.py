"""Globs over paths: ``*`` stays within a directory, ``**`` does not.

Patterns are untrusted. Their regular expressions must not backtrack without bound, hence the atomic
groups: between two stars, the leftmost match is always good enough.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def is_glob(text: str) -> bool:
    """Report whether a text has a wildcard; brackets are literal."""
    return "*" in text or "?" in text


@lru_cache(maxsize=4096)
def compile_glob(pattern: str, *, dots: bool = False) -> re.Pattern[str]:
    """Compile a glob into a regular expression; use its ``fullmatch``.

    Wildcards match names that start with a dot only if `dots` is true.
    """
    guard = "" if dots else r"(?!\.)"
    groups: list[list[str]] = [[]]
    for segment in pattern.split("/"):
        if segment == "**":
            groups.append([])
        else:
            groups[-1].append(_compile_segment(segment, guard))
    head, *rest = ("/".join(group) for group in groups)
    if not rest:
        return re.compile(head)
    *middle, tail = rest
    skip = f"(?:{guard}[^/]+/)"
    text = f"{head}/" if head else ""
    text += "".join(f"(?>{skip}*?{group}/)" for group in middle if group)
    # A trailing ** matches everything below, and at least one segment.
    text += f"{skip}*?{tail or f'{guard}[^/]+'}"
    return re.compile(text)


def _compile_segment(segment: str, guard: str) -> str:
    first, *rest = (re.escape(part).replace(r"\?", "[^/]") for part in re.split(r"\*+", segment))
    text = (guard if segment[:1] in {"*", "?"} else "") + first
    if not rest:
        return text
    *middle, last = rest
    text += "".join(f"(?>[^/]*?{part})" for part in middle if part)
    return f"{text}[^/]*{last}"


class Globs:
    """Several globs, of which any may match; for `dots`, see `compile_glob`."""

    def __init__(self, patterns: Iterable[str], *, dots: bool = False) -> None:
        self._patterns = [compile_glob(pattern, dots=dots) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, path: str) -> bool:
        """Report whether any of the globs matches the whole path."""
        return any(pattern.fullmatch(path) for pattern in self._patterns)
