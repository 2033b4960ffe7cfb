"""Say exactly which neuroimaging data, and get exactly that.

A study manifest compiles into a download plan, and the plan is materialised. Importing this package
does no work; each name is imported when it is first used.

Examples
--------
>>> import bidsplan
>>> loaded = bidsplan.load_manifest("manifests/demo.yaml")
>>> plan = bidsplan.compile_manifest(loaded.manifest, base=loaded.path.parent).plan
>>> for event in bidsplan.transfer.fetch(plan, "demo-dataset", base=loaded.path.parent):
...     pass
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.compile import Compiled, compile_manifest, explain_manifest
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

_HOMES = {
    "Access": "storage",
    "BidsplanError": "errors",
    "Compiled": "compile",
    "Entry": "plan",
    "Existing": "transfer.fetch",
    "Manifest": "manifest",
    "ManifestFile": "manifest.load",
    "Plan": "plan",
    "Problem": "errors",
    "Store": "storage",
    "Transport": "storage",
    "compile_manifest": "compile",
    "explain_manifest": "compile",
    "load_manifest": "manifest.load",
    "materialise": "transfer.fetch",
    "open_store": "storage",
    "pin": "transfer.pins",
    "prune": "transfer.removal",
    "read_plan": "plan.file",
    "take_inventory": "compile.survey.inventory",
    "verify": "transfer.verification",
    "write_plan": "plan.file",
}

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
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
