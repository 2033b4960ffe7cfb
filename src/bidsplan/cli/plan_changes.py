"""How a plan differs from an earlier one, for people and for ``--json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.cli.console import counted, size
from bidsplan.paths import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.plan import Entry, Header, Plan


_MOST_NAMED = 20
"""The most files that the text names."""

_LONGEST_SHOWN = 24
"""Characters of the longest value that the text shows."""

_DERIVED = frozenset({"subjects", "files", "bytes", "entries_sha256"})
"""Fields of the header that follow from the entries, or are reported by themselves."""

Fields = dict[str, dict[str, Any]]
"""The old and the new value of each field that differs."""


@dataclass(kw_only=True, slots=True)
class PlanChanges:
    """What changed between two plans; the fields are those of the JSON."""

    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    subjects_added: list[str] = field(default_factory=list)
    subjects_removed: list[str] = field(default_factory=list)
    header: Fields = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return any([*self._files(), self.subjects_added, self.subjects_removed, self.header])

    def _files(self) -> tuple[list[dict[str, Any]], ...]:
        return self.added, self.removed, self.changed

    def lines(self) -> list[str]:
        """Describe the changes: a summary, then the first files, by path."""
        marked = [
            (row["path"], f"{mark} {row['path']}{_shown(row.get('fields', {}))}")
            for mark, rows in zip("+-~", self._files(), strict=True)
            for row in rows
        ]
        named = [line for _, line in sorted(marked)]
        more = len(named) - _MOST_NAMED
        rest = [f"… and {more:,} more"] if more > 0 else []
        return ["; ".join(self._summary(bool(named))), *named[:_MOST_NAMED], *rest]

    def _summary(self, files_differ: bool) -> Iterator[str]:
        counts = zip(self._files(), ("added", "removed", "changed"), strict=True)
        yield from (f"{counted(len(rows), 'file')} {word}" for rows, word in counts if rows)
        subjects = {"added": self.subjects_added, "removed": self.subjects_removed}
        for word, labels in subjects.items():
            if labels:
                yield f"{counted(len(labels), 'subject')} {word}"
        if self.bytes["before"] != self.bytes["after"]:
            yield f"{size(self.bytes['before'])} before, {size(self.bytes['after'])} now"
        if self.header:
            only = "" if files_differ else "only "
            yield f"{only}the header differs{_shown(self.header)}"


def _shown(fields: Fields) -> str:
    """Name fields that differ, with short values."""
    texts = []
    for name, both in fields.items():
        values = [str(both["old"]), str(both["new"])]
        short = max(map(len, values)) <= _LONGEST_SHOWN
        texts.append(f"{name} {' -> '.join(values)}" if short else name)
    return f" ({', '.join(texts)})" if texts else ""


def compare_plans(old: Plan, new: Plan) -> PlanChanges:
    """Find what differs between two plans."""
    before = {entry.path: entry for entry in old.entries}
    after = {entry.path: entry for entry in new.entries}
    pairs = ((path, before[path], after[path]) for path in before if path in after)
    return PlanChanges(
        added=_rows(entry for path, entry in after.items() if path not in before),
        removed=_rows(entry for path, entry in before.items() if path not in after),
        changed=[
            {"path": path, "fields": _differing(one, other)}
            for path, one, other in pairs
            if one != other
        ],
        subjects_added=_without(new.header.subjects, old.header.subjects),
        subjects_removed=_without(old.header.subjects, new.header.subjects),
        header=_differing(old.header, new.header),
        files={"before": old.header.files, "after": new.header.files},
        bytes={"before": old.header.bytes, "after": new.header.bytes},
    )


def _rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    return [{"path": entry.path, "size": entry.size} for entry in entries]


def _without(units: Iterable[str], others: Iterable[str]) -> list[str]:
    return sorted(set(units) - set(others), key=natural_key)


def _differing(old: Entry | Header, new: Entry | Header) -> Fields:
    before, after = (
        {name: msgspec.to_builtins(getattr(part, name)) for name in part.__struct_fields__}
        for part in (old, new)
    )
    return {
        name: {"old": value, "new": after[name]}
        for name, value in before.items()
        if value != after[name] and name not in _DERIVED
    }
