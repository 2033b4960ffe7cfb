"""How a plan differs from an earlier one, as Markdown for a comment on a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bidsplan.cli.console import counted, size
from bidsplan.cli.plan_changes import Wording, signed_size
from bidsplan.messages import clipped
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bidsplan.review.changes import PlanChanges, SubjectChanges


LONGEST_COMMENT = 65_536
"""Most characters of a comment on GitHub; here of its bytes, which are never fewer."""

_LONGEST_VALUE = 300
"""Most bytes of a path or label that are shown."""

_RESERVED = 1000
"""Bytes for the frames of the lists, and for the last line, which says what was left out."""

_BACKTICKS = re.compile("`+")

_WORDS = {"+": "added", "-": "removed", "~": "changed"}


def changes_markdown(changes: PlanChanges, redact: Callable[[str], str]) -> str:
    """Describe changes, within the length of a comment, and say what was left out.

    Labels, paths and values are untrusted: each is a code span, in which no markup, link or
    mention works. `redact` is applied to each of them, and not to the whole, where it could take
    the end of a span for a part of a secret.
    """
    words = Wording(changes, lambda text: code(redact(text)))
    head = "\n".join(_head(changes, words))
    rows = changes.by_subject()
    left = LONGEST_COMMENT - _RESERVED - len(head.encode())
    subjects = (
        _subject_line(code(redact(unit)) if unit else "no subject", row)
        for unit, row in rows.items()
    )
    some = _fitting(subjects, left // 3)
    left -= sum(map(_length, some))
    number = len(changes.added) + len(changes.removed) + len(changes.changed)
    files = _fitting((f"- {_WORDS[mark]} {text}" for mark, text in words.files()), left)
    parts = [head, _details("By subject", some, len(rows)), _details("By file", files, number)]
    missing = [
        f"{total - shown:,} of {counted(total, noun)}"
        for noun, shown, total in (
            ("subject", len(some), len(rows)),
            ("file", len(files), number),
        )
        if shown < total
    ]
    if missing:
        left_out = " and ".join(missing)
        parts.append(f"Left out to fit a comment: {left_out}; `bidsplan diff --all` has them.\n")
    return "\n".join(filter(None, parts))


def code(text: str) -> str:
    """Write untrusted text as a code span, which ends where the text does."""
    text = printable(clipped(text, _LONGEST_VALUE))
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    # One space is removed again from each side.
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
    """Return the first lines that fit a number of bytes."""
    found = []
    for line in lines:
        room -= _length(line)
        if room < 0:
            break
        found.append(line)
    return found


def _length(line: str) -> int:
    return len(line.encode()) + 1


def _details(title: str, lines: list[str], total: int) -> str:
    if not lines:
        return ""
    shown = f"{len(lines):,} of {total:,}" if len(lines) < total else f"{total:,}"
    rows = "\n".join(lines)
    return f"<details><summary>{title} ({shown})</summary>\n\n{rows}\n\n</details>\n"
