"""Receipts in storage: objects of JSON lines below ``.bidsplan/receipts/``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import xxhash

from bidsplan.destination.receipts import decode_lines, encode_lines
from bidsplan.errors import StorageError
from bidsplan.paths import STATE_DIRECTORY
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.destination.receipts import Receipt
    from bidsplan.storage import WritableStore


_DIRECTORY = f"{STATE_DIRECTORY}/receipts/"
_LARGEST = 16 << 20
_READERS = 8


def read_receipts(storage: WritableStore) -> Iterator[Receipt]:
    """Read all receipts, and skip invalid ones.

    Raises StorageError if the receipts can't be listed.
    """
    keys = [item.key for item in storage.store.list(_DIRECTORY) if item.size <= _LARGEST]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="bidsplan-receipts") as pool:
        for text in pool.map(lambda key: _read(storage, key), keys):
            yield from decode_lines(text)


def _read(storage: WritableStore, key: str) -> bytes:
    # Unreadable receipts are ignored, so their files are compared again.
    with suppress(StorageError):
        return retrying()(storage.store.read, key, limit=_LARGEST)
    return b""


def write_receipts(storage: WritableStore, name: str, receipts: list[Receipt]) -> None:
    """Write a new object of receipts, with a unique name."""
    data = encode_lines(receipts)
    with storage.upload(f"{_DIRECTORY}{name}.jsonl", len(data), replace=True) as upload:
        upload.write(data)
        upload.commit(xxhash.xxh3_128_hexdigest(data))
