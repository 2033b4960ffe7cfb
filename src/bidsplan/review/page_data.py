"""The compact data for the report page's script."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from bidsplan.paths import natural_key, printable
from bidsplan.plan.places import placed
from bidsplan.review.proofs import PROOFS, STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.completeness import View
    from bidsplan.review.proofs import Proofs

MOST_FILES = 200_000
"""The most files that the page's table lists, the largest ones."""

_SUBJECT = "\x00"
"""Replaces a subject's directory in the pattern of a path, where it never occurs otherwise."""

_STATES = [*STATES, *(proof.value for proof in PROOFS)]


def page_data(
    plan: Planned, views: Iterable[View], states: Mapping[str, str], proofs: Proofs | None
) -> dict[str, Any]:
    """Return the subjects, views and files for the page's script."""
    units = sorted(plan.header.subjects, key=natural_key)
    return {
        "subjects": [printable(unit) for unit in units],
        "views": [_view_data(view) for view in views],
        "files": _Files(units, states, proofs).data(plan),
        "states": [*STATES.values(), *PROOFS.values()],
    }


def _view_data(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "columns": [[column.above, column.name] for column in view.columns],
        "reasons": [list(reason) for reason in view.reasons],
        "cells": view.cells,
        "marks": [
            [row, column, _STATES.index(state), number]
            for (row, column), found in view.marks.items()
            for state, number in sorted(found.items())
        ],
    }


class _Files:
    """Lists files as path patterns, which most subjects share."""

    def __init__(self, units: list[str], states: Mapping[str, str], proofs: Proofs | None) -> None:
        self._rows = {unit: row for row, unit in enumerate(units)}
        self._states = states
        self._proofs = proofs
        self._patterns: dict[tuple[str, str], int] = {}

    def data(self, plan: Planned) -> dict[str, Any]:
        """Return the patterns, and the files of each group of subjects."""
        files = placed(plan)
        largest = heapq.nlargest(MOST_FILES, files, key=lambda pair: pair[0].size)
        listed = sorted(largest, key=lambda pair: pair[0].path)
        groups: list[tuple[int, str, list[int]]] = []
        for entry, place in listed:
            row = self._rows.get(place.unit or "", -1)
            if not groups or groups[-1][0] != row:
                groups.append((row, f"sub-{place.subject}", []))
            groups[-1][2].extend(self._file(entry, row, groups[-1][1]))
        return {
            "patterns": [list(pattern) for pattern in self._patterns],
            "groups": [[row, subject if row >= 0 else "", files] for row, subject, files in groups],
            "total": plan.header.files,
        }

    def _file(self, entry: Entry, row: int, subject: str) -> list[int]:
        """Return the data of a file: the number of its pattern, its size and state."""
        path = entry.path.replace(subject, _SUBJECT) if row >= 0 else entry.path
        pattern = self._patterns.setdefault((path, entry.reason), len(self._patterns))
        return [pattern, entry.size, self._state(entry.path)]

    def _state(self, path: str) -> int:
        found = self._states.get(path)
        if found is None and self._proofs is not None and path in self._proofs.by_path:
            found = self._proofs.by_path[path].value
        return -1 if found is None else _STATES.index(found)
