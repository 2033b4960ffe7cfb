"""What every step of a compilation needs, and where each step says what it found odd."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import Problem, SelectionError
from bidsplan.events import Warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bidsplan.compile.entries import DatasetEntries
    from bidsplan.compile.select.choice import FileSelection
    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.compile.survey.listing import Lister
    from bidsplan.compile.survey.sources import Roots
    from bidsplan.errors import Place
    from bidsplan.events import Event
    from bidsplan.manifest import Manifest


class Report:
    """Collects what is wrong and what is odd, so that all of it is told at once, and sorted.

    Parameters
    ----------
    notify : callable
        Takes each event that is no warning, one at a time.
    """

    def __init__(self, notify: Callable[[Event], None]) -> None:
        self._notify = notify
        self._lock = Lock()
        self._warnings: set[Problem] = set()
        self._errors: list[Problem] = []

    def add_event(self, event: Event) -> None:
        """Keep a warning back, and pass any other event on; from any thread."""
        with self._lock:
            if isinstance(event, Warned):
                self._warnings.add(event.problem)
            else:
                self._notify(event)

    def warn(self, problems: Iterable[Problem]) -> None:
        """Add warnings."""
        with self._lock:
            self._warnings.update(problems)

    def add_errors(self, problems: Iterable[Problem]) -> None:
        """Add errors, which `raise_errors` raises."""
        self._errors.extend(problems)

    def raise_errors(self) -> None:
        """Raise all errors so far as one.

        Raises
        ------
        SelectionError
            Where there are any.
        """
        if self._errors:
            raise SelectionError(problems=self._errors)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """All warnings so far, sorted."""
        return tuple(sorted(self._warnings, key=str))


class Chosen(NamedTuple):
    """One dataset's choice, and where the manifest asks for it.

    Parameters
    ----------
    place : tuple of str or int
        Of the filters in the manifest.
    """

    dataset: Dataset
    choice: FileSelection
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What was decided, for those who ask why.

    Parameters
    ----------
    detailed : bool
        Whether `choices` are kept, which take twice the memory of all else.
    dropped : dict of str to str
        Why each unit that is not selected is not.
    directories : list of DatasetEntries
        What is taken whole.
    """

    detailed: bool = False
    dropped: dict[str, str] = field(default_factory=dict)
    choices: list[Chosen] = field(default_factory=list)
    directories: list[DatasetEntries] = field(default_factory=list)

    def choose(self, chosen: Chosen) -> None:
        """Note one dataset's choice."""
        if self.detailed:
            self.choices.append(chosen)

    def drop(self, before: Iterable[str], after: Iterable[str], why: Callable[[str], str]) -> None:
        """Note why units were dropped by one step.

        Parameters
        ----------
        before, after : iterable of str
            The units that the step met, and those that it kept.
        why : callable
            Says it of a unit.
        """
        self.dropped.update({unit: why(unit) for unit in set(before) - set(after)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What every step of a compilation needs.

    Parameters
    ----------
    untrusted : bool
        Whether to refuse what a stranger's manifest could abuse.
    """

    manifest: Manifest
    roots: Roots
    lister: Lister
    report: Report
    untrusted: bool = False
    record: Record = field(default_factory=Record)
