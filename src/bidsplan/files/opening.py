"""Opening manifests and plans, which are regular files and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_regular"]


def open_regular(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file for reading, and never wait for a pipe or a device.

    Parameters
    ----------
    path : Path
    follow : bool
        Whether it may be a link, or lie behind one where the path is relative.

    Returns
    -------
    binary file

    Raises
    ------
    OSError
    """
    if not follow and not path.is_absolute() and any(map(os.path.islink, path.parents)):
        raise OSError(errno.ELOOP, "a link on the way, and no link of a stranger is followed")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "a link, and no link of a stranger is followed") from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file
