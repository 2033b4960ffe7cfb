"""Compiles study manifests into plans of files, and fetches the files.

Importing this package does no work; each name is imported on first use.

Examples
--------
>>> import bidsplan
>>> summary = bidsplan.fetch("manifests/demo.yaml", "demo-dataset", progress=False)
>>> summary.fetched + summary.kept
23
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.compile.compiler import Compiled, compile_manifest, explain_manifest
    from bidsplan.compile.survey.inventory import take_inventory
    from bidsplan.compile.survey.shared import SharedListings
    from bidsplan.destination.cache_options import CacheLink, CacheOptions
    from bidsplan.errors import (
        BidsplanError,
        DestinationError,
        FailedFile,
        FetchFailed,
        IntegrityError,
        Problem,
        SelectionError,
        StalePlanError,
        StorageError,
        UsageError,
    )
    from bidsplan.events import (
        Action,
        Copied,
        Decided,
        Digested,
        Digesting,
        Event,
        Failed,
        Finished,
        Kept,
        KeptReason,
        Listed,
        Opened,
        Pinned,
        Progressed,
        Pruned,
        PruneFailed,
        Resumable,
        Resumed,
        Skipped,
        Slowed,
        Waiting,
        Warned,
    )
    from bidsplan.fetching import FetchSummary, fetch
    from bidsplan.manifest import Manifest
    from bidsplan.manifest.load import ManifestFile, load_manifest
    from bidsplan.plan import Entry, Plan
    from bidsplan.plan.file import read_plan, write_plan
    from bidsplan.plan.integrity import CheckMethod, VerifyMode
    from bidsplan.plan_filesystem import filesystem
    from bidsplan.review.changes import PlanChanges, compare_plans
    from bidsplan.review.export.base import Export
    from bidsplan.review.export.formats import export_plan
    from bidsplan.review.report import find_proofs, find_reasons, write_report
    from bidsplan.review.summary import PlanSummary, summarise_plan
    from bidsplan.storage import Access, Store, Transport, open_store
    from bidsplan.transfer.decide import Existing
    from bidsplan.transfer.materialisation import materialise
    from bidsplan.transfer.pins import pin
    from bidsplan.transfer.removal import prune
    from bidsplan.transfer.verification import verify

__version__ = "0.1.0"

UNSUPPORTED = (
    "bidsplan runs on Linux and macOS; on Windows, install it in the Windows Subsystem for Linux "
    "(WSL), and run it there"
)

_NAMES = {
    "compile.compiler": "Compiled compile_manifest explain_manifest",
    "compile.survey.inventory": "take_inventory",
    "destination.cache_options": "CacheLink CacheOptions",
    "compile.survey.shared": "SharedListings",
    "errors": "BidsplanError DestinationError FailedFile FetchFailed IntegrityError Problem "
    "SelectionError StalePlanError StorageError UsageError",
    "events": "Action Copied Decided Digested Digesting Event Failed Finished Kept KeptReason "
    "Listed Opened Pinned Progressed PruneFailed Pruned Resumable Resumed Skipped Slowed Waiting "
    "Warned",
    "fetching": "FetchSummary fetch",
    "manifest": "Manifest",
    "manifest.load": "ManifestFile load_manifest",
    "plan": "Entry Plan",
    "plan.file": "read_plan write_plan",
    "plan.integrity": "CheckMethod VerifyMode",
    "plan_filesystem": "filesystem",
    "review.changes": "PlanChanges compare_plans",
    "review.export.base": "Export",
    "review.export.formats": "export_plan",
    "review.report": "find_proofs find_reasons write_report",
    "review.summary": "PlanSummary summarise_plan",
    "storage": "Access Store Transport open_store",
    "transfer.decide": "Existing",
    "transfer.materialisation": "materialise",
    "transfer.pins": "pin",
    "transfer.removal": "prune",
    "transfer.verification": "verify",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Access",
    "Action",
    "BidsplanError",
    "CacheLink",
    "CacheOptions",
    "CheckMethod",
    "Compiled",
    "Copied",
    "Decided",
    "DestinationError",
    "Digested",
    "Digesting",
    "Entry",
    "Event",
    "Existing",
    "Export",
    "Failed",
    "FailedFile",
    "FetchFailed",
    "FetchSummary",
    "Finished",
    "IntegrityError",
    "Kept",
    "KeptReason",
    "Listed",
    "Manifest",
    "ManifestFile",
    "Opened",
    "Pinned",
    "Plan",
    "PlanChanges",
    "PlanSummary",
    "Problem",
    "Progressed",
    "PruneFailed",
    "Pruned",
    "Resumable",
    "Resumed",
    "SelectionError",
    "SharedListings",
    "Skipped",
    "Slowed",
    "StalePlanError",
    "StorageError",
    "Store",
    "Transport",
    "UsageError",
    "VerifyMode",
    "Waiting",
    "Warned",
    "compare_plans",
    "compile_manifest",
    "explain_manifest",
    "export_plan",
    "fetch",
    "filesystem",
    "find_proofs",
    "find_reasons",
    "load_manifest",
    "materialise",
    "open_store",
    "pin",
    "prune",
    "read_plan",
    "summarise_plan",
    "take_inventory",
    "verify",
    "write_plan",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.platform == "win32":
        raise ImportError(UNSUPPORTED)
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
