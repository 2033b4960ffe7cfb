"""Giving a file a name only where nothing has it yet."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["rename_new"]

_NOREPLACE = 1
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP})


def rename_new(name: str, new: str, *, above: int, directory: int) -> bool:
    """Rename a file unless something has the new name.

    Parameters
    ----------
    name, new : str
    above : int
        Descriptor of the directory that the file stands in.
    directory : int
        Descriptor of the directory that it goes to.

    Returns
    -------
    bool
        False where something has the name; the file stays where it is.

    Raises
    ------
    OSError

    Notes
    -----
    Linux does it in one step, in which nobody can come between. Elsewhere, and on file systems that
    can't, it is a look and a step.
    """
    call = _renameat2()
    if call is not None:
        if call(above, os.fsencode(name), directory, os.fsencode(new), _NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            return False
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number), new)
    if _stands(new, directory):
        return False
    os.replace(name, new, src_dir_fd=above, dst_dir_fd=directory)
    return True


@lru_cache(maxsize=1)
def _renameat2() -> Callable[..., int] | None:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    number, text = ctypes.c_int, ctypes.c_char_p
    call.argtypes = [number, text, number, text, ctypes.c_uint]
    return call


def _stands(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
