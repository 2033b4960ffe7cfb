"""Explains why a subject or a file is in a plan, or is not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.labels import pair_alike
from bidsplan.bids.names import bare_label, owner_label, subject_label
from bidsplan.compile.omissions import OmissionKind
from bidsplan.errors import Problem, dotted
from bidsplan.messages import nearest
from bidsplan.paths import natural_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bidsplan.compile.context import Choice, Record
    from bidsplan.compile.omissions import Omission
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.manifest import Subjects
    from bidsplan.plan import Entry


_LACKING = {
    OmissionKind.NO_FILE: "has no file that {} selects",
    OmissionKind.NO_DATA: "has metadata, such as sidecars, that {} selects, but no data file",
}
"""What selected subjects lack, by the kind of omission."""


class Answer(NamedTuple):
    """Whether a unit or a path is in the plan, and why."""

    name: str
    taken: bool
    why: str


class Rejected(NamedTuple):
    """A file of a selected subject that is not in the plan.

    Parameters
    ----------
    path : str
        The path that the file would have in the destination.
    why : str
    at : tuple of str or int
        The place of the rule in the manifest.
    """

    path: str
    why: str
    at: Place


def selection_rule(subjects: Subjects) -> str:
    """Name the manifest's rules that select subjects."""
    rules = {
        "subjects.where is met": subjects.where,
        "subjects.include names it": subjects.include,
        "it has files for subjects.require": subjects.require,
        "it is in the random sample": subjects.sample,
    }
    given = [text for text, rule in rules.items() if rule]
    return f"selected: {'; '.join(given) or 'subjects selects all'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The decisions of compiling a manifest, and the reasons.

    Parameters
    ----------
    study : list of (Dataset, RootListing)
        The study's own datasets.
    problems : tuple of Problem
        Problems that prevent the manifest from compiling.
    omissions : tuple of Omission
        Subjects that are left out, or have none of the files, although no rule says so.
    rule : str
        The rule by which the selected subjects are selected.
    entries : sequence of Entry
        The plan's entries; empty if the manifest does not compile.
    archived : collection of str
        Paths of the entries that must be restored before they can be fetched.
    """

    record: Record
    study: Located
    problems: tuple[Problem, ...]
    omissions: tuple[Omission, ...]
    rule: str = "selected"
    entries: Sequence[Entry] = ()
    archived: Collection[str] = ()

    def subjects(self) -> list[Answer]:
        """Explain every subject of the study, sorted."""
        record = self.record
        undecided = self._existing() - {*record.units, *record.dropped}
        lacking: defaultdict[str, list[str]] = defaultdict(list)
        for omission in self.omissions:
            if text := _LACKING.get(omission.kind):
                for unit in omission.subjects:
                    lacking[unit].append(text.format(dotted(omission.problem.at)))
        answers = [
            Answer(unit, True, ", but ".join([self.rule, *lacking.get(unit, ())]))
            for unit in record.units
        ]
        answers += [Answer(unit, False, drop.why) for unit, drop in record.dropped.items()]
        answers += [Answer(unit, False, "not decided while there are errors") for unit in undecided]
        return sorted(answers, key=lambda answer: natural_key(answer.name))

    def _existing(self) -> set[str]:
        """Return the units that have a directory."""
        return {data.unit(label) for data, at_root in self.study for label in at_root.subjects}

    def subject(self, name: str) -> list[Answer]:
        """Explain a subject at each of its sites, by its label."""
        site, slash, label = name.rpartition("/")
        wanted = f"{site}{slash}{bare_label(label)}"
        return [
            answer
            for answer in self.subjects()
            if wanted in {answer.name, answer.name.rpartition("/")[2]}
        ]

    def path(self, path: str) -> Answer | None:
        """Explain a destination path, or a key of the study."""
        answers = [*self._by_choices(path), *self._by_directories(path)]
        # A file that one rule leaves out may be selected by another rule.
        first = min(answers, key=lambda answer: not answer.taken, default=None)
        return first or self._by_subject(path) or self._by_place(path)

    def similar(self, text: str) -> str | None:
        """Return the subject or the path that a text may mean, if it names neither."""
        if "/" not in text:
            paths = chain((entry.path for entry in self.entries), self._rejected_paths())
            if path := next((path for path in paths if path.endswith(f"/{text}")), None):
                return path
        site, slash, label = text.rpartition("/")
        labels = {name.rpartition("/")[2] for name in self._existing() if name.startswith(site)}
        bare = bare_label(label)
        near = next((pair[1] for pair in pair_alike([bare], labels)), None) or nearest(bare, labels)
        return f"{site}{slash}{near}" if near else None

    def _rejected_paths(self) -> Iterator[str]:
        return (rejected.path for rejected in self.rejected())

    def rejected(self) -> Iterator[Rejected]:
        """Yield each unselected file of the selected subjects, and why."""
        for each in self.record.choices:
            for path, rejection in each.files.rejected():
                at = rejection.at
                if not at or isinstance(at[0], int):
                    at = (*each.place, *at)
                yield Rejected(each.dataset.target_path(path), _named(rejection.why, each), at)

    def _by_choices(self, path: str) -> Iterator[Answer]:
        """Explain a file by filters and companions."""
        for choice in self.record.choices:
            dataset = choice.dataset
            for start in (dataset.destination, dataset.prefix):
                below = path.removeprefix(start).replace(f"/{dataset.within}", "/", 1)
                found = choice.files.why(below) if path.startswith(start) else None
                if found is not None:
                    taken, why = found
                    yield Answer(path, taken, _named(why, choice))

    def _by_directories(self, path: str) -> Iterator[Answer]:
        """Explain a file in a directory that is taken whole."""
        for selected in self.record.directories:
            start = selected.dataset.destination
            below = path.removeprefix(start)
            if path.startswith(start) and below in selected.reasons:
                yield Answer(path, True, "dataset: directories names its directory")
            elif path.startswith(start) and below in selected.files:
                yield Answer(path, False, "it is hidden, or an exclude matches it")

    def _by_subject(self, path: str) -> Answer | None:
        """Explain a file of an unselected subject, which was never listed."""
        labels = [owner_label(part) for part in path.split("/")[:-1]]
        for label in labels:
            for answer in self.subject(label) if label else ():
                if not answer.taken:
                    return Answer(path, False, f"its subject is not selected: {answer.why}")
        return None

    def _by_place(self, path: str) -> Answer | None:
        """Explain a path that no rule of the manifest covers."""
        for dataset, at_root in self.study if self.record.decided else ():
            top, slash, _ = path.removeprefix(dataset.destination).partition("/")
            below = slash and path.startswith(dataset.destination)
            if not below or top not in at_root.directories:
                continue
            if top == "derivatives":
                return Answer(path, False, "it is in no selected pipeline of derivatives")
            if subject_label(top) is None:
                return Answer(path, False, f"directories does not name {top!r}")
            places = [choice.place for choice in self.record.choices if choice.files.asks]
            if ("files",) not in places:
                return Answer(path, False, "files are not selected at all")
        return None


def _named(why: str, choice: Choice) -> str:
    """Replace the numbers of filters in a text by their place."""
    if not why.startswith(("[", "selected by [")):
        return why
    where = dotted(part for part in choice.place if part != "filters")
    one = "[0]" if choice.files.number_of_filters == 1 else "["
    return why.replace(one, f"{where}{one}" if one == "[" else where)
