"""Writes files atomically to a destination, with receipts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import DestinationError, UrlError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.urls import is_mistyped_url, parse_url, suggested_bucket

if TYPE_CHECKING:
    from bidsplan.destination.base import Destination
    from bidsplan.storage import Access


def open_destination(url: str, access: Access, *, create: bool) -> Destination:
    """Open a local directory or a URL as destination.

    Parameters
    ----------
    create : bool
        Whether to create a directory that does not exist.

    Raises
    ------
    DestinationError
        If the destination can't be opened.
    UsageError
        If the URL is refused, or can't be written to.
    """
    location = parse_url(url)
    refuse_mistyped_url(url)
    if location.protocol == "file":
        _refuse_clone(Path(location.path))
        from bidsplan.destination.local import LocalDestination  # each imports only what it needs

        return LocalDestination(location.path, create=create)
    from bidsplan.destination.remote import RemoteDestination  # brings storage along

    return RemoteDestination(url, access)


def refuse_mistyped_url(text: str) -> None:
    """Refuse a destination that would be a folder, and looks like a URL; raises UrlError."""
    if parse_url(text) != ("file", "", text):
        return
    folder = f"./{printable(text)} for a folder of this name"
    if suggested := suggested_bucket(text, None):
        raise UrlError(
            f"{printable(text)} looks like a bucket; write {printable(suggested)}, or {folder}"
        )
    if is_mistyped_url(text):
        raise UrlError(
            f"{printable(text)} looks like a URL; write two slashes after its protocol, or {folder}"
        )


def _refuse_clone(root: Path) -> None:
    """Refuse a git-annex clone, whose files are links."""
    annexed = (root / ".git/annex").exists() or (root / ".datalad/config").exists()
    if annexed and (root / ".git").exists():
        raise DestinationError(
            f"{printable(str(root))}: a git-annex (DataLad) clone, whose files are links to "
            "its own content; fetch to a directory of its own, or use 'datalad get' there",
            help_code=HelpCode.DATALAD_CLONE,
        )
