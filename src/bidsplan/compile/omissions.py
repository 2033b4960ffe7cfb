"""Subjects that a plan leaves out, or has no file of, without any rule that says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bidsplan.errors import Problem, dotted
from bidsplan.messages import listed
from bidsplan.paths import natural_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bidsplan.errors import Place


class OmissionKind(StrEnum):
    """Why a subject is left out without a rule that says so."""

    NO_ROW = "no-row"
    """It has a directory, and no row in the table."""
    NO_DIRECTORY = "no-directory"
    """It has a row, and no directory."""
    SPELLING = "spelling"
    """Its row spells its label in another way than its directory."""
    NOT_COMPARABLE = "not-comparable"
    """A cell of its row can't be compared with what the manifest asks."""
    NO_FILE = "no-file"
    """It is selected, and has none of the files that are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Omission:
    """Subjects that a plan leaves out, or has no file of, for one reason.

    Parameters
    ----------
    kind : OmissionKind
    number : int
        How many subjects.
    subjects : tuple of str
        Those that messages may name, in natural order.
    problem : Problem
        The reason with the first of the subjects, and the word of the manifest that settles it.
    settled : bool
        Whether the manifest has that word, so that this is no warning.
    """

    kind: OmissionKind
    number: int
    subjects: tuple[str, ...]
    problem: Problem
    settled: bool = False


def counted(number: int, noun: str, verb: str, verbs: str) -> str:
    """Write a number of things and its verb, in the singular or plural."""
    return f"{number:,} {noun} {verb}" if number == 1 else f"{number:,} {noun}s {verbs}"


def omission(
    kind: OmissionKind,
    units: Collection[str],
    parts: tuple[str, Place, str],
    *,
    shown: Mapping[str, str] | None = None,
    settled: bool = False,
) -> Omission:
    """Make an omission of units from a text about them, its place and what to do.

    `shown` has the units that messages may name, with how they name them; by default all.
    """
    text, at, hint = parts
    shown = {unit: repr(unit) for unit in units} if shown is None else shown
    names = tuple(sorted(shown, key=natural_key))
    named = listed((shown[name] for name in names), len(units))
    message = f"{text}: {named}" if named else text
    problem = Problem(message=message, at=at, hint=hint)
    return Omission(kind=kind, number=len(units), subjects=names, problem=problem, settled=settled)


def find_without_files(units: Sequence[str], having: set[str], at: Place) -> Iterator[Omission]:
    """Find the selected units that have no file which the filters at a place select."""
    # Where nobody has such a file, the filters are reported.
    lacking = [unit for unit in units if unit not in having]
    if lacking and having:
        count = f"{len(lacking):,} of {len(units):,} selected subjects"
        verb = "has" if len(lacking) == 1 else "have"
        text = f"{count} {verb} no file that {dotted(at)} selects"
        hint = "ask for such a file in subjects.require to leave them out, or exclude them"
        yield omission(OmissionKind.NO_FILE, lacking, (text, at, hint))
