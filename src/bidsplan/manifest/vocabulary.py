"""Words of a manifest that the BIDS schema does not know."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bidsplan.bids.schema import datatypes, entities, suffixes
from bidsplan.errors import Problem
from bidsplan.messages import nearest
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.errors import Place
    from bidsplan.manifest import Filter, Manifest


_LONGEST_SHOWN = 60


def vocabulary_warnings(manifest: Manifest) -> Iterator[Problem]:
    """Tell the words of a manifest's filters that BIDS does not know.

    Derivatives may use words of their own, so there only slips of upper and lower case and long
    names of entities are told.
    """
    for number, filter_ in enumerate(manifest.files):
        yield from _warnings(filter_, ("files", number), strangers=True)
    for number, requirement in enumerate(manifest.subjects.require):
        raw = requirement.derivative is None
        yield from _warnings(requirement.filter, ("subjects", "require", number), strangers=raw)
    derivatives = {} if manifest.derivatives == "all" else manifest.derivatives
    for name, derivative in derivatives.items():
        for number, filter_ in enumerate(derivative.filters):
            place = ("derivatives", name, "filters", number)
            yield from _warnings(filter_, place, strangers=False)


def _warnings(filter_: Filter, place: Place, *, strangers: bool) -> Iterator[Problem]:
    words = [
        ("datatypes", "datatype", filter_.datatypes, datatypes),
        ("suffixes", "suffix", filter_.suffixes, suffixes),
    ]
    for field, noun, wanted, known in words:
        for number, word in enumerate(wanted or ()):
            # Asked for only where there are words, for the sake of the time it takes.
            if word not in known():
                yield from _stranger(word, noun, known(), (*place, field, number), told=strangers)
    for key in filter_.entities or {}:
        if key not in entities():
            short = next((name for name, long in entities().items() if long == key), None)
            hint = f"did you mean {short!r}?" if short else None
            at = (*place, "entities", key)
            keys = frozenset(entities())
            yield from _stranger(key, "entity", keys, at, told=strangers, hint=hint)


@functools.cache
def _folded(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def _stranger(
    word: str,
    noun: str,
    known: frozenset[str],
    at: Place,
    *,
    told: bool,
    hint: str | None = None,
) -> Iterator[Problem]:
    # A word of a pipeline's own may well resemble one of BIDS; only its case is a slip.
    if told or hint or word.casefold() in _folded(known):
        near = None if hint else nearest(word, known)
        hint = hint or (f"did you mean {near!r}?" if near else None)
        shown = printable(word[:_LONGEST_SHOWN])
        yield Problem(message=f"{shown!r} is no {noun} that BIDS knows", at=at, hint=hint)
