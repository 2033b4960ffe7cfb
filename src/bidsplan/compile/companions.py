"""Adds companions that other files name: field maps, empty rooms and stimuli.

Small files are read in parallel, up to a limit. If a file can't be read or parsed, that is a
warning and not an error, since real datasets have such files. The warning names the key and the
files that are left out because of it.
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
"""The most bytes of an events table that are read."""

_MOST_NAMED = 5_000_000
"""The most files that one dataset's field maps may name in total, repetitions included."""


class MissedTargets(NamedTuple):
    """How many selected files have unselected targets, and how many targets."""

    holders: int = 0
    targets: int = 0


@dataclass(kw_only=True, slots=True)
class References:
    """The references between all files of one dataset.

    Parameters
    ----------
    at_root : mapping of str to Object
        The files directly at the dataset's root, by name.
    each : callable
        Calls a function for many paths in parallel.
    list_directory : callable
        Lists a directory in the dataset, as objects by path.
    unread : set of str
        Collects the files that should be read, and whose content is missing here.

    Attributes
    ----------
    rooms, stimuli : set of str
        Paths of files in other directories that were referred to.
    sidecars : dict of str to object
        The contents of sidecars at the root, by name.
    broken, left : dict
        Why sidecars at the root were not read, and the field maps that are left out because of
        that.
    """

    store: Store
    at_root: Mapping[str, Object]
    each: Callable[[Callable[[str], Any], Iterable[str]], list[Any]]
    list_directory: Callable[[str], Mapping[str, Object]]
    warn: Warn
    unread: set[str]
    rooms: set[str] = field(default_factory=set)
    stimuli: set[str] = field(default_factory=set)
    sidecars: dict[str, object] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    left: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _named: int = 0

    def count_named(self, number: int) -> None:
        """Count the files that field maps name."""
        self._named += number
        if self._named > _MOST_NAMED:
            raise StorageError(
                f"{printable(self.store.url)}: its field maps name more than {_MOST_NAMED:,} "
                "files; select fewer subjects, or say 'companions: {fieldmaps: false}'",
                help_code=HelpCode.LIMIT,
            )

    def where(self, key: str) -> str:
        """Return an object's URL, for messages."""
        return printable(f"{self.store.url.rstrip('/')}/{key}")

    def add_rooms(self, choice: FileSelection) -> Mapping[str, Object]:
        """Add the empty-room recordings in `rooms`; return their listed objects."""
        found: dict[str, Object] = {}
        known = {item.name.path: item for item in choice.others}
        taken = {item.name.path for item in choice.taken}
        # All files of the subject, since the recording's sidecars may be in higher directories.
        for directory in sorted({_top(path) for path in self.rooms - known.keys() - taken}):
            found.update(self.list_directory(directory))
        known.update({item.name.path: item for item in choice.learn(found)})
        choice.add([known[path] for path in sorted(self.rooms & known.keys())], "reference")
        return found

    def add_stimuli(self, choice: FileSelection) -> Mapping[str, Object]:
        """Add the files in `stimuli`; return their listed objects."""
        found = self.list_directory("stimuli")
        wanted = [item for item in choice.learn(found) if item.name.path in self.stimuli]
        choice.add(wanted, "reference")
        return found

    def warn_of_unread(self) -> None:
        """Warn of sidecars at the root that were not read; see `Companions`."""
        for path, reason in self.broken.items():
            self.warn_of(self.at_root[path].key, reason, self.left[path])

    def warn_of(self, key: str, reason: str, left: Iterable[str]) -> None:
        """Warn of an unread sidecar and the field maps left out because of it."""
        maps = sorted(left)
        cost = "what it names may be left out"
        if maps:
            cost = f"left out for it: {listed(map(printable, maps))}"
        self.warn(Problem(message=f"{self.where(key)} {reason}; {cost}"))


