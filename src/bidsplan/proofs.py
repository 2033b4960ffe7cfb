"""What an entry's bytes can be shown by, as far as its plan tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bidsplan.events import Proof

if TYPE_CHECKING:
    from bidsplan.plan import Entry

__all__ = ["part_sizes", "strongest"]

_MIB = 1 << 20
_USUAL_PARTS = tuple(number * _MIB for number in (5, 8, 15, 16, 50, 64, 100, 1024))
_MULTIPART = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,4})")
_MD5 = re.compile(r"[0-9a-f]{32}")


def part_sizes(size: int, parts: int) -> list[int]:
    """List the sizes of parts that an upload of so many parts may have had.

    Parameters
    ----------
    size : int
        Bytes in all.
    parts : int

    Returns
    -------
    list of int
        Sizes that usual clients take, and the least whole number of MiB.

    Examples
    --------
    >>> [size >> 20 for size in part_sizes(20 << 20, 3)]
    [7, 8]
    """
    even = -(-size // (parts * _MIB)) * _MIB
    return sorted({part for part in (*_USUAL_PARTS, even) if part and -(-size // part) == parts})


def strongest(entry: Entry) -> Proof:
    """Tell what an entry's bytes can be shown by.

    Parameters
    ----------
    entry : Entry

    Returns
    -------
    Proof
    """
    if entry.content is not None:
        return Proof.CONTENT
    if entry.sha256:
        return Proof.SHA256
    if entry.md5:
        return Proof.MD5
    etag = entry.etag or ""
    if _MD5.fullmatch(etag):
        return Proof.ETAG_MD5
    match = _MULTIPART.fullmatch(etag)
    if match and part_sizes(entry.size, int(match[2])):
        return Proof.MULTIPART
    return Proof.SIZE
