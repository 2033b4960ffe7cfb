"""Writes the changes between two plans as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bidsplan.messages import counted, listed, size
from bidsplan.paths import printable
from bidsplan.review.changes import FileChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bidsplan.plan import Entry
    from bidsplan.review.changes import Fields, PlanChanges, SubjectChanges


MOST_NAMED = 20
"""The most files, and the most subjects, that the text names."""

_LONGEST_SHOWN = 24
"""Characters of the longest value that is shown."""

_MINUS = "\N{MINUS SIGN}"

_LISTS = ("subjects_added", "subjects_removed", "pipelines_added", "pipelines_removed")


def changed_lines(
    changes: PlanChanges,
    most: int | None = MOST_NAMED,
    *,
    by_subject: bool = True,
    command: str = "bidsplan diff --all",
) -> list[str]:
    """Describe changes: a headline, the header, subjects if wanted, and files.

    At most `most` subjects and files are named; None names all of them, and so does `command`.
    """
    words = Wording(changes)
    found = [words.headline(), *words.names(most)]
    if by_subject:
        found += _table(changes.by_subject(), most)
    files = [f"{mark} {text}" for mark, text in words.files()]
    if files and by_subject:
        found.append("")
    found += files[:most]
    if most is not None and len(files) > most:
        more = counted(len(files) - most, "more file")
        found.append(f"… and {more}; '{command}' names them")
    return found


def _table(rows: dict[str, SubjectChanges], most: int | None) -> list[str]:
    from tabulate import tabulate  # on demand

    cells = [
        [
            printable(unit) or "(no subject)",
            *(number or "" for number in (row.added, row.removed, row.content, row.other)),
            signed_size(row.bytes) if row.bytes else "",
        ]
        for unit, row in [*rows.items()][:most]
    ]
    titles = ["subject", "added", "removed", "new content", "other change", "bytes"]
    align = ("left", *["right"] * (len(titles) - 1))
    text = tabulate(cells, titles, "plain", disable_numparse=True, colalign=align)
    more = len(rows) - len(cells)
    rest = [f"… and {counted(more, 'more subject')}"] if more else []
    return ["", text, *rest] if cells else []


def signed_size(number: int) -> str:
    """Format bytes that were gained or lost."""
    return f"+{size(number)}" if number >= 0 else f"{_MINUS}{size(-number)}"


class Wording:
    """The words in which changes are described.

    Parameters
    ----------
    changes : PlanChanges
    show : callable
        Escapes labels, paths and values, which are untrusted.
    """

    def __init__(self, changes: PlanChanges, show: Callable[[str], str] = printable) -> None:
        self._changes = changes
        self._show = show

    def headline(self) -> str:
        """Summarise the changes in one line."""
        changes = self._changes
        words = {
            "subject": (changes.subjects_added, changes.subjects_removed),
            "file": (changes.added, changes.removed),
            "pipeline": (changes.pipelines_added, changes.pipelines_removed),
        }
        parts = [part for noun, both in words.items() for part in _plus_minus(noun, *both)]
        parts += self._changed()
        if gained := changes.new.bytes - changes.old.bytes:
            parts.append(signed_size(gained))
        other = "only the header differs" if changes else "the plans are equal"
        return ", ".join(parts) or other

    def _changed(self) -> Iterator[str]:
        changes = self._changes
        others = [change for change in changes.changed if not change.content]
        content = len(changes.changed) - len(others)
        if changes.renamed:
            yield f"{counted(len(changes.renamed), 'file')} renamed"
        if content:
            yield f"{counted(content, 'file')} changed content"
        if others:
            names = dict.fromkeys(name for change in others for name in change.fields)
            yield f"{counted(len(others), 'file')} changed only {listed(names)}"

    def names(self, most: int | None = MOST_NAMED) -> Iterator[str]:
        """Name added and removed subjects, pipelines and roots, and changed header fields."""
        for title in _LISTS:
            if found := getattr(self._changes, title):
                named = ", ".join(map(self._show, found[:most]))
                more = len(found) - len(found[:most])
                named += f" and {more:,} more" if more else ""
                yield f"{title.replace('_', ' ')}: {named}"
        roots = (self._changes.old.roots, self._changes.new.roots)
        before, after = ({root.url: None for root in some} for some in roots)
        for title, some in (("added", after.keys() - before), ("removed", before.keys() - after)):
            if some:
                yield f"roots {title}: {listed(map(self._show, sorted(some)))}"
        if self._changes.header:
            yield f"header: {self._header()}"

    def _header(self) -> str:
        """Name the header's fields that differ, except the manifest's digest."""
        fields = dict(self._changes.header)
        manifest = ["the manifest changed"] if fields.pop("manifest_sha256", None) else []
        return ", ".join([*manifest, self._fields(fields)] if fields else manifest)

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield a mark (+, - or ~) and a text for each changed file."""
        changes = self._changes
        was = {new: old for old, new in changes.renamed.items()}
        marked: list[tuple[str, str, Entry | FileChange]] = [
            *(("+", entry.path, entry) for entry in changes.added),
            *(("-", entry.path, entry) for entry in changes.removed),
            *(("~", change.path, change) for change in changes.changed),
        ]
        for mark, path, found in sorted(marked, key=lambda row: row[1]):
            if isinstance(found, FileChange):
                text = self._fields(found.fields)
            elif mark == "-":
                text = "renamed" if path in changes.renamed else size(found.size)
            else:
                text = self._added(found, was.get(path))
            yield mark, f"{self._show(path)} ({text})"

    def _added(self, entry: Entry, old: str | None) -> str:
        text = f"{size(entry.size)}, {entry.reason}"
        return text if old is None else f"{text}; renamed from {self._show(old)}"

    def _fields(self, fields: Fields) -> str:
        """Name the fields that differ, with their values if these are short."""
        return ", ".join(f"{name}{self._values(**both)}" for name, both in fields.items())

    def _values(self, old: Any, new: Any) -> str:
        before, after = ("none" if value is None else str(value) for value in (old, new))
        if max(len(before), len(after)) <= _LONGEST_SHOWN:
            return f" {self._show(before)} -> {self._show(after)}"
        return " added" if old is None else " removed" if new is None else " changed"


def _plus_minus(noun: str, added: Sequence[object], removed: Sequence[object]) -> Iterator[str]:
    if added:
        yield f"+{counted(len(added), noun)}"
    if removed:
        number = f"{len(removed):,}" if added else counted(len(removed), noun)
        yield f"{_MINUS}{number}"
