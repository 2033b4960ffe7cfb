"""Writes the changes between two plans as Markdown, for a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.cli.plan_changes import Wording, signed_size
from bidsplan.messages import clipped, counted, size
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bidsplan.review.changes import PlanChanges, SubjectChanges


LONGEST_COMMENT = 65_536
"""The most characters of a GitHub comment, applied to bytes, which are never fewer."""

_LONGEST_VALUE = 256
"""The most bytes of a path or label that are shown."""

_RESERVED = 1000
"""Bytes for the frames of the lists, and for the last line about what was left out."""

_BACKTICKS = re.compile("`+")

_WORDS = {"+": "added", "-": "removed", "~": "changed"}


def changes_markdown(changes: PlanChanges, redact: Callable[[str], str]) -> str:
    """Describe changes within a comment's maximum length, and count the rest.

    Labels, paths and values are untrusted. Each is written as a code span, in which no markup, link
    or mention works. `redact` is applied to each of them. It is not applied to the whole text,
    where it could read the end of a span as a part of a secret.
    """
    words = Wording(changes, lambda text: code(redact(text)))
    head = "\n".join(_head(changes, words))
    room = LONGEST_COMMENT - _RESERVED - len(head.encode())
    rows = changes.by_subject()
    lines = (
        _subject_line(code(redact(unit)) if unit else "no subject", rows[unit]) for unit in rows
    )
    subjects = _Section("subject", _fitting(lines, room // 3), len(rows))
    room -= sum(map(_length, subjects.lines))
    number = len(changes.added) + len(changes.removed) + len(changes.changed)
    lines = (f"- {_WORDS[mark]} {text}" for mark, text in words.files())
    files = _Section("file", _fitting(lines, room), number)
    left_out = [section.left_out() for section in (subjects, files) if section.left_out()]
    end = f"Left out to fit a comment: {' and '.join(left_out)}; `bidsplan diff --all` has them.\n"
    return "\n".join([head, *subjects.text(), *files.text(), *([end] if left_out else [])])


class _Section(NamedTuple):
    """A list that can be unfolded, with as many lines as fit."""

    noun: str
    lines: list[str]
    total: int

    def left_out(self) -> str:
        """Say how many lines are left out, if any are."""
        more = self.total - len(self.lines)
        return f"{more:,} of {counted(self.total, self.noun)}" if more else ""

    def text(self) -> Iterator[str]:
        """Yield the section, if it has any lines."""
        if self.lines:
            more = f" of {self.total:,}" if self.left_out() else ""
            yield f"<details><summary>By {self.noun} ({len(self.lines):,}{more})</summary>\n"
            yield from (*self.lines, "\n</details>\n")


def code(text: str) -> str:
    """Write untrusted text as a Markdown code span that it can't leave."""
    text = printable(clipped(text, _LONGEST_VALUE))
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    # Markdown removes one space from each side.
    pad = " " if not text or text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text or '(empty)'}{pad}{fence}"


def _head(changes: PlanChanges, words: Wording) -> Iterator[str]:
    old, new = changes.old, changes.new
    yield f"**{words.headline()}**\n"
    names = [f"- {line}" for line in words.names()]
    if names:
        yield "\n".join(names) + "\n"
    yield "| | before | after |\n|---|--:|--:|"
    yield f"| subjects | {len(old.subjects):,} | {len(new.subjects):,} |"
    yield f"| files | {old.files:,} | {new.files:,} |"
    yield f"| bytes | {size(old.bytes)} | {size(new.bytes)} |\n"


def _subject_line(unit: str, row: SubjectChanges) -> str:
    numbers = {
        "added": row.added,
        "removed": row.removed,
        "with new content": row.content,
        "changed otherwise": row.other,
    }
    parts = [f"{number:,} {word}" for word, number in numbers.items() if number]
    if row.bytes:
        parts.append(signed_size(row.bytes))
    return f"- {unit}: {', '.join(parts)}"


def _fitting(lines: Iterable[str], room: int) -> list[str]:
    """Return as many of the first lines as fit a number of bytes."""
    found = []
    for line in lines:
        room -= _length(line)
        if room < 0:
            break
        found.append(line)
    return found


def _length(line: str) -> int:
    return len(line.encode()) + 1
