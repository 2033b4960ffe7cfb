"""Where objects are listed and read: one interface, and a transport for each kind of URL.

This package is the only place that opens fsspec or obstore.
"""

from __future__ import annotations

from bidsplan.storage.access import Access, Transport
from bidsplan.storage.base import Children, Object, Store, Stream
from bidsplan.storage.files import File, RangedFile, find_file, local_file
from bidsplan.storage.opening import open_sink, open_store
from bidsplan.storage.retrying import retrying
from bidsplan.storage.sink import Sink, Upload

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
    "retrying",
]
