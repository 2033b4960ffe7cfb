"""Groups files into items: single files, or whole directory recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.names import Name, parse_name, recording_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class Item(NamedTuple):
    """A file, or a directory recording with the paths of its files."""

    name: Name
    paths: tuple[str, ...]

    @property
    def hidden(self) -> bool:
        """Whether a part of the path starts with a dot."""
        return "/." in self.name.path or self.name.path.startswith(".")

    @property
    def is_table(self) -> bool:
        """Whether this is a ``*_scans.tsv`` or ``*_sessions.tsv``."""
        return self.name.suffix in {"scans", "sessions"} and self.name.extension == ".tsv"


def items_of(paths: Iterable[str]) -> list[Item]:
    """Group paths in a dataset into items, sorted by name."""
    recordings: dict[str, list[str]] = {}
    items: list[Item] = []
    for path in paths:
        recording = recording_of(path)
        if recording is None:
            items.append(Item(parse_name(path), (path,)))
        else:
            recordings.setdefault(recording, []).append(path)
    for recording, inside in recordings.items():
        items.append(Item(parse_name(recording, recording=True), tuple(sorted(inside))))
    return sorted(items, key=lambda item: item.name.path)
