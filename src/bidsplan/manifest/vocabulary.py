"""Finds words in a manifest that the BIDS schema does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.bids.schema import datatypes, entities, suffixes
from bidsplan.errors import Problem
from bidsplan.messages import nearest
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bidsplan.errors import Place
    from bidsplan.manifest import Filter, Manifest


_LONGEST_SHOWN = 60


def vocabulary_warnings(manifest: Manifest) -> Iterator[Problem]:
    """Yield the words of a manifest's filters that BIDS does not know.

    Derivatives may use their own words. For them, only words in the wrong case and long names of
    entities are reported.
    """
    for number, filter_ in enumerate(manifest.files):
        yield from _warnings(filter_, ("files", number), strict=True)
    for number, requirement in enumerate(manifest.subjects.require):
        raw = requirement.derivative is None
        yield from _warnings(requirement.filter, ("subjects", "require", number), strict=raw)
    derivatives = {} if manifest.derivatives == "all" else manifest.derivatives
    for name, derivative in derivatives.items():
        for number, filter_ in enumerate(derivative.filters):
            place = ("derivatives", name, "filters", number)
            yield from _warnings(filter_, place, strict=False)


def _warnings(filter_: Filter, place: Place, *, strict: bool) -> Iterator[Problem]:
    words: list[tuple[str, str, tuple[str, ...], Callable[[], frozenset[str]]]] = [
        ("datatypes", "datatype", filter_.datatypes or (), datatypes),
        ("suffixes", "suffix", filter_.suffixes or (), suffixes),
    ]
    for field, noun, wanted, known in words:
        # The schema takes time to load, so it is not loaded if there are no words.
        folded = {word.casefold() for word in known()} if wanted and not strict else ()
        for number, word in enumerate(wanted):
            if word not in known() and (strict or word.casefold() in folded):
                yield _unknown(word, noun, nearest(word, known()), (*place, field, number))
    for key in filter_.entities or {}:
        if key not in entities():
            short = next((name for name, long in entities().items() if long == key), None)
            if short or strict or key.casefold() in map(str.casefold, entities()):
                near = short or nearest(key, entities())
                yield _unknown(key, "entity", near, (*place, "entities", key))


def _unknown(word: str, noun: str, near: str | None, at: Place) -> Problem:
    shown = printable(word[:_LONGEST_SHOWN])
    hint = f"did you mean {near!r}?" if near else None
    return Problem(message=f"{shown!r} is not a BIDS {noun}", at=at, hint=hint)
