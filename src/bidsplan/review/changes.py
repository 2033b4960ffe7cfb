"""What changed between two plans."""

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
"""Fields of the header that follow from the entries, or are reported by themselves."""

_SAME_BYTES = ("sha256", "md5", "etag", "version")
"""Fields that say which bytes are planned, the strongest first."""


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """A file of both plans that is planned in another way.

    Parameters
    ----------
    old, new : Entry
        Of the same path.
    fields : dict
        ``{"old": …, "new": …}`` for each field that differs; a ``root`` is given by its URL.
    content : bool
        Whether the plans expect other bytes; else only the record of the file differs.
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
    """Numbers of a subject's files that were added, removed and changed, and bytes gained."""

    added: int = 0
    removed: int = 0
    content: int = 0
    other: int = 0
    bytes: int = 0


class PlanChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What changed between two plans; it is false if nothing did.

    Parameters
    ----------
    old, new : Header
        The plans' headers.
    added, removed : tuple of Entry
        Files of one of the plans alone, by path.
    changed : tuple of FileChange
        Files of both plans, by path.
    renamed : dict of str to str
        Paths of removed files, and of the added files that have the same bytes.
    subjects_added, subjects_removed, pipelines_added, pipelines_removed : tuple of str
        Names, in natural order.
    header : dict
        Old and new value of each field of the header that differs, without those that follow from
        the entries.
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
        """Whether anything changed."""
        files = self.added or self.removed or self.changed
        return bool(files or self.subjects_added or self.subjects_removed or self.header)

    def by_subject(self) -> dict[str, SubjectChanges]:
        """Count the files that changed by subject, in natural order; those of none are ``""``."""
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
    """Find what changed between two plans.

    Parameters
    ----------
    old, new : Plan or StoredPlan
        Those on disk are read in step, and never held in memory as a whole.

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
    # An edited plan may repeat a subject, or have another order.
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
    """Compares the entries of two plans, which both are sorted by path."""

    def __init__(self, old: Header, new: Header) -> None:
        self._headers = (old, new)
        self._directories: tuple[set[str], set[str]] = (set(), set())
        urls = [[root.url for root in header.roots] for header in self._headers]
        # A root that was added may renumber the others.
        numbers = {url: number for number, url in enumerate(dict.fromkeys(urls[0] + urls[1]))}
        self._numbers = [[numbers[url] for url in some] for some in urls]
        self._same_roots = urls[0] == urls[1]

    def files(self, old: Iterable[Entry], new: Iterable[Entry]) -> dict[str, Any]:
        """Return the fields of `PlanChanges` that are about files and pipelines."""
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
        """Yield entries, and note the directories that may be a pipeline's."""
        directories = self._directories[plan]
        for entry in entries:
            if directory := derivative_directory(entry.path):
                directories.add(directory)
            yield entry

    def _differing(
        self, old: Iterator[Entry], new: Iterator[Entry]
    ) -> Iterator[tuple[Entry | None, Entry | None]]:
        """Yield the entries that differ, or that only one plan has, by path."""
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
        """Return an entry with the number that its root has in both plans."""
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
        # Two roots may have one URL.
        fields = fields or {"root": {"old": old.root, "new": new.root}}
        return FileChange(old=old, new=new, fields=fields, content=_other_bytes(old, new))


def _other_bytes(old: Entry, new: Entry) -> bool:
    """Return whether the strongest of what both entries say means that their bytes differ."""
    if old.size != new.size or old.content != new.content:
        return True
    for name in _SAME_BYTES:
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and after is not None:
            return bool(before != after)
    return False


def _renamed(removed: Iterable[Entry], added: Iterable[Entry]) -> dict[str, str]:
    """Pair removed and added files that a digest shows to be the same, and no others."""
    old_paths, new_paths = _by_digest(removed), _by_digest(added)
    return {
        old_paths[digest][0]: new_paths[digest][0]
        for digest in old_paths
        if len(old_paths[digest]) == 1 == len(new_paths.get(digest, ()))
    }


def _by_digest(entries: Iterable[Entry]) -> dict[tuple[int, str], list[str]]:
    """Group paths by size and digest; empty files are left out, since all are equal."""
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
