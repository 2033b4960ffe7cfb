"""Which subjects a manifest selects: by label, then by draw."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from bidsplan.compile.select.globs import compile_glob, is_glob
from bidsplan.compile.select.sampling import allocate, rank_order, share, shuffle_order
from bidsplan.errors import Problem
from bidsplan.messages import Hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bidsplan.manifest import Sample, Subjects


def site_of(unit: str) -> str:
    """Return the site of a ``site/label`` unit; empty where there is none."""
    return unit.rpartition("/")[0]


def label_of(unit: str) -> str:
    """Return a unit's subject label, without ``sub-``."""
    return unit.rpartition("/")[2]


def included(
    units: Sequence[str], known: Iterable[str], wanted: Subjects, shown: Iterable[str]
) -> tuple[list[str], list[Problem]]:
    """Keep the units that ``subjects.include`` names; report the texts that name none.

    Parameters
    ----------
    units : sequence of str
        Labels, or ``site/label``.
    known, shown : iterable of str
        Every unit of the study, also those that another rule has dropped, as naming one of them is
        no mistake; and those of them that messages may name.
    """
    if wanted.include is None:
        return list(units), []
    named, problems = _match(wanted.include, known, shown, "include")
    return [unit for unit in units if label_of(unit) in named], problems


def excluded(
    units: Sequence[str], known: Iterable[str], wanted: Subjects, shown: Iterable[str]
) -> tuple[list[str], list[Problem]]:
    """Drop the units that ``subjects.exclude`` names; see `included`."""
    if not wanted.exclude:
        return list(units), []
    named, problems = _match(wanted.exclude, known, shown, "exclude")
    return [unit for unit in units if label_of(unit) not in named], problems


def _match(
    texts: Iterable[str], known: Iterable[str], shown: Iterable[str], field: str
) -> tuple[set[str], list[Problem]]:
    """Find the labels that texts name or match, and the texts that name none."""
    labels = {label_of(unit) for unit in known}
    named: set[str] = set()
    missing: list[tuple[int, str]] = []
    for number, text in enumerate(texts):
        if is_glob(text):
            found = set(filter(compile_glob(text, dots=True).fullmatch, labels))
        else:
            found = labels & {text}
        named |= found
        if not found:
            missing.append((number, text))
    hint = Hints({label_of(unit) for unit in shown} if missing else ())
    problems = []
    for number, text in missing:
        message = f"{'no subject matches' if is_glob(text) else 'there is no subject'} {text!r}"
        if field == "exclude":
            message = f"there is no subject {text!r} to exclude"
        at = ("subjects", field, number)
        problems.append(Problem(message=message, at=at, hint=hint(text)))
    return named, problems


def draw(
    units: Sequence[str], sample: Sample, seed: int, stratum_of: Callable[[str], str]
) -> tuple[list[str], list[Problem]]:
    """Draw a sample of labels or ``site/label``, sorted; report where there are too few."""
    groups = _group(units, site_of) if sample.per == "site" else {"": list(units)}
    order = shuffle_order if sample.method == "shuffle" else rank_order
    drawn: list[str] = []
    problems: list[Problem] = []
    for site, group in sorted(groups.items()):
        count = sample.count or share(sample.fraction or Decimal(0), len(group))
        if count > len(group):
            where = f" at {site}" if site else ""
            problems.append(
                Problem(
                    message=f"{count} subjects are to be sampled of {len(group)}{where}",
                    at=("subjects", "sample", "count"),
                    hint="sample fewer, or select more by include, exclude and where",
                )
            )
            continue
        strata = _group(group, stratum_of) if sample.stratify_by else {"": group}
        for name, number in allocate(count, strata).items():
            drawn += order(strata[name], seed)[:number]
    return sorted(drawn), problems


def _group(units: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for unit in units:
        groups[key(unit)].append(unit)
    return groups
