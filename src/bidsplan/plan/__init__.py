"""The plan: which bytes go where, resolved.

A plan is the seam of the project. What compiles a manifest ends here; what fetches and verifies
starts here and knows nothing of manifests. The models are msgspec structures, since a plan may
hold a million entries.
"""

from __future__ import annotations

from bidsplan.plan.model import PLAN_VERSION, Entry, Header, Reason, Root
from bidsplan.plan.parse import parse_lines, read_entries
from bidsplan.plan.plan import Plan, Planned, clashes

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
