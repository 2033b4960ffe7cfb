"""Keeping the subjects that have the files that a manifest requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.derivatives import list_pipeline
from bidsplan.compile.listings import list_subjects
from bidsplan.compile.subjects import labels_in
from bidsplan.errors import Problem
from bidsplan.selection.choosing import Choice, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.study import Located
    from bidsplan.manifest import Requirement

__all__ = ["keep_required"]


def keep_required(context: Context, raw: Located, units: list[str]) -> list[str]:
    """Keep the units that have a file for each requirement, within the selected sessions.

    Parameters
    ----------
    context : Context
    raw : list of (Dataset, Survey)
    units : list of str

    Returns
    -------
    list of str
    """
    for number, requirement in enumerate(context.manifest.subjects.require):
        having = _having(context, raw, units, requirement)
        if units and not having:
            problem = Problem(
                message="no subject has what is required here",
                at=("subjects", "require", number),
                hint="names are exact and case-sensitive",
            )
            context.report.blame([problem])
        kept = [unit for unit in units if unit in having]
        why = f"it has no file for subjects.require[{number}]"
        context.record.drop(units, kept, dict.fromkeys(units, why).__getitem__)
        units = kept
    context.report.raise_errors()
    return units


def _having(
    context: Context, raw: Located, units: Sequence[str], requirement: Requirement
) -> set[str]:
    """Find the units that have a file for one requirement."""
    from bidsplan.manifest import Companions, Derivative  # noqa: PLC0415 - imports pydantic

    wanted = context.manifest.derivatives
    name = requirement.derivative
    if name is None:
        listings = list_subjects(context, raw, units)
    else:
        pipeline = Derivative() if wanted == "all" else wanted.get(name, Derivative())
        listings = list_pipeline(context, raw, units, name, pipeline)
    having: set[str] = set()
    for dataset, _, below in listings:
        labels = labels_in(dataset, units)
        request = Request(
            filters=(requirement.filter,),
            subjects=frozenset(labels),
            sessions=context.manifest.sessions,
            derivative=name is not None,
            companions=Companions.model_validate("none"),
            dataset_files="none",
        )
        found = Choice(below, (), request).selection.subjects
        having.update(labels[label] for label in found)
    return having
