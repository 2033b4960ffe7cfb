"""Finds the files that sidecars and tables name in their contents.

The rules are in the BIDS specification 1.11.1: "Using IntendedFor metadata", "B0FieldIdentifier and
B0FieldSource", "AssociatedEmptyRoom", "BIDS URIs". Deprecated and wrong forms that are common in
real datasets are read too.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


def texts(value: object) -> list[str]:
    """Return the non-empty texts of a field with one text or a list."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]


def merged(sidecars: Iterable[object]) -> dict[str, Any]:
    """Merge sidecars; those from deeper levels come later and win."""
    fields: dict[str, Any] = {}
    for sidecar in sidecars:
        if isinstance(sidecar, dict):
            fields.update(sidecar)
    return fields


def uri_path(text: str, name: Name) -> list[str]:
    """List the paths that a reference may mean, the most likely first.

    The reference is a BIDS URI, or a path relative to the root or to the subject. `name` is the
    file that contains it.
    """
    if text.startswith("bids::"):
        return [text.removeprefix("bids::").lstrip("/")]
    if text.startswith("bids:"):
        return []  # another dataset's
    path = text.lstrip("/").removeprefix("./")
    below_root = path.startswith("sub-") and "/" in path
    return [path] if below_root or not name.subject else [f"sub-{name.subject}/{path}", path]


class Targets:
    """An index of files, to find those that references name."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = {item.name.path: item for item in items}

    @cached_property
    def _bare(self) -> dict[tuple[str | None, str], list[Item]]:
        """Items by subject and file name, indexed only if they are needed."""
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
    """List the ``stimuli/`` paths in the ``stim_file`` column of an events table."""
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
