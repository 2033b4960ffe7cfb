"""What the contents of sidecars and tables name: field maps, empty rooms, stimuli.

BIDS specification 1.11.1: "Using IntendedFor metadata", "B0FieldIdentifier and B0FieldSource",
"AssociatedEmptyRoom", "BIDS URIs". Deprecated and sloppy forms are read as real datasets have them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


def texts(value: object) -> list[str]:
    """Return the non-empty texts of a field that may hold one, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]


def merged(sidecars: Iterable[object]) -> dict[str, Any]:
    """Merge sidecars, of which the later ones come from deeper levels."""
    fields: dict[str, Any] = {}
    for sidecar in sidecars:
        if isinstance(sidecar, dict):
            fields.update(sidecar)
    return fields


def uri_path(text: str, name: Name) -> list[str]:
    """List the paths below the dataset's root that a reference may mean, most likely first.

    It is a BIDS URI, or a path relative to the root or to the subject; `name` is the file with it.
    """
    if text.startswith("bids::"):
        return [text.removeprefix("bids::").lstrip("/")]
    if text.startswith("bids:"):
        return []  # another dataset's
    path = text.lstrip("/").removeprefix("./")
    below_root = path.startswith("sub-") and "/" in path
    return [path] if below_root or not name.subject else [f"sub-{name.subject}/{path}", path]


class Targets:
    """An index of files, to look up which of them references name."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = {item.name.path: item for item in items}

    @cached_property
    def _bare(self) -> dict[tuple[str | None, str], list[Item]]:
        """Items by subject and file name, which few datasets refer to."""
        found: dict[tuple[str | None, str], list[Item]] = {}
        for path, item in self._items.items():
            found.setdefault((item.name.subject, path.rpartition("/")[2]), []).append(item)
        return found

    def named_by(self, fields: Mapping[str, Any], holder: Name) -> list[Item]:
        """List the files that a field map's ``IntendedFor`` names."""
        found: list[Item] = []
        for text in dict.fromkeys(texts(fields.get("IntendedFor"))):
            paths = uri_path(text, holder)
            named = [self._items[path] for path in paths if path in self._items]
            if not named and "/" not in text:
                named = self._bare.get((holder.subject, text), [])
            found += named
        return found


def stimulus_files(table: str) -> Iterator[str]:
    """List the paths below ``stimuli/`` that the ``stim_file`` column of an events table names."""
    header, *lines = table.removeprefix("\ufeff").splitlines() or [""]
    columns = [cell.strip() for cell in header.split("\t")]
    if "stim_file" not in columns:
        return
    column = columns.index("stim_file")
    for line in lines:
        cells = line.split("\t")
        value = cells[column].strip() if column < len(cells) else ""
        if value and value != "n/a":
            yield value.lstrip("/")
