"""Finds why subjects, or files of subjects, are not in a plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile.omissions import OmissionKind
from bidsplan.compile.survey.participants import manifest_digest
from bidsplan.errors import Problem, dotted
from bidsplan.paths import natural_key, printable
from bidsplan.plan.places import Places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bidsplan.compile.explain import Explanation
    from bidsplan.errors import Place as ManifestPlace
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.places import Place


class Reason(NamedTuple):
    """Why a subject or a file is missing.

    Parameters
    ----------
    kind : str
        no-file, no-directory, filtered, excluded, not-selected, stale or unknown.
    text : str
    where : str
        The rule's file and line in the manifest, if there is a rule.
    """

    kind: str
    text: str
    where: str = ""


COMPLETING = frozenset({"selected", "fieldmap"})
"""The reasons of files that may complete a cell; other files are only their companions."""

NO_FILE = "no-file"
"""The kind of reason if the study itself has no such file."""

ONLY_METADATA = Reason(NO_FILE, "the plan has only metadata of this subject, and no data file")

UNPLANNED = Reason("unknown", "the plan has no such file; its manifest would show why")
_FAILED = Reason("unknown", "the manifest does not compile, so the reason is unknown")
_STALE = Reason("stale", "the manifest selects such a file now; compile it again")


class LeftOut(NamedTuple):
    """Subjects that one rule leaves out."""

    text: str
    where: str
    units: list[str]


class Group(NamedTuple):
    """The properties that the files of a cell share."""

    unit: str
    pipeline: str | None
    session: str | None
    datatype: str | None


def group_of(place: Place) -> Group | None:
    """Return the group of a file; None if it belongs to no subject."""
    unit = place.unit
    if unit is None:
        return None
    return Group(unit, place.pipeline, place.session, place.datatype)


class Freshness(NamedTuple):
    """The differences between a plan and the manifest's current selection.

    Parameters
    ----------
    manifest_changed : bool
        Whether the plan was compiled from another version of the manifest.
    added, removed, changed : int
        Files that compiling now would add, remove or change.
    problems : tuple of str
        Problems that prevent the manifest from compiling.
    """

    manifest_changed: bool
    added: int
    removed: int
    changed: int
    problems: tuple[str, ...]

    @property
    def current(self) -> bool:
        """Whether compiling now would write the same plan, except for digests."""
        return not (self.manifest_changed or self.problems or any(self[1:4]))


class Reasons:
    """The reasons why files and subjects are not in a plan.

    Parameters
    ----------
    plan : Plan or StoredPlan
    loaded : ManifestFile
    explanation : Explanation
        The explanation of the manifest with the present storage.
    untrusted : bool
        Whether to refuse links to files next to the manifest.

    Attributes
    ----------
    archived : frozenset of str
        Planned paths that must be restored before they can be fetched.
    freshness : Freshness
        Whether the plan is current.
    """

    def __init__(
        self,
        plan: Planned,
        loaded: ManifestFile,
        explanation: Explanation,
        *,
        untrusted: bool = False,
    ) -> None:
        self._loaded = loaded
        self._explanation = explanation
        self._units = frozenset(explanation.record.units)
        self._new_units = self._units - set(plan.header.subjects)
        self._places = Places(plan.header)
        self._lines: dict[ManifestPlace, str] = {}
        self._with_directory: set[tuple[str, str | None]] = set()
        self._added: set[Group] = set()
        self._rejected: dict[Group, Counter[Reason]] = defaultdict(Counter)
        self.archived = frozenset(explanation.archived)
        digest = manifest_digest(loaded.manifest, loaded.path.parent, untrusted=untrusted)
        self.freshness = self._compare(plan, changed=digest != plan.header.manifest_sha256)
        self._read_rejected()

    def of_cell(self, unit: str, pipelines: Iterable[str | None], groups: list[Group]) -> Reason:
        """Return why a subject has no planned file in a cell.

        `pipelines` are the pipelines of the cell, and None stands for raw files.
        """
        if self.freshness.problems:
            return _FAILED
        if unit not in self._units:
            dropped = self._explanation.record.dropped.get(unit)
            why = _without_value(dropped.why) if dropped else "the study does not have it"
            return Reason("not-selected", f"the subject is not selected now: {why}")
        if any(group in self._added for group in groups):
            return _STALE
        counts: Counter[Reason] = Counter()
        for group in groups:
            counts.update(self._rejected.get(group, {}))
        if counts:
            # The reason of most files; of equally frequent reasons, the first by name.
            return min(counts, key=lambda reason: (-counts[reason], reason))
        lacking = [name for name in pipelines if (unit, name) not in self._with_directory]
        if lacking and lacking == list(pipelines):
            whose = "the pipeline" if any(lacking) else "the study"
            return Reason("no-directory", f"{whose} has no files of this subject")
        return Reason(NO_FILE, "the study has no such file of this subject")

    def left_out(self) -> list[LeftOut]:
        """List the subjects that are not in the plan by rule, largest first."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        found["the manifest selects it now; compile it again", ""] += self._new_units
        dropped = self._explanation.record.dropped
        for unit, drop in dropped.items():
            found[_without_value(drop.why), self._line(drop.at)].append(unit)
        for omission in self._explanation.omissions:
            if omission.kind is OmissionKind.NO_DIRECTORY:
                key = "it has a row and no directory", self._line(omission.problem.at)
                found[key] += [unit for unit in omission.subjects if unit not in dropped]
        groups = [
            LeftOut(printable(text), where, sorted(units, key=natural_key))
            for (text, where), units in found.items()
            if units
        ]
        return sorted(groups, key=lambda group: (-len(group.units), group.text, group.where))

    def _compare(self, plan: Planned, *, changed: bool) -> Freshness:
        # The page is read elsewhere, where the manifest's directory has no meaning.
        name = self._loaded.path.name
        located = map(self._loaded.locate, self._explanation.problems)
        problems = tuple(str(replace(each, file=each.file and name)) for each in located)
        if problems:
            return Freshness(changed, 0, 0, 0, problems)
        now = {entry.path: _identity(entry) for entry in self._explanation.entries}
        before = {entry.path: _identity(entry) for entry in plan.entries}
        added = now.keys() - before.keys()
        self._added = set(self._groups(added))
        differing = sum(now[path] != before[path] for path in now.keys() & before.keys())
        for path in now:
            self._note_directory(path)
        return Freshness(changed, len(added), len(before.keys() - now.keys()), differing, ())

    def _groups(self, paths: Collection[str]) -> Iterator[Group]:
        """Yield the groups of the files that make a cell complete."""
        for entry in self._explanation.entries:
            if entry.path in paths and entry.reason in COMPLETING:
                group = group_of(self._places(entry.path))
                if group is not None:
                    yield group

    def _read_rejected(self) -> None:
        for path, why, at in self._explanation.rejected():
            group = self._note_directory(path)
            if group is not None:
                excluded = at[-1:] == ("exclude",)
                kind = "excluded" if excluded else "filtered"
                text = f"the study's files are not selected: {why}"
                self._rejected[group][Reason(kind, printable(text), self._line(at))] += 1

    def _note_directory(self, path: str) -> Group | None:
        group = group_of(self._places(path))
        if group is not None:
            self._with_directory.add((group.unit, group.pipeline))
        return group

    def _line(self, at: ManifestPlace) -> str:
        """Return a place in the manifest as file and line."""
        if at not in self._lines:
            found = self._loaded.locate(Problem(message="", at=at))
            where = f"{self._loaded.path.name}:{found.line}" if found.line else dotted(at)
            self._lines[at] = printable(where)
        return self._lines[at]


def _without_value(why: str) -> str:
    """Remove participants' values from a text, since others read the page."""
    return why.partition(": it has ")[0]


def _identity(entry: Entry) -> tuple[int, str | None, str]:
    # Versions are not requested again, because another version has another tag or the same bytes.
    return entry.size, entry.etag, entry.reason
