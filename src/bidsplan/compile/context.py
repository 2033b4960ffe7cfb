"""The state that all steps of a compilation share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile.survey.participants import read_beside
from bidsplan.errors import Problem, SelectionError
from bidsplan.events import Warned
from bidsplan.messages import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from bidsplan.compile.entries import Selected
    from bidsplan.compile.omissions import Omission
    from bidsplan.compile.select.choice import FileSelection
    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.compile.survey.listing import Lister
    from bidsplan.compile.survey.sources import Roots
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.events import Event
    from bidsplan.help_codes import HelpCode
    from bidsplan.manifest import Manifest
    from bidsplan.plan import Reason
    from bidsplan.storage import Object


class Report:
    """Collects errors and warnings, and passes other events to `notify`.

    `unread` has the files that should be read, and whose content is missing here.
    """

    def __init__(self, notify: Callable[[Event], None] | None) -> None:
        self._notify = notify
        self._lock = Lock()
        self.warnings: set[Problem] = set()
        self.omissions: list[Omission] = []
        self.unread: set[str] = set()
        self._errors: list[Problem] = []

    def add_event(self, event: Event) -> None:
        """Keep a warning, and pass on other events; for any thread."""
        with self._lock:
            if isinstance(event, Warned):
                self.warnings.add(event.problem)
            elif self._notify is not None:
                self._notify(event)

    def warn(self, *problems: Problem) -> None:
        """Add warnings."""
        with self._lock:
            self.warnings.update(problems)

    def add_omissions(self, omissions: Iterable[Omission]) -> None:
        """Add subjects that are left out, with warnings about unsettled reasons."""
        for omission in omissions:
            self.omissions.append(omission)
            if not omission.settled:
                self.warn(omission.problem)

    def add_errors(self, *problems: Problem, help_code: HelpCode | None = None) -> None:
        """Add errors for `raise_errors`; the code is for those without one."""
        self._errors.extend(
            replace(problem, help_code=problem.help_code or help_code) for problem in problems
        )

    def check_known(
        self, names: Iterable[str], known: Collection[str], message: str, at: Place
    ) -> None:
        """Add an error for each unknown name in a list of the manifest."""
        for number, name in enumerate(names):
            if name not in known:
                hint = suggestion(name, known)
                text = message.format(name)
                self.add_errors(Problem(message=text, at=(*at, number), hint=hint))

    def raise_errors(self) -> None:
        """Raise all errors so far as one SelectionError, if there are any."""
        if self._errors:
            raise SelectionError(problems=self._errors)


class Choice(NamedTuple):
    """The files chosen in one dataset, and the place of its filters."""

    dataset: Dataset
    files: FileSelection
    place: Place


class Whole(NamedTuple):
    """A directory that is taken whole, with its files and selected files."""

    dataset: Dataset
    files: Mapping[str, Object]
    reasons: Mapping[str, Reason]


class Dropped(NamedTuple):
    """Why a unit is not selected, and the rule's place in the manifest."""

    why: str
    at: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnGroup:
    """A group of subjects from which a part of the sample was drawn.

    Parameters
    ----------
    group : mapping of str to str or None
        The group's value in each column of ``per`` and ``stratify_by``; None if messages must not
        quote the value. The mapping is empty if the sample has no groups.
    drawn, of : int
        The number of drawn subjects, and the number of subjects in the group.
    """

    group: Mapping[str, str | None]
    drawn: int
    of: int


@dataclass(kw_only=True, slots=True)
class Record:
    """The decisions of a compilation, for explaining them.

    If `detailed` is false, choices and directories are not kept, since they take much memory.
    `units` are the units that the rules have selected so far and, once `decided` is true, the
    plan's units. `dropped` has the reasons for the others. `drawn` are the groups of the sample.
    `directories` are those that are taken whole.
    """

    detailed: bool = False
    decided: bool = False
    units: list[str] = field(default_factory=list)
    dropped: dict[str, Dropped] = field(default_factory=dict)
    drawn: tuple[DrawnGroup, ...] = ()
    choices: list[Choice] = field(default_factory=list)
    directories: list[Whole] = field(default_factory=list)

    def drop(
        self, before: Iterable[str], after: Iterable[str], why: Dropped | Callable[[str], Dropped]
    ) -> None:
        """Note why a step left out units; the reason may be a function."""
        for unit in set(before) - set(after):
            self.dropped[unit] = why if isinstance(why, Dropped) else why(unit)


@dataclass(kw_only=True, slots=True)
class Context:
    """The state that all steps of a compilation share.

    Parameters
    ----------
    base : Path
        The manifest's directory.
    selected : Selected
        Collects the entries for the plan.
    study : list of (Dataset, RootListing)
        The study's own datasets, after they were listed.
    """

    manifest: Manifest
    base: Path
    roots: Roots
    lister: Lister
    report: Report
    record: Record
    selected: Selected
    study: Located = field(default_factory=list)

    def read_beside(self, name: str, at: str) -> bytes:
        """Read a file next to the manifest, which a field of ``subjects`` names."""
        return read_beside(name, at, self.base, untrusted=self.roots.access.untrusted)
