"""Companions that only the contents of files name: field maps, empty rooms and stimuli.

What is read is small, bounded, and read in parallel. A file that can't be read as what it should be
is a warning with its key: real datasets hold such files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.bids.associations import NIFTI
from bidsplan.bids.references import Targets, merged, stimulus_files, texts, uri_path
from bidsplan.errors import Problem
from bidsplan.paths import printable, unsafe_key
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bidsplan.bids.recordings import Item
    from bidsplan.compile.select.choice import FileSelection
    from bidsplan.storage import Object, Store

    Warn = Callable[[Problem], None]


LARGEST_SIDECAR = 1 << 20
"""Bytes of a JSON sidecar that are read at the most."""

_LARGEST_EVENTS = 16 << 20
"""Bytes of an events table that are read at the most."""


def read_small(store: Store, found: Object, limit: int) -> bytes:
    """Read a small object whole, trying again where that may help.

    Raises StorageError where it has more bytes than the limit, or has changed since it was listed.
    """
    return retrying()(store.read, found.key, limit=limit, etag=found.etag, size=found.size)


def parse_json(data: bytes, where: str, warn: Warn) -> object:
    """Parse the content of a JSON file; warn and return None where it is not valid."""
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        warn(Problem(message=f"{where} is not valid JSON: {error}"))
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Companions:
    """Adds files that the contents of one dataset's files name, reading each sidecar once.

    Parameters
    ----------
    files : mapping of str to Object
        By path below the dataset's root; may grow.
    each : callable
        Calls a function for many paths at once.
    list_directory : callable
        Lists the paths in a directory below the dataset's root.
    unread : set of str
        Takes what was to be read, and has no content here.
    """

    choice: FileSelection
    store: Store
    files: Mapping[str, Object]
    each: Callable[[Callable[[str], Any], Iterable[str]], list[Any]]
    list_directory: Callable[[str], Iterable[str]]
    warn: Warn
    unread: set[str]
    _sidecars: dict[str, object] = field(default_factory=dict)

    def add_fieldmaps(self) -> None:
        """Add the field maps that are meant for what is selected.

        A field map comes where its ``IntendedFor`` names a selected file, or where its
        ``B0FieldIdentifier`` is the ``B0FieldSource`` of one.
        """
        maps = [
            item
            for item in self.choice.others
            if item.name.datatype in {"fmap", "perf"} and item.name.extension in NIFTI
        ]
        if not maps:
            return
        fields = self._fields(maps)
        targets = Targets(item.name for item in self.choice.taken)
        sources: set[str] = set()
        if any("B0FieldIdentifier" in some for some in fields.values()):
            images = [item for item in self.choice.taken if item.name.extension in NIFTI]
            for some in self._fields(images).values():
                sources.update(texts(some.get("B0FieldSource")))
        chosen = [
            item
            for item in maps
            if targets.named_by(fields[item.name.path], item.name)
            or not sources.isdisjoint(texts(fields[item.name.path].get("B0FieldIdentifier")))
        ]
        self.choice.add(chosen, "fieldmap")

    def add_empty_rooms(self) -> None:
        """Add the empty-room recordings that selected recordings name."""
        recordings = [
            item
            for item in self.choice.taken
            if item.name.suffix == "meg" and item.name.extension != ".json"
        ]
        fields = self._fields(recordings)
        # Only whole paths: a directory is listed for each, and it must not be a guess.
        # They come from a file's content, so they may be anything.
        wanted = {
            path.rstrip("/")
            for item in recordings
            for text in texts(fields[item.name.path].get("AssociatedEmptyRoom"))
            for path in uri_path(text, item.name)
            if path.startswith("sub-") and "/" in path and unsafe_key(path.rstrip("/")) is None
        }
        known = {item.name.path: item for item in self.choice.others}
        taken = {item.name.path for item in self.choice.taken}
        # All of the subject, since sidecars of the recording may be in the directories above it.
        for directory in sorted({path.partition("/")[0] for path in wanted - known.keys() - taken}):
            items = self.choice.learn(self.list_directory(directory))
            known.update({item.name.path: item for item in items})
        self.choice.add([known[path] for path in sorted(wanted & known.keys())], "reference")

    def add_stimuli(self) -> None:
        """Add the files in ``stimuli`` that selected events tables name."""
        events = [
            item.name.path
            for item in self.choice.taken
            if item.name.suffix in {"events", "beh"} and item.name.extension == ".tsv"
        ]
        tables = self.each(self._table, events)
        wanted = {f"stimuli/{path}" for table in tables for path in stimulus_files(table)}
        if wanted:
            items = self.choice.learn(self.list_directory("stimuli"))
            self.choice.add([item for item in items if item.name.path in wanted], "reference")

    def _fields(self, items: Iterable[Item]) -> dict[str, dict[str, Any]]:
        """Merge the fields of the JSON sidecars that apply to each item, by the item's path."""
        # Those of deeper levels come first.
        paths = {
            item.name.path: [
                other.name.path
                for other in self.choice.metadata.inherited(item.name)
                if other.name.extension == ".json"
            ]
            for item in items
        }
        new = sorted({one for some in paths.values() for one in some} - self._sidecars.keys())
        self._sidecars.update(zip(new, self.each(self._sidecar, new), strict=True))
        return {
            path: merged(self._sidecars[one] for one in reversed(some))
            for path, some in paths.items()
        }

    def _sidecar(self, path: str) -> object:
        data = self._read(path, LARGEST_SIDECAR)
        return parse_json(data, self._where(path), self.warn) if data else None

    def _table(self, path: str) -> str:
        return self._read(path, _LARGEST_EVENTS).decode("utf-8", errors="replace")

    def _read(self, path: str, limit: int) -> bytes:
        found = self.files[path]
        if self.store.absent([found.key]):
            self.unread.add(self._where(path))
            return b""
        if found.size > limit:
            message = f"has {found.size:,} bytes and is not read to see what it refers to"
            self.warn(Problem(message=f"{self._where(path)} {message}"))
            return b""
        return read_small(self.store, found, limit)

    def _where(self, path: str) -> str:
        return printable(f"{self.store.url.rstrip('/')}/{self.files[path].key}")
