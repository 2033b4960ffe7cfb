"""The plan: which bytes go where, resolved.

A plan is the seam of the project. What compiles a manifest ends here; what fetches and verifies
starts here and knows nothing of manifests. The models are msgspec structures, since a plan may
hold a million entries.
"""

from __future__ import annotations

from bidsplan.plan.models import PLAN_VERSION, Entry, Header, Reason, Root
from bidsplan.plan.plans import Plan, Planned, clashes
from bidsplan.plan.reading import parse_lines, read_entries

__all__ = [
    "PLAN_VERSION",
    "Entry",
    "Header",
    "Plan",
    "Planned",
    "Reason",
    "Root",
    "clashes",
    "parse_lines",
    "read_entries",
]
