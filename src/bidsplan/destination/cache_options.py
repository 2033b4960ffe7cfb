"""The options of the content cache that a run uses."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import Choice, UsageError
from bidsplan.paths import STATE_DIRECTORY, printable
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from os import PathLike

    from bidsplan.storage.access import Access


class CacheLink(Choice):
    """How a file in the content cache becomes a file in the destination.

    Attributes
    ----------
    COPY
        The file is copied. If the file system supports it, the copy shares its disk blocks with
        the cache.
    HARD
        Files of 4 MiB and more become hard links to the cached file. Never write to such a file:
        that would change the cache and other destinations too.
    """

    COPY = "copy"
    HARD = "hard"


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheOptions:
    """The content cache that a run uses, and how the run uses it.

    Parameters
    ----------
    directory : path or str
        The local directory that contains the cache.
    max_bytes : int, optional
        The limit for the size of the cache, at least 1. If the cache is larger, bidsplan removes
        the contents that were used least recently.
    link : CacheLink or str
        How cached files become files in the destination.
    create : bool
        Whether to create the directory if it does not exist. Workers of a cluster never create it.

    Raises
    ------
    UsageError
        If one of the values is not valid.
    """

    directory: str | PathLike[str]
    max_bytes: int | None = None
    link: CacheLink | str = CacheLink.COPY
    create: bool = True

    def __post_init__(self) -> None:
        given = os.fspath(self.directory)
        location = parse_url(given)
        if location.protocol != "file":
            raise UsageError(f"{printable(given)}: a content cache is a local directory, not a URL")
        if self.max_bytes is not None:
            if type(self.max_bytes) is not int:
                got = printable(repr(self.max_bytes))
                raise UsageError(f"max_bytes of a content cache is a number of bytes, got {got}")
            if self.max_bytes <= 0:
                raise UsageError(f"a content cache of {self.max_bytes} bytes holds nothing")
        if not isinstance(self.create, bool):
            got = printable(repr(self.create))
            raise UsageError(f"create of a content cache is True or False, got {got}")
        object.__setattr__(self, "directory", str(Path(location.path).absolute()))
        object.__setattr__(self, "link", CacheLink(self.link))


def choose_cache(
    cache: CacheOptions | str | PathLike[str] | None,
    destination: str,
    access: Access,
    *,
    shared: bool,
) -> CacheOptions | None:
    """Return the content cache of a run, if it has one.

    Parameters
    ----------
    shared : bool
        Whether several machines use the cache, so that none of them creates the directory.

    Raises
    ------
    UsageError
        If the cache can't be used for this destination, or the plan may be a stranger's.
    """
    if cache is None:
        return None
    if access.untrusted:
        raise UsageError(
            "a content cache is not for strangers' plans: whoever names a digest would get the "
            "content, whatever it was fetched with; leave out the cache"
        )
    options = cache if isinstance(cache, CacheOptions) else CacheOptions(directory=cache)
    location = parse_url(destination)
    if location.protocol == "file":
        _refuse_overlap(os.fspath(options.directory), location.path)
    return replace(options, create=False) if shared else options


def _refuse_overlap(cache: str, destination: str) -> None:
    """Refuse a cache that overlaps with the destination's data."""
    above, below = os.path.realpath(cache), os.path.realpath(destination)
    common = os.path.commonpath((above, below))
    if common == below != above and not _is_hidden(os.path.relpath(above, below)):
        raise UsageError(
            f"{printable(cache)}: the content cache would be a part of the dataset; choose a "
            "directory elsewhere, or a hidden one"
        )
    if common == above:
        raise UsageError(
            f"{printable(destination)}: the destination is in the content cache; choose another "
            "directory for one of them"
        )


def _is_hidden(path: str) -> bool:
    """Report whether a directory in a dataset is hidden and not bidsplan's."""
    names = Path(path).parts
    return names[0] != STATE_DIRECTORY and any(name.startswith(".") for name in names)
