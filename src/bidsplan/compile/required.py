"""Keeping the subjects that have the files that a manifest requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.compile.derivatives import list_pipeline, no_pipeline
from bidsplan.compile.layouts import list_subjects
from bidsplan.compile.select.choice import FileSelection, Request
from bidsplan.compile.select.findings import Findings
from bidsplan.compile.subjects import labels_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.manifest import Requirement


def keep_required(context: Context, raw: Located, units: list[str]) -> list[str]:
    """Keep the units that have a file for each requirement, within the selected sessions."""
    for number, requirement in enumerate(context.manifest.subjects.require):
        having = _having(context, raw, units, requirement, ("subjects", "require", number))
        kept = [unit for unit in units if unit in having]
        why = f"it has no file for subjects.require[{number}]"
        context.record.drop(units, kept, dict.fromkeys(units, why).__getitem__)
        units = kept
    context.report.raise_errors()
    return units


def _having(
    context: Context, raw: Located, units: Sequence[str], requirement: Requirement, place: Place
) -> set[str]:
    """Find the units that have a file for one requirement; that none has is told."""
    from bidsplan.manifest import Companions, Derivative  # imports pydantic

    wanted = context.manifest.derivatives
    name = requirement.derivative
    pipeline = Derivative() if wanted == "all" else wanted.get(name or "", Derivative())
    if name is None:
        listings = list_subjects(context, raw, units)
    else:
        listings = list_pipeline(context, raw, units, name, pipeline)
        if units and not listings:
            at = (*place, "derivative")
            context.report.add_errors([no_pipeline(context, raw, units, name, pipeline, at)])
            return set()
    having: set[str] = set()
    findings = Findings((requirement.filter,))
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
        found = FileSelection(below, (), request)
        findings.merge(found.findings)
        having.update(labels[label] for label in found.subjects)
    if units:
        context.report.add_errors(findings.errors(place))
    return having
