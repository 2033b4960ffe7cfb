"""Selects files by name in one dataset, and records the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.associations import associated
from bidsplan.bids.data_files import Holdings, Role, kind_of, role_of
from bidsplan.bids.dataset_files import DESCRIPTION, report_subject, select_dataset_files
from bidsplan.bids.inheritance import Metadata, levels
from bidsplan.bids.recordings import Item, items_of
from bidsplan.compile.select.filters import CompiledFilter
from bidsplan.compile.select.findings import Findings
from bidsplan.compile.select.orphans import find_orphans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.bids.data_files import Kind
    from bidsplan.errors import Place
    from bidsplan.manifest import Companions, Filter, Sessions
    from bidsplan.plan import Reason


# Texts for the rejections that are not the name of a field.
_REJECTIONS = {
    "include": "no include glob matches",
    "hidden": "its name starts with a dot, which only a glob with the dot matches",
    "no datatype": "it is in no datatype's directory, and no include glob names it",
}


_GRADIENTS = (".bval", ".bvec")


class Rejection(NamedTuple):
    """Why a file is not selected.

    Parameters
    ----------
    why : str
        A text, in which filters are named by their number: ``[0]: suffixes does not match``.
    at : tuple of str or int
        The place of the rule. It is relative to the filters if it starts with a number or is empty.
    """

    why: str
    at: Place = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The rules of a manifest for one dataset.

    Parameters
    ----------
    filters : tuple of Filter
        The filters, any of which may select a file. Without filters, no file is selected.
    subjects : frozenset of str
        The selected subjects' labels.
    derivative : bool
        Whether the dataset is a derivative. In a derivative, files without a session pass a session
        filter, and reports at the root are selected with their subject.
    dataset_files : str or tuple of str
        The files at the root to select.
    whole : bool
        Whether the filters apply to all files of the dataset, and not only to subjects' files.
    """

    filters: tuple[Filter, ...]
    subjects: frozenset[str]
    sessions: Sessions | None
    derivative: bool
    companions: Companions
    dataset_files: str | tuple[str, ...]
    whole: bool = False

    @property
    def pipeline(self) -> str | None:
        """The pipeline in the kinds of files; one name is enough for the files of a dataset."""
        return "" if self.derivative else None


