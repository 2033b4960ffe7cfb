"""From a URL to a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.storage.access import Access
    from bidsplan.storage.base import Store

__all__ = ["open_store"]


def open_store(
    url: str, *, access: Access, anonymous: bool | None = None, base: str | None = None
) -> Store:
    """Open a dataset's root.

    Parameters
    ----------
    url : str
        As a manifest or a plan names it.
    access : Access
        What the person who runs the command allows and asks for.
    anonymous : bool, optional
        What the manifest or plan says; `access` beats it.
    base : str, optional
        The directory that a relative local path is relative to.

    Returns
    -------
    Store

    Raises
    ------
    UrlError
        Where the URL, or its host, is refused.
    """
    raise NotImplementedError
