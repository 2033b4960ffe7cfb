"""The models of the study manifest, which validate what people write."""

from bidsplan.manifest.filters import Derivative, EntityRule, Filter
from bidsplan.manifest.model import Companions, Manifest, Sessions
from bidsplan.manifest.subjects import Predicate, Requirement, Sample, Subjects

__all__ = [
    "Companions",
    "Derivative",
    "EntityRule",
    "Filter",
    "Manifest",
    "Predicate",
    "Requirement",
    "Sample",
    "Sessions",
    "Subjects",
]
