"""The plan: which files to fetch, from where, and to where.

Compiling produces a plan. Fetching and verifying use the plan only, and never the manifest. The
models are msgspec structures, since a plan may have a million entries.
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
