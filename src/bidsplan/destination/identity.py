"""A directory's identity, by which machines check that they share it.

The same path may lead to different directories on different machines, if a file system is not
mounted on all of them.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from bidsplan.destination.directory import write_all
from bidsplan.errors import MissingFileError
from bidsplan.paths import STATE_DIRECTORY

if TYPE_CHECKING:
    from bidsplan.destination.directory import Directory


_PATH = f"{STATE_DIRECTORY}/identity"
_BYTES = 16


def read_identity(folder: Directory) -> str | None:
    """Return a directory's identity, or None."""
    try:
        with folder.reading(_PATH) as descriptor:
            return os.read(descriptor, 2 * _BYTES).decode("ascii", "replace")
    except MissingFileError:
        return None


def make_identity(folder: Directory) -> str | None:
    """Return a directory's identity, and create it if needed.

    Raises DestinationError if the identity can't be written.
    """
    found = read_identity(folder)
    if found is not None:
        return found
    with folder.partial() as partial:
        write_all(partial.descriptor, secrets.token_hex(_BYTES).encode())
        # Another machine may have written its identity first.
        folder.rename_into_place(partial, _PATH, replace=False)
    return read_identity(folder)
