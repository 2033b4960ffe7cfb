"""Selects subjects by label, and draws samples of them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bidsplan.bids.labels import normal_label, pair_alike
from bidsplan.bids.names import bare_label
from bidsplan.compile.select.globs import compile_glob, is_glob
from bidsplan.compile.select.sampling import allocate, rank_order, share, shuffle_order
from bidsplan.errors import Problem
from bidsplan.messages import Hints
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bidsplan.manifest import Sample

_Key = TypeVar("_Key", str, tuple[str, ...])

_SHOWN = 3
"""The number of labels of each side that are shown if a file's lines match no subject."""


def site_of(unit: str) -> str:
    """Return the site of a ``site/label`` unit; empty without sites."""
    return unit.rpartition("/")[0]


def label_of(unit: str) -> str:
    """Return a unit's subject label, without ``sub-``."""
    return unit.rpartition("/")[2]


def named_label(unit: str) -> str:
    """Return a unit's label in the form for comparisons."""
    return normal_label(label_of(unit))


class NameChoice(NamedTuple):
    """Chooses units by the labels to include and to exclude."""

    included: set[str] | None = None
    excluded: frozenset[str] | set[str] = frozenset()

    def includes(self, unit: str) -> bool:
        """Report whether a unit is included, even if it is also excluded."""
        return self.included is None or named_label(unit) in self.included

    def keeps(self, unit: str) -> bool:
        """Report whether a unit is included and not excluded."""
        return self.includes(unit) and named_label(unit) not in self.excluded


def match_labels(texts: Iterable[str], known: Iterable[str]) -> tuple[set[str], dict[int, str]]:
    """Find the labels that texts match, and the texts without a match.

    `known` has all units of the study, including those that other rules have left out: a text that
    names one of these is not a mistake.
    """
    labels = {named_label(unit) for unit in known}
    named: set[str] = set()
    missing: dict[int, str] = {}
    for number, text in enumerate(texts):
        if is_glob(text):
            found = set(filter(compile_glob(text, dots=True).fullmatch, labels))
        else:
            found = labels & {text}
        named |= found
        if not found:
            missing[number] = text
    return named, missing


def find_mistakes(missing: Mapping[int, str], shown: Iterable[str]) -> dict[int, str]:
    """Return the texts without a match that are mistakes, and not labels of another study.

    A mistake spells one of the units in `shown` differently, is several labels in one text, or is
    the name of a file.
    """
    alike = _alike(missing.values(), {label_of(unit) for unit in shown} if missing else set())
    return {n: text for n, text in missing.items() if text in alike or _rewritten(text, "")}


def _alike(texts: Iterable[str], labels: set[str]) -> dict[str, str]:
    """Find the label of the study that each text means, if the two differ only in spelling."""
    texts = set(texts)
    alike = {text: label for text, label, _ in pair_alike(texts, labels)}
    folded = {label.casefold(): label for label in labels}
    for glob in filter(is_glob, texts):
        pattern = compile_glob(glob.casefold(), dots=True)
        found = (label for form, label in folded.items() if pattern.fullmatch(form))
        if label := min(found, default=None):
            alike[glob] = label
    return alike


_FILE_NAME = re.compile(r".+\.(?:txt|tsv|csv|list|lst|dat|json|ya?ml|xlsx?)", re.IGNORECASE)
_RANGE = re.compile(r"[^\W_]*[0-9] {0,9}(?:-|–|\.\.\.?|:)(?: {0,9}sub-)?[^\W_]*[0-9]")


def _rewritten(text: str, field: str) -> str | None:
    """Return how to write what can't be one label: several labels, a range, a file's name."""
    if _RANGE.fullmatch(text):
        return 'ranges are not expanded; write each label, or a glob such as "0*"'
    labels = [bare_label(label) for label in re.split(r"[,;\s]+", text) if label]
    if len(labels) > 1:
        written = printable(json.dumps(labels, ensure_ascii=False))
        return f"write each label as its own item: {written}"
    if _FILE_NAME.fullmatch(text):
        return f"if it is a file of labels write '{field}: {{file: {printable(text)}}}'"
    return None


def report_missing(
    missing: Mapping[int, str], shown: Iterable[str], field: str, file: str | None
) -> list[Problem]:
    """Report the texts of a field, or its file, that match no subject.

    `shown` are the units that messages may name.
    """
    labels = {label_of(unit) for unit in shown} if missing else set()
    alike = _alike(missing.values(), labels)
    if file is not None:
        return _report_missing_in(file, missing, labels, alike, field) if missing else []
    hints = Hints(labels)
    problems = []
    for number, text in missing.items():
        message = f"{'no subject matches' if is_glob(text) else 'there is no subject'} {text!r}"
        if field == "exclude":
            message = f"there is no subject {text!r} to exclude"
        at = ("subjects", field, number)
        near = alike.get(text)
        hint = f"did you mean {printable(near)!r}?" if near else _rewritten(text, field)
        problems.append(Problem(message=message, at=at, hint=hint or hints(text)))
    return problems


def _report_missing_in(
    file: str, missing: Mapping[int, str], known: set[str], alike: Mapping[str, str], field: str
) -> list[Problem]:
    """Report all unmatched lines of a file as one problem."""
    texts = list(missing.values())
    verb = "line names" if len(texts) == 1 else "lines name"
    named = ", ".join(map(repr, texts[:_SHOWN])) + ", …" * (len(texts) > _SHOWN)
    message = f"{len(texts):,} {verb} no subject of the study: {named}"
    some = [alike[text] for text in texts if text in alike] or sorted(known)
    names = ", ".join(repr(printable(name)) for name in some[:_SHOWN])
    hint = f"the study has {names}{', …' * (len(known) > _SHOWN)}" if some else None
    return [Problem(message=f"{file}: {message}", at=("subjects", field, "file"), hint=hint)]


class Group(NamedTuple):
    """A group of units with equal values, and how many are to be drawn.

    `values` are those of ``per``, and then those of ``stratify_by``.
    """

    values: tuple[str, ...]
    drawn: int
    of: int


def draw(
    units: Sequence[str], sample: Sample, seed: int, value_of: Callable[[str, str], str]
) -> tuple[list[str], list[Group]]:
    """Draw a sorted sample of units; return it with its groups.

    If a group has too few units, none of them are drawn. `value_of` returns a unit's value in a
    column.
    """
    order = shuffle_order if sample.method == "shuffle" else rank_order
    drawn: list[str] = []
    groups: list[Group] = []

    def values_of(unit: str, columns: Iterable[str]) -> tuple[str, ...]:
        return tuple(value_of(unit, column) for column in columns)

    # Without `per`, there is a group even if there are no units.
    per = _group(units, lambda unit: values_of(unit, sample.per)) if sample.per else {(): [*units]}
    for values, members in sorted(per.items()):
        count = sample.count or share(sample.fraction or Decimal(0), len(members))
        if count > len(members):
            groups.append(Group(values, count, len(members)))
            continue
        strata = _group(members, lambda unit: "/".join(values_of(unit, sample.stratify_by)))
        for name, number in allocate(count, strata).items():
            below = values_of(strata[name][0], sample.stratify_by)
            groups.append(Group((*values, *below), number, len(strata[name])))
            drawn += order(strata[name], seed)[:number]
    return sorted(drawn), groups


def _group(units: Iterable[str], key: Callable[[str], _Key]) -> dict[_Key, list[str]]:
    groups: dict[_Key, list[str]] = defaultdict(list)
    for unit in units:
        groups[key(unit)].append(unit)
    return groups
