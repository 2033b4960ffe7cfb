"""Lists, reads and writes objects, with one interface for all kinds of URL.

Only this package imports obstore. Only this package and `bidsplan.plan_filesystem` import fsspec.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.storage.access import Access, Transport
    from bidsplan.storage.objects import Abilities, Children, Object, Stream
    from bidsplan.storage.open import open_store, open_writable
    from bidsplan.storage.random_access import File, RangedFile, find_file, local_file
    from bidsplan.storage.store import Store
    from bidsplan.storage.writable import Upload, WritableStore

# Imported on first use, because a run that finds every file in place needs none of them.
_HOMES = {
    "Abilities": "objects",
    "Access": "access",
    "Children": "objects",
    "File": "random_access",
    "Object": "objects",
    "RangedFile": "random_access",
    "WritableStore": "writable",
    "Store": "store",
    "Stream": "objects",
    "Transport": "access",
    "Upload": "writable",
    "find_file": "random_access",
    "local_file": "random_access",
    "open_writable": "open",
    "open_store": "open",
}

__all__ = [
    "Abilities",
    "Access",
    "Children",
    "File",
    "Object",
    "RangedFile",
    "Store",
    "Stream",
    "Transport",
    "Upload",
    "WritableStore",
    "find_file",
    "local_file",
    "open_store",
    "open_writable",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
