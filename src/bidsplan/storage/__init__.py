"""Where objects are listed and read: one interface, and a transport for each kind of URL.

This package is the only place that opens fsspec or obstore.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.storage.access import Access, Transport
    from bidsplan.storage.base import Children, Object, Store, Stream
    from bidsplan.storage.files import File, RangedFile, find_file, local_file
    from bidsplan.storage.opening import open_store

# A finished plan is found to be so without any of them.
_HOMES = {
    "Access": "access",
    "Children": "base",
    "File": "files",
    "Object": "base",
    "RangedFile": "files",
    "Store": "base",
    "Stream": "base",
    "Transport": "access",
    "find_file": "files",
    "local_file": "files",
    "open_store": "opening",
}

__all__ = [
    "Access",
    "Children",
    "File",
    "Object",
    "RangedFile",
    "Store",
    "Stream",
    "Transport",
    "find_file",
    "local_file",
    "open_store",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
