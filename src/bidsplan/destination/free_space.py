"""Checks that a file system has space for the files to fetch."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bidsplan.destination.partial_files import held_bytes
from bidsplan.errors import DiskFullError
from bidsplan.messages import size
from bidsplan.paths import STATE_DIRECTORY, printable

if TYPE_CHECKING:
    from bidsplan.plan import Planned


_KEPT = f"{STATE_DIRECTORY}/partial/kept"


def free_bytes(root: str) -> int | None:
    """Return the free bytes at a directory; None if unknown."""
    try:
        found = os.statvfs(root)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def check_free_space(root: str, plan: Planned) -> None:
    """Raise DiskFullError if a plan's missing files need too much space.

    Bytes of large files that earlier runs have fetched count as existing. Quotas are ignored.
    """
    free = free_bytes(root)
    # There is nearly always enough space for the whole plan, without looking at the files.
    if free is None or plan.header.bytes <= free:
        return
    needed = missing_bytes(root, plan)
    if needed > free:
        raise DiskFullError(
            f"{printable(root)}: {size(needed)} are still to be fetched, and {size(free)} are "
            "free; free some space, or fetch with --no-space-check"
        )


def missing_bytes(root: str, plan: Planned) -> int:
    """Count the bytes of planned files that a directory does not have."""
    needed = sum(entry.size for entry in plan.entries if not _exists(f"{root}/{entry.path}"))
    return needed - _kept_bytes(root)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError:
        return False
    return True


def _kept_bytes(root: str) -> int:
    with suppress(OSError), os.scandir(f"{root}/{_KEPT}") as kept:
        return sum(held_bytes(entry.stat(follow_symlinks=False)) for entry in kept)
    return 0