class Companions:
    """Adds the companions that the files of some subjects name.

    A part consists of whole directories at the dataset's root. A file that a field map or recording
    names is added if it is in the same directory. Empty rooms in other directories, and stimuli,
    are collected in `references`. Each sidecar is read once, including those at the root.

    Parameters
    ----------
    files : mapping of str to Object
        The files of the part and of the root, by path below the dataset's root.
    """

    def __init__(
        self, choice: FileSelection, files: Mapping[str, Object], references: References
    ) -> None:
        self.choice = choice
        self._files = files
        self._all = references
        self._sidecars = dict(references.sidecars)
        self._unread = dict(references.broken)
        self._users: defaultdict[str, list[Item]] = defaultdict(list)

    def add_fieldmaps(self, *, others: bool, targets: bool | None) -> MissedTargets:
        """Add the field maps for selected files, and the field maps' other targets.

        A field map is added if its ``IntendedFor`` names a selected file, or if its
        ``B0FieldIdentifier`` is the ``B0FieldSource`` of a selected file.

        Parameters
        ----------
        others : bool
            Whether to add field maps that are not selected yet.
        targets : bool or None
            Whether to add also the files that the ``IntendedFor`` of selected field maps,
            calibration images and photographs names. If None, these files are only counted. If
            False, they are not counted either.
        """
        maps = [item for item in self.choice.others if _is_fieldmap(item)] if others else []
        if targets is not False:
            # Most subjects are selected completely, so their sidecars need not be read.
            partial = {_top(item.name.path) for item in self.choice.known if self._is_lacking(item)}
            taken = (item for item in self.choice.taken if _top(item.name.path) in partial)
            maps += filter(_has_targets, taken)
        if not maps:
            return MissedTargets()
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
        return MissedTargets(sharing, len(lacking))

    def _named(
        self, maps: Iterable[Item], fields: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, list[Item]]:
        """List the known files in each field map's ``IntendedFor``."""
        known = Targets(self.choice.known)
        named: dict[str, list[Item]] = {}
        for item in maps:
            path = item.name.path
            found = known.named_by(fields[path], item.name)
            named[path] = [
                each for each in found if _is_target(each) and _top(each.name.path) == _top(path)
            ]
            wanted = fields[path].get("IntendedFor")
            self._all.count_named(len(found) + (len(wanted) if isinstance(wanted, list) else 1))
        return named

    def _add_by_reference(
        self,
        maps: Iterable[Item],
        fields: Mapping[str, Mapping[str, Any]],
        named: Mapping[str, list[Item]],
        *,
        targets: bool,
    ) -> None:
        """Add field maps by references in both directions, until none is new."""
        by_target: defaultdict[str, list[Item]] = defaultdict(list)
        # Identifiers are unique within a subject only.
        by_identifier: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
        for item in maps:
            for target in named[item.name.path]:
                by_target[target.name.path].append(item)
            for text in texts(fields[item.name.path].get("B0FieldIdentifier")):
                by_identifier[_top(item.name.path), text].append(item)
        waiting = list(self.choice.taken)
        while waiting:
            found = [each for item in waiting for each in by_target.get(item.name.path, ())]
            tops = {top for top, _ in by_identifier}
            images = [
                item
                for item in waiting
                if item.name.extension in NIFTI and _top(item.name.path) in tops
            ]
            if images:
                sources = {
                    (_top(path), text)
                    for path, some in self._fields(images).items()
                    for text in texts(some.get("B0FieldSource"))
                }
                for source in sources & by_identifier.keys():
                    found += by_identifier.pop(source)
            new = self.choice.add(found, "fieldmap")
            holders = [*waiting, *new] if targets else []
            waiting = self.choice.add(
                (each for item in holders for each in named.get(item.name.path, ())), "reference"
            )

    def _is_lacking(self, item: Item) -> bool:
        """Report whether an item is unselected and may be an ``IntendedFor`` target."""
        return _is_target(item) and not self.choice.has(item)

    def add_empty_rooms(self) -> None:
        """Add empty-room recordings, and note those of other subjects for later."""
        recordings = [
            item
            for item in self.choice.taken
            if item.name.suffix == "meg" and item.name.extension != ".json"
        ]
        fields = self._fields(recordings)
        # Only whole paths are used, because a directory is listed for each of them. The paths come
        # from the content of files, so they may be anything.
        wanted = {
            (item.name.path, path.rstrip("/"))
            for item in recordings
            for text in texts(fields[item.name.path].get("AssociatedEmptyRoom"))
            for path in uri_path(text, item.name)
            if path.startswith("sub-") and "/" in path and unsafe_key(path.rstrip("/")) is None
        }
        here = {path for holder, path in wanted if _top(path) == _top(holder)}
        self._all.rooms |= {path for _, path in wanted} - here
        known = {item.name.path: item for item in self.choice.others} if here else {}
        self.choice.add([known[path] for path in sorted(here & known.keys())], "reference")

    def find_stimuli(self) -> None:
        """Note the stimuli that selected events tables name."""
        events = [
            item.name.path
            for item in self.choice.taken
            if item.name.suffix in {"events", "beh"} and item.name.extension == ".tsv"
        ]
        for found in self._all.each(self._stimuli, events):
            self._all.stimuli |= found

    def finish(self) -> None:
        """Warn of unread sidecars, except those at the root."""
        for path, reason in self._unread.items():
            maps = [item for item in self._users[path] if _is_fieldmap(item)]
            left = {item.name.path for item in maps if not self.choice.has(item)}
            if "/" in path:
                self._all.warn_of(self._files[path].key, reason, left)
            else:
                self._all.broken[path] = reason
                self._all.left[path] |= left
        at_root = {path: content for path, content in self._sidecars.items() if "/" not in path}
        self._all.sidecars.update(at_root)

    def _fields(self, items: Sequence[Item]) -> dict[str, dict[str, Any]]:
        """Merge the fields of the JSON sidecars that apply to each item."""
        # Sidecars of deeper levels come first.
        sidecars = [
            [
                other.name.path
                for other in self.choice.metadata.inherited(item.name)
                if other.name.extension == ".json"
            ]
            for item in items
        ]
        new = sorted({one for some in sidecars for one in some} - self._sidecars.keys())
        self._sidecars.update(zip(new, self._all.each(self._sidecar, new), strict=True))
        fields: dict[str, dict[str, Any]] = {}
        for item, some in zip(items, sidecars, strict=True):
            fields[item.name.path] = merged(self._sidecars[one] for one in reversed(some))
            for one in self._unread.keys() & some if self._unread else ():
                self._users[one].append(item)
        return fields

    def _sidecar(self, path: str) -> object:
        try:
            return parse_json(self._read(path, LARGEST_SIDECAR), self._where(path), self._all.warn)
        except ValueError as error:
            self._unread[path] = str(error)
            return None

    def _stimuli(self, path: str) -> set[str]:
        """Read the stimulus paths from an events table."""
        try:
            table = decoded(self._read(path, _LARGEST_EVENTS), self._where(path), self._all.warn)
        except ValueError as error:
            message = f"{self._where(path)} {error}; the stimuli that it names are left out"
            self._all.warn(Problem(message=message))
            return set()
        return {f"stimuli/{name}" for name in stimulus_files(table)}

    def _read(self, path: str, limit: int) -> bytes:
        """Read a file of the dataset; raise ValueError if it is too large."""
        found, store = self._files[path], self._all.store
        if store.absent([found.key]):
            self._all.unread.add(self._where(path))
            return b""
        if found.size > limit:
            raise ValueError(f"has {found.size:,} bytes and is not read to see what it names")
        return read_small(store, found, limit)

    def _where(self, path: str) -> str:
        return self._all.where(self._files[path].key)


def _top(path: str) -> str:
    """Return the top directory of a file in its dataset."""
    return path.partition("/")[0]


def _is_fieldmap(item: Item) -> bool:
    return item.name.datatype in {"fmap", "perf"} and item.name.extension in NIFTI


def _is_target(item: Item) -> bool:
    """Report whether an ``IntendedFor`` may name an item."""
    return not (item.hidden or item.is_table)


def _has_targets(item: Item) -> bool:
    """Report whether an item may have an ``IntendedFor``."""
    return _is_fieldmap(item) or (item.name.suffix == "photo" and item.name.extension != ".json")
