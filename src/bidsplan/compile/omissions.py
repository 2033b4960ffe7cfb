"""Subjects or files that are missing although no rule says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bidsplan.errors import Problem, dotted
from bidsplan.messages import listed
from bidsplan.paths import natural_key, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bidsplan.compile.select.findings import Findings
    from bidsplan.errors import Place


class OmissionKind(StrEnum):
    """Why a subject is left out although no rule says so."""

    NO_ROW = "no-row"
    """The subject has a directory, but no row in the table."""
    NO_DIRECTORY = "no-directory"
    """The subject has a row in the table, but no directory."""
    SPELLING = "spelling"
    """The subject's label is spelt differently in its row and its directory."""
    NOT_COMPARABLE = "not-comparable"
    """A cell of the subject's row can't be compared with the manifest's condition."""
    NO_FILE = "no-file"
    """The subject is selected, but has none of the selected files."""
    NO_DATA = "no-data"
    """The subject has selected metadata, such as sidecars, without its data file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Omission:
    """Subjects that are left out, or without files, for one reason.

    Parameters
    ----------
    kind : OmissionKind
    number : int
        The number of subjects.
    subjects : tuple of str
        The subjects that messages may name, in natural order.
    problem : Problem
        The reason, with some of the subjects, and the word in the manifest that would settle it.
    settled : bool
        Whether the manifest has that word, so that there is no warning.
    """

    kind: OmissionKind
    number: int
    subjects: tuple[str, ...]
    problem: Problem
    settled: bool = False


def counted(number: int, noun: str, verb: str, verbs: str) -> str:
    """Write a number of things with a verb, in singular or plural."""
    return f"{number:,} {noun} {verb}" if number == 1 else f"{number:,} {noun}s {verbs}"


def omission(
    kind: OmissionKind,
    units: Collection[str],
    parts: tuple[str, Place, str],
    *,
    shown: Mapping[str, str] | None = None,
    settled: bool = False,
) -> Omission:
    """Make an omission of units, with its text, place and hint.

    `shown` maps the units that messages may name to their printed names; by default all units.
    """
    text, at, hint = parts
    shown = {unit: repr(unit) for unit in units} if shown is None else shown
    names = tuple(sorted(shown, key=natural_key))
    named = listed((shown[name] for name in names), len(units))
    message = f"{text}: {named}" if named else text
    problem = Problem(message=message, at=at, hint=hint)
    return Omission(kind=kind, number=len(units), subjects=names, problem=problem, settled=settled)


def find_without_files(units: Sequence[str], findings: Findings, at: Place) -> Iterator[Omission]:
    """Find selected units for which the filters at a place select no file, or no data."""
    # If no subject has such a file, the filters themselves are reported.
    lacking = [unit for unit in units if unit not in findings.units] if findings.units else []
    hint = "ask for such a file in subjects.require to leave them out, or exclude them"
    for kind, what in (
        (OmissionKind.NO_FILE, "no file"),
        (OmissionKind.NO_DATA, "only metadata, and no data file,"),
    ):
        touched = kind is OmissionKind.NO_DATA
        some = [unit for unit in lacking if (unit in findings.touched) == touched]
        if some:
            count = f"{len(some):,} of {len(units):,} selected subjects"
            text = f"{count} {'has' if len(some) == 1 else 'have'} {what} that {dotted(at)} selects"
            yield omission(kind, some, (text, at, hint))
    if orphans := findings.orphans.keys() - set(lacking):
        text = counted(len(orphans), "subject", "has", "have")
        text += " metadata, such as sidecars, but no data file"
        shown = {unit: f"{unit!r} ({printable(findings.orphans[unit])})" for unit in orphans}
        hint = "leave the metadata out with 'exclude' in the filter, or exclude the subjects"
        yield omission(OmissionKind.NO_DATA, orphans, (text, at, hint), shown=shown)
