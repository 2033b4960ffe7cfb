"""Compares two plans, and lists the files that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.paths import natural_key
from bidsplan.plan import Entry, Header
from bidsplan.plan.integrity import CheckMethod, best_check
from bidsplan.plan.places import Places, derivative_directory, pipelines_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.plan import Planned


Fields = dict[str, dict[str, Any]]
"""The ``old`` and the ``new`` value of each field that differs, by the field's name."""

_DERIVED = frozenset({"subjects", "files", "bytes", "entries_sha256"})
"""Fields of the header that follow from the entries, or are reported separately."""

_SAME_BYTES = ("sha256", "md5", "etag", "version")
"""Fields that say which bytes are planned, the strongest first."""


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is in both plans, with an entry that differs.

    Parameters
    ----------
    old, new : Entry
        The entries of the file's path in the two plans.
    fields : dict
        ``{"old": …, "new": …}`` for each field that differs. A ``root`` is given by its URL.
    content : bool
        Whether the plans expect different bytes. Otherwise only other fields of the entry differ.
    """

    old: Entry
    new: Entry
    fields: Fields
    content: bool

    @property
    def path(self) -> str:
        """The file's path, which is the same in both plans."""
        return self.new.path


class SubjectChanges(msgspec.Struct, kw_only=True):
    """How many of a subject's files changed, and how many bytes it gained.

    Parameters
    ----------
    added, removed : int
        Number of files that were added and removed.
    content, other : int
        Number of files whose bytes changed, and of files of which only other fields changed.
    bytes : int
        The subject's bytes in the new plan, minus those in the old one.
    """

    added: int = 0
    removed: int = 0
    content: int = 0
    other: int = 0
    bytes: int = 0


class PlanChanges(msgspec.Struct, frozen=True, kw_only=True):
    """The changes between two plans; false if the plans are equal.

    Parameters
    ----------
    old, new : Header
        The plans' headers.
    added, removed : tuple of Entry
        Files that only the new plan has, and files that only the old plan has, sorted by path.
    changed : tuple of FileChange
        Files that both plans have, with entries that differ, sorted by path.
    renamed : dict of str to str
        The paths of removed files, each with the path of the added file that has the same bytes.
    subjects_added, subjects_removed, pipelines_added, pipelines_removed : tuple of str
        Names in natural order, so that 2 comes before 10.
    header : dict
        The old and new value of each field of the header that differs. Fields that follow from the
        entries, such as their number, are left out.
    """

    old: Header
    new: Header
    added: tuple[Entry, ...] = ()
    removed: tuple[Entry, ...] = ()
    changed: tuple[FileChange, ...] = ()
    renamed: dict[str, str] = {}
    subjects_added: tuple[str, ...] = ()
    subjects_removed: tuple[str, ...] = ()
    pipelines_added: tuple[str, ...] = ()
    pipelines_removed: tuple[str, ...] = ()
    header: Fields = {}

    def __bool__(self) -> bool:
        """Report whether anything changed."""
        files = self.added or self.removed or self.changed
        return bool(files or self.subjects_added or self.subjects_removed or self.header)

    def by_subject(self) -> dict[str, SubjectChanges]:
        """Count the changes of each subject's files.

        Returns
        -------
        dict of str to SubjectChanges
            In natural order. Files that belong to no subject are counted as subject ``""``.
        """
        found: dict[str, SubjectChanges] = {}
        for header, entries, name, sign in (
            (self.old, self.removed, "removed", -1),
            (self.new, self.added, "added", 1),
        ):
            for entry, changes in _grouped(found, header, entries):
                setattr(changes, name, getattr(changes, name) + 1)
                changes.bytes += sign * entry.size
        changed = _grouped(found, self.new, (change.new for change in self.changed))
        for change, (_, changes) in zip(self.changed, changed, strict=True):
            changes.content += change.content
            changes.other += not change.content
            changes.bytes += change.new.size - change.old.size
        order = sorted(found, key=lambda unit: (unit == "", natural_key(unit)))
        return {unit: found[unit] for unit in order}

    def to_dict(self) -> dict[str, Any]:
        """Return the changes as ``--json`` writes them."""
        lists = ["subjects_added", "subjects_removed", "pipelines_added", "pipelines_removed"]
        return {
            "added": [{"path": entry.path, "size": entry.size} for entry in self.added],
            "removed": [{"path": entry.path, "size": entry.size} for entry in self.removed],
            "changed": [
                {"path": change.path, "content": change.content, "fields": change.fields}
                for change in self.changed
            ],
            "renamed": self.renamed,
            **{name: list(getattr(self, name)) for name in lists},
            "header": self.header,
            "files": {"before": self.old.files, "after": self.new.files},
            "bytes": {"before": self.old.bytes, "after": self.new.bytes},
        }


