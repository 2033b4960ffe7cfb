"""The plan: exactly which files to fetch, from where and to where.

A plan is the interface between the project's halves: compilation produces it, and fetching and
verification start from it and know nothing of manifests. Its models are msgspec structures, since
a plan may hold a million entries.
"""

from bidsplan.plan.model import Entry, Header, Reason, Root
from bidsplan.plan.plan import ClashFinder, Plan, Planned, clashes

__all__ = [
    "ClashFinder",
    "Entry",
    "Header",
    "Plan",
    "Planned",
    "Reason",
    "Root",
    "clashes",
]
