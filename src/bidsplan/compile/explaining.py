"""Why a subject or a file is in a plan, or is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.entities import bare_label, subject_label
from bidsplan.errors import Place, Problem, dotted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bidsplan.compile.context import Chosen

__all__ = ["Answer", "Explanation"]


class Answer(NamedTuple):
    """Whether something is in the plan, and why.

    Parameters
    ----------
    name : str
        A unit or a path.
    taken : bool
    why : str
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
    choices : sequence of Chosen
    problems : tuple of Problem
        What would keep the manifest from compiling.
    """

    units: tuple[str, ...]
    dropped: Mapping[str, str]
    choices: Sequence[Chosen]
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
        for dataset, choice, place in self.choices:
            for start in {dataset.destination, dataset.prefix}:
                below = path.removeprefix(start).replace(f"/{dataset.within}", "/", 1)
                found = choice.why(below) if path.startswith(start) else None
                if found is not None:
                    return Answer(path, found[0], _worded(found[1], place))
        return self._by_subject(path)

    def _by_subject(self, path: str) -> Answer | None:
        """Files of subjects that are not selected were never listed."""
        labels = [subject_label(part) for part in path.split("/")[:-1]]
        for label in labels:
            for answer in self.subject(label) if label else ():
                if not answer.taken:
                    return Answer(path, False, f"its subject is not selected: {answer.why}")
        return None


def _worded(why: str, place: Place) -> str:
    """Write the filters that an answer names as the manifest does."""
    written = dotted(part for part in place if part != "filters")
    return why.replace("[", f"{written}[") if why.startswith(("[", "selected by [")) else why