def _grouped(
    found: dict[str, SubjectChanges], header: Header, entries: Iterable[Entry]
) -> Iterator[tuple[Entry, SubjectChanges]]:
    places = Places(header)
    for entry in entries:
        yield entry, found.setdefault(places(entry.path).unit or "", SubjectChanges())


def compare_plans(old: Planned, new: Planned) -> PlanChanges:
    """Find the changes between two plans.

    Parameters
    ----------
    old, new : Plan or StoredPlan
        Large plans on disk are read side by side, and never loaded into memory as a whole.

    Returns
    -------
    PlanChanges
        False if the plans are equal.

    Examples
    --------
    >>> from bidsplan.plan import Entry, Plan, Root
    >>> entry = Entry(path="sub-01/anat/sub-01_T1w.nii.gz", key="a", size=9, reason="selected")
    >>> fields = {"manifest_sha256": "0" * 64, "study": "x", "roots": [Root(url="s3://a/b")]}
    >>> old = Plan.build([], subjects=[], **fields)
    >>> changes = compare_plans(old, Plan.build([entry], subjects=["01"], **fields))
    >>> changes.subjects_added, [entry.path for entry in changes.added]
    (('01',), ['sub-01/anat/sub-01_T1w.nii.gz'])
    """
    before, after = old.header, new.header
    files: dict[str, Any] = {}
    if before.entries_sha256 != after.entries_sha256 or before.roots != after.roots:
        files = _Comparison(before, after).files(old.entries, new.entries)
    added = _without(after.subjects, before.subjects)
    removed = _without(before.subjects, after.subjects)
    # Plans that were edited may repeat subjects or have them in another order.
    covered = _DERIVED if added or removed else _DERIVED - {"subjects"}
    return PlanChanges(
        old=before,
        new=after,
        subjects_added=added,
        subjects_removed=removed,
        header=_differing(before, after, covered),
        **files,
    )


