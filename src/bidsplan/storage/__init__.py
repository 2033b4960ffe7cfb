"""Where objects are listed and read: one interface, and a transport for each kind of URL.

This package is the only place that opens fsspec or obstore.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.storage.access import Access, Transport
    from bidsplan.storage.base import Store
    from bidsplan.storage.files import File, RangedFile, find_file, local_file
    from bidsplan.storage.opening import open_sink, open_store
    from bidsplan.storage.sink import Sink, Upload
    from bidsplan.storage.values import Children, Object, Stream

# A finished plan is found to be so without any of them.
_HOMES = {
    "Access": "access",
    "Children": "values",
    "File": "files",
    "Object": "values",
    "RangedFile": "files",
    "Sink": "sink",
    "Store": "base",
    "Stream": "values",
    "Transport": "access",
    "Upload": "sink",
    "find_file": "files",
    "local_file": "files",
    "open_sink": "opening",
    "open_store": "opening",
}

__all__ = [
    "Access",
    "Children",
    "File",
    "Object",
    "RangedFile",
    "Sink",
    "Store",
    "Stream",
    "Transport",
    "Upload",
    "find_file",
    "local_file",
    "open_sink",
    "open_store",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
