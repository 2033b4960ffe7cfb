"""The study manifest: what people write, validated."""

from __future__ import annotations

from bidsplan.manifest.filters import Derivative, EntityRule, Filter
from bidsplan.manifest.model import Companions, Limits, Manifest, Sessions, Study
from bidsplan.manifest.subjects import CohortTable, Predicate, Requirement, Sample, Subjects

__all__ = [
    "CohortTable",
    "Companions",
    "Derivative",
    "EntityRule",
    "Filter",
    "Limits",
    "Manifest",
    "Predicate",
    "Requirement",
    "Sample",
    "Sessions",
    "Study",
    "Subjects",
]
