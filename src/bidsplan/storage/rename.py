"""Renames a finished file, optionally without replacing another one."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_CALLS = (("renameat2", 1), ("renameatx_np", 4))
"""The calls of Linux and macOS that rename without replacing, with their flags."""

_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP})
_NO_LINKS = _UNSUPPORTED | {errno.EMLINK}


def rename(name: str, new: str, *, above: int, directory: int, replace: bool) -> bool:
    """Rename a file; every local commit uses this function.

    Parameters
    ----------
    above : int
        The descriptor of the directory that the file is in.
    directory : int
        The descriptor of the directory that the file moves to.
    replace : bool
        Whether to replace an existing file with the new name.

    Returns
    -------
    bool
        False if the name exists and must not be replaced. The file then stays where it is.

    Notes
    -----
    Linux and macOS can rename without replacing in one step. If a file system, such as old NFS,
    does not support this, a second link is made, which never replaces anything, and then the first
    name is removed. Some file systems, such as FAT, have no links either. Only there, checking and
    renaming are two steps, and another process may create the name in between.
    """
    if not replace:
        for attempt in (_rename_in_one_step, _link_and_unlink):
            done = attempt(name, new, above, directory)
            if done is not None:
                return done
        if _stat(new, directory) is not None:
            return False
    os.replace(name, new, src_dir_fd=above, dst_dir_fd=directory)
    return True


def _rename_in_one_step(name: str, new: str, above: int, directory: int) -> bool | None:
    """Rename with one system call; None if that is not supported."""
    call = _exclusive_rename()
    if call is None:
        return None
    if call(above, os.fsencode(name), directory, os.fsencode(new)) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in _UNSUPPORTED:
        return None
    raise OSError(number, os.strerror(number), new)


@lru_cache(maxsize=1)
def _exclusive_rename() -> Callable[[int, bytes, int, bytes], int] | None:
    for symbol, flag in _CALLS:
        with suppress(AttributeError, OSError):
            call = getattr(ctypes.CDLL(None, use_errno=True), symbol)
            number, text = ctypes.c_int, ctypes.c_char_p
            call.argtypes = [number, text, number, text, ctypes.c_uint]
            return lambda *names, call=call, flag=flag: int(call(*names, flag))
    return None


def _link_and_unlink(name: str, new: str, above: int, directory: int) -> bool | None:
    """Rename with a second link; None if there are no links."""
    try:
        os.link(name, new, src_dir_fd=above, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        # NFS may repeat a successful request, and return the second answer.
        first, second = os.stat(name, dir_fd=above, follow_symlinks=False), _stat(new, directory)
        if second is None or not os.path.samestat(first, second):
            return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            return None
        raise
    # The file has its new name now. If its first name remains, it is removed with the run's partial
    # files.
    with suppress(OSError):
        os.unlink(name, dir_fd=above)
    return True


def _stat(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
