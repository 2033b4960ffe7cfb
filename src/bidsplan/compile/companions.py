"""Companions that only the contents of files name: field maps, empty rooms and stimuli.

What is read is small, bounded, and read in parallel. A file that can't be read as what it should be
is a warning with its key and with what is left out for it: real datasets hold such files.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bidsplan.bids.associations import NIFTI
from bidsplan.bids.references import Targets, merged, stimulus_files, texts, uri_path
from bidsplan.compile.survey.small_files import LARGEST_SIDECAR, decoded, parse_json, read_small
from bidsplan.errors import Problem, StorageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed
from bidsplan.paths import printable, unsafe_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bidsplan.bids.recordings import Item
    from bidsplan.compile.select.choice import FileSelection
    from bidsplan.compile.survey.small_files import Warn
    from bidsplan.storage import Object, Store


_LARGEST_EVENTS = 16 << 20
"""Bytes of an events table that are read at the most."""

_MOST_NAMED = 5_000_000
"""Files that the field maps of one dataset may name in all, each as often as it is named."""

_METADATA = frozenset({".json", ".tsv", ".bval", ".bvec"})


class Shared(NamedTuple):
    """How many selected files are meant for unselected ones, and how many these are."""

    holders: int = 0
    targets: int = 0


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
    _unread: dict[str, str] = field(default_factory=dict)
    _users: defaultdict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))

    def add_fieldmaps(self, *, others: bool, targets: bool | None) -> Shared:
        """Add the field maps that are meant for what is selected, and what else they are meant for.

        A field map comes where its ``IntendedFor`` names a selected file, or where its
        ``B0FieldIdentifier`` is the ``B0FieldSource`` of one.

        Parameters
        ----------
        others : bool
            Whether to add field maps that are not selected yet.
        targets : bool or None
            Whether to add also what the ``IntendedFor`` of selected field maps, calibration images
            and photographs names. If None, these files are only counted; if False, not even that.
        """
        maps = [item for item in self.choice.others if _is_fieldmap(item)] if others else []
        if targets is not False and any(map(self._may_be_lacking, self.choice.known)):
            maps += filter(_has_targets, self.choice.taken)
        if not maps:
            return Shared()
        fields = self._fields(maps)
        named = self._named(maps, fields)
        self._add_by_reference(maps, fields, named, targets=bool(targets))
        lacking: set[str] = set()
        sharing = 0
        for item in maps if targets is None else ():
            if self.choice.has(item):
                missed = [each for each in named[item.name.path] if not self.choice.has(each)]
                lacking.update(each.name.path for each in missed)
                sharing += bool(missed)
        return Shared(sharing, len(lacking))

    def _named(
        self, maps: Iterable[Item], fields: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, list[Item]]:
        """List the known files that the ``IntendedFor`` of each field map names, by its path."""
        known = Targets(self.choice.known)
        named: dict[str, list[Item]] = {}
        number = 0
        for item in maps:
            path = item.name.path
            named[path] = known.named_by(fields[path], item.name)
            # A sidecar far above may apply to very many field maps, and name very many files.
            wanted = fields[path].get("IntendedFor")
            number += len(named[path]) + (len(wanted) if isinstance(wanted, list) else 1)
            if number > _MOST_NAMED:
                raise StorageError(
                    f"{printable(self.store.url)}: its field maps name more than {_MOST_NAMED:,} "
                    "files; select fewer subjects, or say 'companions: {fieldmaps: false}'",
                    help_code=HelpCode.LIMIT,
                )
        return named

    def _add_by_reference(
        self,
        maps: Iterable[Item],
        fields: Mapping[str, Mapping[str, Any]],
        named: Mapping[str, list[Item]],
        *,
        targets: bool,
    ) -> None:
        """Add field maps by what they name and what names them, and by what that adds."""
        by_target: defaultdict[str, list[Item]] = defaultdict(list)
        by_identifier: defaultdict[str, list[Item]] = defaultdict(list)
        for item in maps:
            for target in named[item.name.path]:
                by_target[target.name.path].append(item)
            for text in texts(fields[item.name.path].get("B0FieldIdentifier")):
                by_identifier[text].append(item)
        waiting = list(self.choice.taken)
        while waiting:
            found = [each for item in waiting for each in by_target.get(item.name.path, ())]
            if by_identifier:
                images = [item for item in waiting if item.name.extension in NIFTI]
                sources = {
                    text
                    for some in self._fields(images).values()
                    for text in texts(some.get("B0FieldSource"))
                }
                for text in sources & by_identifier.keys():
                    found += by_identifier.pop(text)
            new = self.choice.add(found, "fieldmap")
            holders = [*waiting, *new] if targets else []
            waiting = self.choice.add(
                (each for item in holders for each in named.get(item.name.path, ())), "reference"
            )

    def _may_be_lacking(self, item: Item) -> bool:
        """Return whether an item is not selected, and a field map could be meant for it."""
        return (
            item.name.datatype not in {None, "fmap"}
            and item.name.extension not in _METADATA
            and not self.choice.has(item)
        )

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

    def warn_of_unread(self) -> None:
        """Warn of each sidecar that was not read, with the field maps that are left out for it."""
        for path, reason in self._unread.items():
            maps = [item for item in self._users[path] if _is_fieldmap(item)]
            left = sorted({item.name.path for item in maps if not self.choice.has(item)})
            cost = "what it names may be left out"
            if left:
                cost = f"left out for it: {listed(map(printable, left))}"
            self.warn(Problem(message=f"{self._where(path)} {reason}; {cost}"))

    def _fields(self, items: Sequence[Item]) -> dict[str, dict[str, Any]]:
        """Merge the fields of the JSON sidecars that apply to each item, by the item's path."""
        # Those of deeper levels come first.
        sidecars = [
            [
                other.name.path
                for other in self.choice.metadata.inherited(item.name)
                if other.name.extension == ".json"
            ]
            for item in items
        ]
        new = sorted({one for some in sidecars for one in some} - self._sidecars.keys())
        self._sidecars.update(zip(new, self.each(self._sidecar, new), strict=True))
        fields: dict[str, dict[str, Any]] = {}
        for item, some in zip(items, sidecars, strict=True):
            fields[item.name.path] = merged(self._sidecars[one] for one in reversed(some))
            for one in self._unread.keys() & some if self._unread else ():
                self._users[one].append(item)
        return fields

    def _sidecar(self, path: str) -> object:
        try:
            return parse_json(self._read(path, LARGEST_SIDECAR), self._where(path), self.warn)
        except ValueError as error:
            self._unread[path] = str(error)
            return None

    def _table(self, path: str) -> str:
        try:
            return decoded(self._read(path, _LARGEST_EVENTS), self._where(path), self.warn)
        except ValueError as error:
            message = f"{self._where(path)} {error}; the stimuli that it names are left out"
            self.warn(Problem(message=message))
            return ""

    def _read(self, path: str, limit: int) -> bytes:
        """Read a file of the dataset; raise ValueError where it is too large."""
        found = self.files[path]
        if self.store.absent([found.key]):
            self.unread.add(self._where(path))
            return b""
        if found.size > limit:
            raise ValueError(f"has {found.size:,} bytes and is not read to see what it names")
        return read_small(self.store, found, limit)

    def _where(self, path: str) -> str:
        return printable(f"{self.store.url.rstrip('/')}/{self.files[path].key}")


def _is_fieldmap(item: Item) -> bool:
    return item.name.datatype in {"fmap", "perf"} and item.name.extension in NIFTI


def _has_targets(item: Item) -> bool:
    """Return whether an item may have an ``IntendedFor``."""
    return _is_fieldmap(item) or (item.name.suffix == "photo" and item.name.extension != ".json")
