"""Where files are written, atomically, and what is noted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from bidsplan.destination.base import Destination
    from bidsplan.storage import Access


def open_destination(url: str, access: Access, *, create: bool) -> Destination:
    """Open a directory or a place in storage, by its path or URL.

    Parameters
    ----------
    create : bool
        Whether to make a directory that is not there.

    Raises
    ------
    DestinationError
        Where it can't be opened.
    UsageError
        Where the URL is refused, or can't be written to.
    """
    location = parse_url(url)
    if location.protocol == "file":
        from bidsplan.destination.local import LocalDestination  # each without the other's

        return LocalDestination(location.path, create=create)
    from bidsplan.destination.remote import RemoteDestination  # brings storage along

    return RemoteDestination(url, access)
