"""Reads small files of a study as bytes, text or JSON.

Text may be UTF-8, UTF-16 or UTF-32, with or without a byte order mark. All other text is read as
Windows-1252, which includes Latin-1.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

from bidsplan.errors import Problem
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.storage import Object, Store

    Warn = Callable[[Problem], None]


LARGEST_SIDECAR = 1 << 20
"""The most bytes of a JSON sidecar that are read."""

LEGACY = "cp1252"
"""The encoding of text that is not Unicode."""

_CHUNK = 1 << 20


def read_small(store: Store, found: Object, limit: int) -> bytes:
    """Read a whole small object, with retries.

    Raises StorageError if the object is larger than the limit, or has changed since it was listed.
    """
    return retrying()(store.read, found.key, limit=limit, etag=found.etag, size=found.size)


def text_encoding(data: bytes) -> str:
    """Detect the encoding of text."""
    encoding = json.detect_encoding(data)
    return LEGACY if encoding == "utf-8" and not _is_utf8(data) else encoding


def _is_utf8(data: bytes) -> bool:
    # The text is decoded in chunks, because it may take four times the memory of its bytes.
    chunks = (data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))
    try:
        for _ in codecs.iterdecode(chunks, "utf-8"):
            pass
    except UnicodeDecodeError:
        return False
    return True


def legacy_problem(where: str) -> Problem:
    """Make the warning about a file in Windows-1252."""
    message = f"{where} is not UTF-8 and is read as Latin-1 (Windows-1252)"
    return Problem(message=message, hint="save it as UTF-8")


def decoded(data: bytes, where: str, warn: Warn) -> str:
    """Decode text, and warn if it is not Unicode."""
    encoding = text_encoding(data)
    if encoding == LEGACY:
        warn(legacy_problem(where))
    return data.decode(encoding, errors="replace")


def parse_json(data: bytes, where: str, warn: Warn) -> object:
    """Parse JSON as Python does, including NaN and Infinity.

    Raises ValueError with the reason if the text is not valid JSON.
    """
    try:
        value: object = json.loads(decoded(data, where, warn))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not valid JSON: {error}") from error
    return value
