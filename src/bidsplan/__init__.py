"""Compile a study manifest into a plan of exactly which files to fetch, and fetch them.

Importing this package does no work; each name is imported on first use.

Examples
--------
>>> import bidsplan
>>> loaded = bidsplan.load_manifest("manifests/demo.yaml")
>>> plan = bidsplan.compile_manifest(loaded.manifest, base=loaded.path.parent).plan
>>> for event in bidsplan.materialise(plan, "demo-dataset", base=loaded.path.parent):
...     pass
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.compile.compiler import Compiled, compile_manifest, explain_manifest
    from bidsplan.compile.survey.inventory import take_inventory
    from bidsplan.errors import BidsplanError, Problem
    from bidsplan.manifest import Manifest
    from bidsplan.manifest.load import ManifestFile, load_manifest
    from bidsplan.plan import Entry, Plan
    from bidsplan.plan.file import read_plan, write_plan
    from bidsplan.storage import Access, Store, Transport, open_store
    from bidsplan.transfer.decide import Existing
    from bidsplan.transfer.fetch import materialise
    from bidsplan.transfer.pins import pin
    from bidsplan.transfer.removal import prune
    from bidsplan.transfer.verification import verify

_NAMES = {
    "compile.compiler": ("Compiled", "compile_manifest", "explain_manifest"),
    "compile.survey.inventory": ("take_inventory",),
    "errors": ("BidsplanError", "Problem"),
    "manifest": ("Manifest",),
    "manifest.load": ("ManifestFile", "load_manifest"),
    "plan": ("Entry", "Plan"),
    "plan.file": ("read_plan", "write_plan"),
    "storage": ("Access", "Store", "Transport", "open_store"),
    "transfer.decide": ("Existing",),
    "transfer.fetch": ("materialise",),
    "transfer.pins": ("pin",),
    "transfer.removal": ("prune",),
    "transfer.verification": ("verify",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Access",
    "BidsplanError",
    "Compiled",
    "Entry",
    "Existing",
    "Manifest",
    "ManifestFile",
    "Plan",
    "Problem",
    "Store",
    "Transport",
    "compile_manifest",
    "explain_manifest",
    "load_manifest",
    "materialise",
    "open_store",
    "pin",
    "prune",
    "read_plan",
    "take_inventory",
    "verify",
    "write_plan",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