class _Comparison:
    """Compares the entries of two sorted plans."""

    def __init__(self, old: Header, new: Header) -> None:
        self._headers = (old, new)
        self._directories: tuple[set[str], set[str]] = (set(), set())
        urls = [[root.url for root in header.roots] for header in self._headers]
        # An added root may change the numbers of the others.
        numbers = {url: number for number, url in enumerate(dict.fromkeys(urls[0] + urls[1]))}
        self._numbers = [[numbers[url] for url in some] for some in urls]
        self._same_roots = urls[0] == urls[1]

    def files(self, old: Iterable[Entry], new: Iterable[Entry]) -> dict[str, Any]:
        """Return the fields of `PlanChanges` about files and pipelines."""
        removed: list[Entry] = []
        added: list[Entry] = []
        changed: list[FileChange] = []
        for one, other in self._differing(self._noted(old, 0), self._noted(new, 1)):
            if one is not None and other is not None:
                changed.append(self._change(one, other))
            elif one is not None:
                removed.append(one)
            elif other is not None:
                added.append(other)
        before, after = map(pipelines_in, self._headers, self._directories)
        return {
            "added": tuple(added),
            "removed": tuple(removed),
            "changed": tuple(changed),
            "renamed": _renamed(removed, added),
            "pipelines_added": _without(after, before),
            "pipelines_removed": _without(before, after),
        }

    def _noted(self, entries: Iterable[Entry], plan: int) -> Iterator[Entry]:
        """Yield entries, and note the directories of possible pipelines."""
        directories = self._directories[plan]
        for entry in entries:
            if directory := derivative_directory(entry.path):
                directories.add(directory)
            yield entry

    def _differing(
        self, old: Iterator[Entry], new: Iterator[Entry]
    ) -> Iterator[tuple[Entry | None, Entry | None]]:
        """Yield the entries that differ, or that only one plan has."""
        one, other = next(old, None), next(new, None)
        while one is not None and other is not None:
            if one.path == other.path:
                if one != other if self._same_roots else self._differ(one, other):
                    yield one, other
                one, other = next(old, None), next(new, None)
            elif one.path < other.path:
                yield one, None
                one = next(old, None)
            else:
                yield None, other
                other = next(new, None)
        for first, rest, is_old in ((one, old, True), (other, new, False)):
            for entry in () if first is None else (first, *rest):
                yield (entry, None) if is_old else (None, entry)

    def _renumbered(self, entry: Entry, plan: int) -> Entry:
        """Return an entry with the number of its root in both plans."""
        number = 0 if entry.content is not None else self._numbers[plan][entry.root]
        return entry if number == entry.root else msgspec.structs.replace(entry, root=number)

    def _differ(self, old: Entry, new: Entry) -> bool:
        return self._renumbered(old, 0) != self._renumbered(new, 1)

    def _change(self, old: Entry, new: Entry) -> FileChange:
        fields = _differing(self._renumbered(old, 0), self._renumbered(new, 1), frozenset())
        if "root" in fields:
            before, after = (
                header.roots[entry.root].url if entry.content is None else None
                for header, entry in zip(self._headers, (old, new), strict=True)
            )
            fields["root"] = {"old": before, "new": after}
        # Two roots may have the same URL.
        fields = fields or {"root": {"old": old.root, "new": new.root}}
        return FileChange(old=old, new=new, fields=fields, content=_other_bytes(old, new))


def _other_bytes(old: Entry, new: Entry) -> bool:
    """Report whether two entries plan different bytes, by the strongest field."""
    if old.size != new.size or old.content != new.content:
        return True
    for name in _SAME_BYTES:
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and after is not None:
            return bool(before != after)
    return False


def _renamed(removed: Iterable[Entry], added: Iterable[Entry]) -> dict[str, str]:
    """Pair removed and added files that have the same digest."""
    old_paths, new_paths = _by_digest(removed), _by_digest(added)
    return {
        old_paths[digest][0]: new_paths[digest][0]
        for digest in old_paths
        if len(old_paths[digest]) == 1 == len(new_paths.get(digest, ()))
    }


def _by_digest(entries: Iterable[Entry]) -> dict[tuple[int, str], list[str]]:
    """Group files by size and digest, except empty files."""
    found: dict[tuple[int, str], list[str]] = {}
    for entry in entries:
        digest = entry.sha256 or entry.md5 or entry.etag
        if digest is not None and entry.size and best_check(entry) is not CheckMethod.SIZE:
            found.setdefault((entry.size, digest), []).append(entry.path)
    return found


def _without(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names) - set(others), key=natural_key))


def _differing(old: Entry | Header, new: Entry | Header, left_out: frozenset[str]) -> Fields:
    values = (
        (name, getattr(old, name), getattr(new, name))
        for name in old.__struct_fields__
        if name not in left_out
    )
    return {
        name: {"old": msgspec.to_builtins(before), "new": msgspec.to_builtins(after)}
        for name, before, after in values
        if before != after
    }
