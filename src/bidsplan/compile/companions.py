"""Companions that only the contents of files name: field maps, empty rooms and stimuli.

What is read is small, bounded, and read in parallel. A file that can't be read as what it should be
is a warning with its key: real datasets hold such files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.bids.associations import NIFTI
from bidsplan.bids.references import Targets, merged, stimulus_files, texts, uri_path
from bidsplan.errors import Problem
from bidsplan.paths import printable, unsafe_key
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item
    from bidsplan.compile.select.choice import FileSelection
    from bidsplan.storage import Object, Store

    Each = Callable[[Callable[[str], Any], Iterable[str]], list[Any]]


LARGEST_SIDECAR = 1 << 20
"""Bytes of a JSON sidecar that are read at the most."""

LARGEST_EVENTS = 16 << 20
"""Bytes of an events table that are read at the most."""

_STIMULATED = frozenset({"events", "beh"})
_FIELD_MAPS = frozenset({"fmap", "perf"})


class Contents:
    """Reads small files of one dataset, each of them once.

    Parameters
    ----------
    files : mapping of str to Object
        By path below the dataset's root; may grow while it is used.
    each : callable
        Does the same for many paths at once.
    warn : callable
        Takes the problems of files that can't be read.
    """

    def __init__(
        self,
        store: Store,
        files: Mapping[str, Object],
        each: Each,
        warn: Callable[[Iterable[Problem]], None],
    ) -> None:
        self._store = store
        self._files = files
        self._each = each
        self._warn = warn
        self._sidecars: dict[str, object] = {}

    def fields(self, name_of: Mapping[str, Iterable[Item]]) -> dict[str, dict[str, Any]]:
        """Merge the fields of sidecars.

        Parameters
        ----------
        name_of : mapping of str to iterable of Item
            The sidecars that apply to each path, those of deeper levels first.
        """
        paths = {path: [item.name.path for item in items] for path, items in name_of.items()}
        new = sorted({one for some in paths.values() for one in some} - self._sidecars.keys())
        self._sidecars.update(zip(new, self._each(self._sidecar, new), strict=True))
        return {
            path: merged(self._sidecars[one] for one in reversed(some))
            for path, some in paths.items()
        }

    def tables(self, paths: Iterable[str]) -> list[str]:
        """Read events tables as text."""
        return self._each(self._table, paths)

    def _sidecar(self, path: str) -> object:
        data = self._read(path, LARGEST_SIDECAR)
        try:
            return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf")) if data else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._tell(path, f"is not valid JSON: {error}")
            return None

    def _table(self, path: str) -> str:
        return self._read(path, LARGEST_EVENTS).decode("utf-8", errors="replace")

    def _read(self, path: str, limit: int) -> bytes:
        found = self._files[path]
        if found.size > limit:
            self._tell(path, f"has {found.size:,} bytes and is not read to see what it refers to")
            return b""
        return read_small(self._store, found, limit)

    def _tell(self, path: str, what: str) -> None:
        where = printable(f"{self._store.url.rstrip('/')}/{self._files[path].key}")
        self._warn([Problem(message=f"{where} {what}")])


def read_small(store: Store, found: Object, limit: int) -> bytes:
    """Read a small object whole, trying again where that may help.

    Parameters
    ----------
    found : Object
        As it was listed; one that has changed since is an error.
    limit : int
        The most bytes to accept.

    Raises
    ------
    StorageError
    """
    return retrying()(store.read, found.key, limit=limit, etag=found.etag, size=found.size)


def follow_fieldmaps(choice: FileSelection, contents: Contents) -> None:
    """Take the field maps that are meant for what is taken.

    Parameters
    ----------
    choice : FileSelection
        A field map comes where its ``IntendedFor`` names a file that is taken, or where its
        ``B0FieldIdentifier`` is the ``B0FieldSource`` of one.
    """
    maps = [
        item
        for item in choice.others
        if item.name.datatype in _FIELD_MAPS and item.name.extension in NIFTI
    ]
    if not maps:
        return
    fields = contents.fields(_sidecars(choice, maps))
    targets = Targets(item.name for item in choice.taken)
    sources = _field_sources(choice, contents) if _have(fields, "B0FieldIdentifier") else set()
    chosen = [
        item
        for item in maps
        if targets.named_by(fields[item.name.path], item.name)
        or not sources.isdisjoint(texts(fields[item.name.path].get("B0FieldIdentifier")))
    ]
    choice.add(chosen, "fieldmap")


def _sidecars(choice: FileSelection, items: Iterable[Item]) -> dict[str, list[Item]]:
    """Find the JSON sidecars of items, the deepest first."""
    return {
        item.name.path: [
            other
            for other in choice.metadata.inherited(item.name)
            if other.name.extension == ".json"
        ]
        for item in items
    }


def _have(fields: Mapping[str, Mapping[str, Any]], field: str) -> bool:
    return any(field in some for some in fields.values())


def _field_sources(choice: FileSelection, contents: Contents) -> set[str]:
    images = [item for item in choice.taken if item.name.extension in NIFTI]
    fields = contents.fields(_sidecars(choice, images))
    return {text for some in fields.values() for text in texts(some.get("B0FieldSource"))}


def follow_references(
    choice: FileSelection,
    contents: Contents,
    learn: Callable[[str], Iterable[str]],
    directories: Iterable[str],
) -> None:
    """Take the empty-room recordings and stimuli that are named by what is taken.

    Parameters
    ----------
    learn : callable
        Lists a directory below the dataset's root and gives the paths in it.
    directories : iterable of str
        The directories at the dataset's root.
    """
    _follow_empty_rooms(choice, contents, learn)
    if "stimuli" in directories:
        _follow_stimuli(choice, contents, learn)


def _follow_empty_rooms(
    choice: FileSelection, contents: Contents, learn: Callable[[str], Iterable[str]]
) -> None:
    recordings = [
        item
        for item in choice.taken
        if item.name.suffix == "meg" and item.name.extension != ".json"
    ]
    fields = contents.fields(_sidecars(choice, recordings))
    wanted = {
        path.rstrip("/")
        for item in recordings
        for text in texts(fields[item.name.path].get("AssociatedEmptyRoom"))
        for path in _rooms(text, item.name)
    }
    known = {item.name.path: item for item in choice.others}
    taken = {item.name.path for item in choice.taken}
    # All of the subject, since sidecars of the recording may stand above it.
    new = {path.partition("/")[0] for path in wanted - known.keys() - taken}
    for directory in sorted(new):
        known.update({item.name.path: item for item in choice.learn(learn(directory))})
    choice.add([known[path] for path in sorted(wanted & known.keys())], "reference")


def _rooms(text: str, name: Name) -> list[str]:
    # Only whole paths: a directory is listed for each, and it must not be a guess.
    # They come from a file's content, so they may be anything.
    paths = [path for path in uri_path(text, name) if path.startswith("sub-") and "/" in path]
    return [path for path in paths if unsafe_key(path.rstrip("/")) is None]


def _follow_stimuli(
    choice: FileSelection, contents: Contents, learn: Callable[[str], Iterable[str]]
) -> None:
    events = [
        item.name.path
        for item in choice.taken
        if item.name.suffix in _STIMULATED and item.name.extension == ".tsv"
    ]
    tables = contents.tables(events)
    wanted = {f"stimuli/{path}" for table in tables for path in stimulus_files(table)}
    if wanted:
        items = choice.learn(learn("stimuli"))
        choice.add([item for item in items if item.name.path in wanted], "reference")