class FileSelection:
    """The selected files of one dataset, and their companions.

    Parameters
    ----------
    below : iterable of str
        Paths in the selected subjects' directories, relative to the dataset's root.
    at_root : iterable of str
        Names of the files directly at the dataset's root, to select from as well.
    root : FileSelection, optional
        The selection at the root, if `at_root` is empty because several selections share it. The
        files at the root may be companions of this selection's files, too.

    Attributes
    ----------
    reasons : dict of str to str
        Why each path is selected. The reasons do not depend on the order of the names.
    held : Holdings
        The data files, and the other files, that filters selected of each subject.
    orphans : list of (str, Kind, str)
        Subject, kind and directory of the selected files that describe no file of the dataset.
    taken : list of Item
        The selected items, except the dataset's own files.
    """

    def __init__(
        self,
        below: Iterable[str],
        at_root: Iterable[str],
        request: Request,
        root: FileSelection | None = None,
    ) -> None:
        self._request = request
        self._filters = [CompiledFilter(filter_) for filter_ in request.filters]
        self._excluding = [rule for rule in self._filters if rule.may_exclude]
        self._at_root = sorted(at_root)
        self._items = items_of(below)
        self._root_items = items_of(self._at_root)
        self._above: Metadata | None = root.metadata if root else None
        self._known: list[Item] = []
        self._usable: list[Item] = []
        self._add_known([*self._items, *self._root_items])
        self.reasons: dict[str, Reason] = {}
        self.held: Holdings[str] = Holdings()
        self.orphans: list[tuple[str, Kind, str]] = []
        self.findings = Findings(request.filters)
        self.taken: list[Item] = []
        selected = self._select()
        self._follow([*selected, *self._tables(selected)])
        subjects = None if request.whole else request.subjects
        for path in select_dataset_files(self._at_root, request.dataset_files, subjects):
            if path == DESCRIPTION or not self._excluded(path):
                self.reasons.setdefault(path, "dataset")

    def _add_known(self, items: list[Item]) -> None:
        self._known += items
        self._usable += self._without_unusable(items)
        self.metadata: Metadata = Metadata(self._usable, self._above)

    def learn(self, paths: Iterable[str]) -> list[Item]:
        """Add paths of the dataset, which may be companions."""
        items = items_of(paths)
        self._add_known(items)
        return items

    @property
    def asks(self) -> bool:
        """Whether any filter can select a file."""
        return bool(self._filters)

    @property
    def number_of_filters(self) -> int:
        """The number of filters that can select files."""
        return len(self._filters)

    @property
    def others(self) -> list[Item]:
        """The items that may become companions: not hidden, excluded or selected."""
        return [item for item in self._usable if item.paths[0] not in self.reasons]

    @property
    def known(self) -> list[Item]:
        """All known items of the dataset, including hidden and excluded ones."""
        return self._known

    def has(self, item: Item) -> bool:
        """Report whether an item is selected."""
        return item.paths[0] in self.reasons

    def add(self, items: Iterable[Item], reason: Reason) -> list[Item]:
        """Select more items with their companions, except excluded and hidden ones.

        Returns the items that were not selected before.
        """
        new = self._add(self._without_unusable(items), reason)
        self._follow(new)
        return new

    def why(self, path: str) -> tuple[bool, str] | None:
        """Return whether a path is selected, and why; None if it does not exist."""
        item = next((item for item in self._known if path in item.paths), None)
        if item is None:
            return None
        reason = self.reasons.get(path)
        if reason is None:
            return False, self._rejection(item).why
        if reason == "selected":
            return True, f"selected by [{self._rejections(item).index(None)}]"
        # The sidecar of an image also applies to the image's gradient tables.
        for other in sorted(self.taken, key=lambda taken: taken.name.extension in _GRADIENTS):
            inherited = self.metadata.inherited(other.name)
            if item in [*inherited, *associated(other.name, self.metadata)]:
                return True, f"{reason}: it belongs to {other.name.path}"
        return True, reason

    def rejected(self) -> Iterator[tuple[str, Rejection]]:
        """Yield the path of each unselected file of the subjects, and why."""
        for item in self._items:
            if not self.has(item):
                rejection = self._excluded_by(item) or self._rejection_of_subjects(item)
                for path in item.paths:
                    yield path, rejection

    def _rejection(self, item: Item) -> Rejection:
        """Return why an item is not selected."""
        excluded = self._excluded_by(item)
        if excluded:
            return excluded
        if item in self._root_items and item not in self._candidates_at_root():
            why = "no selected file needs it, and dataset_files does not include it"
            return Rejection(why, ("dataset_files",))
        return self._rejection_of_subjects(item)

    def _excluded_by(self, item: Item) -> Rejection | None:
        for number, rule in enumerate(self._filters):
            if rule.excludes(item.name.path):
                return Rejection(f"[{number}].exclude matches it", (number, "exclude"))
        return None

    def _rejection_of_subjects(self, item: Item) -> Rejection:
        """Return why no filter selects an item that is not excluded."""
        if not self._in_sessions(item.name.session):
            session = item.name.session
            why = f"its session {session!r} is not selected" if session else "it has no session"
            return Rejection(why, ("sessions",))
        if item.is_table and not self._request.whole:
            return Rejection("tables are not selected; see companions.tables", ("companions",))
        parts = self._rejections(item)
        why = "; ".join(
            f"[{number}]: {_REJECTIONS.get(part or '', f'{part} does not match')}"
            for number, part in enumerate(parts)
        )
        if len(parts) != 1 or parts[0] is None:
            return Rejection(why or "files are not selected at all")
        # Rejections that are not by a field have the place of the whole filter.
        field = () if parts[0] in _REJECTIONS.keys() - {"include"} else parts[0].split(".")
        return Rejection(why, (0, *field))

    def _rejections(self, item: Item) -> list[str | None]:
        return [rule.rejection(item, anywhere=self._request.whole) for rule in self._filters]

    def _without_unusable(self, items: Iterable[Item]) -> list[Item]:
        return [item for item in items if not item.hidden and not self._excluded(item.name.path)]

    def _excluded(self, path: str) -> bool:
        # There is hardly ever an exclude, and there are very many paths.
        return bool(self._excluding) and any(rule.excludes(path) for rule in self._excluding)

    def _select(self) -> list[Item]:
        sessions = {item.name.session for item in self._items}
        self.findings.sessions.update(session for session in sessions if session is not None)
        for name in self._at_root:
            self.findings.add_path(name)
        candidates = [item for item in self._items if self._in_sessions(item.name.session)]
        selected: list[Item] = []
        described: list[tuple[Item, Kind]] = []
        for item in [*candidates, *self._candidates_at_root()]:
            rejections = [] if self._excluded(item.name.path) else self._rejections(item)
            self.findings.add_item(item, rejections)
            if None in rejections:
                selected.append(item)
                kind = kind_of(item.name, self._request.pipeline)
                if not self._hold(item, kind, rejections):
                    described.append((item, kind))
        self._note_orphans(described)
        return self._add(selected, "selected")

    def _hold(self, item: Item, kind: Kind, rejections: Iterable[str | None]) -> bool:
        """Count a selected item for its subject; report whether it counts as data for certain."""
        subject = item.name.subject or report_subject(item.name.path)
        role = role_of(kind)
        counts = role is Role.DATA or any(
            rejection is None and role in rule.asked
            for rule, rejection in zip(self._filters, rejections, strict=True)
        )
        self.held.add(subject or "", kind, asked=counts)
        return counts

    def _note_orphans(self, described: list[tuple[Item, Kind]]) -> None:
        """Note those of the selected items without data that describe no file."""
        for item in self._items if self._request.derivative else ():
            self.held.see(kind_of(item.name, self._request.pipeline))
        for item, kind in find_orphans(described, self._items, self.metadata):
            if item.name.subject is not None:
                self.orphans.append((item.name.subject, kind, item.name.directory))

    def _candidates_at_root(self) -> list[Item]:
        """List the files at the root that filters may select."""
        if self._request.whole:
            return self._root_items
        if not self._request.derivative:
            return []
        subjects = self._request.subjects
        return [item for item in self._root_items if report_subject(item.name.path) in subjects]

    def _in_sessions(self, session: str | None) -> bool:
        sessions = self._request.sessions
        if sessions is None or sessions.include is None:
            return True
        if session is None:
            return self._request.derivative or sessions.sessionless == "include"
        return session in sessions.include

    def _tables(self, selected: list[Item]) -> list[Item]:
        """Select the tables in and above the directories of selected items."""
        directories = {item.name.directory for item in selected}
        covered = {above for directory in directories for above in levels(directory)}
        tables = [
            item
            for item in self._items
            if item.is_table and item.name.directory in covered and self._wants_table(item)
            if not self._excluded(item.name.path)
        ]
        return self._add(tables, "table")

    def _wants_table(self, item: Item) -> bool:
        mode = self._request.companions.tables
        if mode != "auto":
            return mode == "true"
        if item.name.suffix == "sessions":
            return True
        # A scans table also names files that a filter may have left out, so it would be wrong.
        partial = bool(self._excluding) or any(rule.restricts for rule in self._filters)
        return not partial and self._in_sessions(item.name.session)

    def _follow(self, items: list[Item]) -> None:
        """Select the companions of items, and the companions of these."""
        wanted = self._request.companions
        waiting = list(items)
        self.taken += items
        while waiting:
            name = waiting.pop().name
            found: list[Item] = []
            if wanted.inherit:
                found += self._add(self.metadata.inherited(name), "inherited")
            if wanted.associations:
                found += self._add(associated(name, self.metadata), "association")
            waiting += found
            self.taken += found

    def _add(self, items: Iterable[Item], reason: Reason) -> list[Item]:
        """Select items, and return the new ones."""
        new = []
        for item in items:
            if item.paths[0] not in self.reasons:
                for path in item.paths:
                    self.reasons[path] = reason
                new.append(item)
        return new
