"""Finds the parts of a plan that need sidecars in higher directories."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.names import parse_name, recording_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.plan import Entry


_REMEMBERED = 65_536
"""How many names (without their subject) keep their sidecars after the first search."""

_DERIVATIVES = "derivatives/"


class _Sidecar(NamedTuple):
    """A sidecar's directory and entities.

    Its subject is the subject of its directory.
    """

    directory: str
    path: str
    entities: frozenset[tuple[str, str]]


class Sidecars:
    """Finds the parts that need a sidecar shared by several.

    A validator reports a sidecar that applies to no file as an error.

    Parameters
    ----------
    entries : iterable of Entry
        Entries that may be left out of a part. Only inherited sidecars are left out.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_suffix: dict[str, list[_Sidecar]] = {}
        self._parts: dict[str, set[str | None]] = {}
        self._similar = lru_cache(_REMEMBERED)(self._find_similar)
        for entry in entries:
            if entry.reason == "inherited":
                name = parse_name(entry.path)
                directory = f"{name.directory}/" if name.directory else ""
                entities = {pair for pair in name.entities.items() if pair[0] != "sub"}
                sidecar = _Sidecar(directory, entry.path, frozenset(entities))
                self._by_suffix.setdefault(name.suffix, []).append(sidecar)

    def add(self, part: str | None, entry: Entry) -> None:
        """Note that a part, or each part for None, has an entry."""
        if not self._by_suffix or entry.reason == "inherited":
            return
        path = recording_of(entry.path) or entry.path
        directory, _, base = path.rpartition("/")
        first, _, rest = base.partition("_")
        # The rest of a name is the same for many subjects.
        for sidecar in self._similar(rest if first.startswith("sub-") else base):
            above = sidecar.directory or not directory.startswith(_DERIVATIVES)
            if above and f"{directory}/".startswith(sidecar.directory):
                self._parts.setdefault(sidecar.path, set()).add(part)

    def is_for(self, part: str, entry: Entry) -> bool:
        """Report whether a part needs an entry; an unneeded one is for all."""
        parts = self._parts.get(entry.path)
        return parts is None or part in parts or None in parts

    def _find_similar(self, base: str) -> list[_Sidecar]:
        """List the sidecars that match a file's suffix and entities."""
        name = parse_name(base)
        if name.extension == ".json":
            return []
        entities = name.entities.items()
        return [
            sidecar
            for sidecar in self._by_suffix.get(name.suffix, ())
            if sidecar.entities <= entities
        ]
