"""Why a subject or a file is in a plan, or is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.names import bare_label, subject_label
from bidsplan.errors import Place, Problem, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bidsplan.compile.context import Chosen
    from bidsplan.compile.entries import DatasetEntries
    from bidsplan.compile.survey.study import Located


class Answer(NamedTuple):
    """Whether something is in the plan, and why.

    Parameters
    ----------
    name : str
        A unit or a path.
    """

    name: str
    taken: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What compiling a manifest decided.

    Parameters
    ----------
    units : tuple of str
        The selected units.
    dropped : mapping of str to str
        Why each other unit is not.
    directories : sequence of DatasetEntries
        What is taken whole.
    study : list of (Dataset, Survey)
        The study's own datasets.
    problems : tuple of Problem
        What would keep the manifest from compiling.
    """

    units: tuple[str, ...]
    dropped: Mapping[str, str]
    choices: Sequence[Chosen]
    directories: Sequence[DatasetEntries] = ()
    study: Located = field(default_factory=list)
    problems: tuple[Problem, ...] = ()

    def subjects(self) -> list[Answer]:
        """Tell of every subject of the study, sorted."""
        answers = [Answer(unit, True, "selected") for unit in self.units]
        answers += [Answer(unit, False, why) for unit, why in self.dropped.items()]
        return sorted(answers)

    def subject(self, name: str) -> list[Answer]:
        """Tell of a subject, at each site that has it.

        Parameters
        ----------
        name : str
            A label or a unit, with or without ``sub-``.

        Returns
        -------
        list of Answer
            Empty where there is no such subject.
        """
        site, slash, label = name.rpartition("/")
        wanted = f"{site}{slash}{bare_label(label)}"
        return [
            answer
            for answer in self.subjects()
            if wanted in {answer.name, answer.name.rpartition("/")[2]}
        ]

    def path(self, path: str) -> Answer | None:
        """Tell of a file.

        Parameters
        ----------
        path : str
            Below the destination, or a key below the study's root.

        Returns
        -------
        Answer or None
            None where no listed dataset has it.
        """
        answers = [*self._by_choices(path), *self._by_directory(path)]
        # What one rule drops, another may take.
        first = min(answers, key=lambda answer: not answer.taken, default=None)
        return first or self._by_subject(path) or self._not_listed(path)

    def _by_choices(self, path: str) -> Iterator[Answer]:
        """Tell what filters and companions say of a file."""
        for dataset, choice, place in self.choices:
            for start in (dataset.destination, dataset.prefix):
                below = path.removeprefix(start).replace(f"/{dataset.within}", "/", 1)
                found = choice.why(below) if path.startswith(start) else None
                if found is not None:
                    yield Answer(path, found[0], _worded(found[1], place))

    def _by_directory(self, path: str) -> Iterator[Answer]:
        """Tell of a file in a directory that is taken whole."""
        for taken in self.directories:
            start = taken.dataset.destination
            below = path.removeprefix(start)
            if path.startswith(start) and below in taken.reasons:
                yield Answer(path, True, "dataset: directories names its directory")
            elif path.startswith(start) and below in taken.files:
                yield Answer(path, False, "it is hidden, or an exclude takes it away")

    def _by_subject(self, path: str) -> Answer | None:
        """Files of subjects that are not selected were never listed."""
        labels = [subject_label(part) for part in path.split("/")[:-1]]
        for label in labels:
            for answer in self.subject(label) if label else ():
                if not answer.taken:
                    return Answer(path, False, f"its subject is not selected: {answer.why}")
        return None

    def _not_listed(self, path: str) -> Answer | None:
        """Tell of a place that no rule of the manifest looks into; what it holds is not known."""
        for dataset, survey in self.study:
            below = path.removeprefix(dataset.destination)
            top, slash, _ = below.partition("/")
            if not slash or not path.startswith(dataset.destination):
                continue
            if top == "derivatives" and top in survey.directories:
                return Answer(path, False, "no pipeline that derivatives names would hold it")
            if top in survey.directories and subject_label(top) is None:
                return Answer(path, False, f"directories does not name {top!r}")
            if top in survey.directories and not self._files_are_asked_for():
                return Answer(path, False, "files are not selected at all")
        return None

    def _files_are_asked_for(self) -> bool:
        return any(chosen.choice.asks for chosen in self.choices if chosen.place == ("files",))


def _worded(why: str, place: Place) -> str:
    """Write the filters that an answer names as the manifest does."""
    written = dotted(part for part in place if part != "filters")
    return why.replace("[", f"{written}[") if why.startswith(("[", "selected by [")) else why
